"""The results of all seeds in one file, in the form that `reproduction.results` describes.

A seed is a base model with its own TOPA and its own students; all are asked the same questions.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from qa.predictions import Prediction, control_path, read_predictions
from qa.records import Question, read_questions
from reproduction.jobs import job_seconds
from reproduction.methods.arms import ARMS, BASE, CHANCE, KINDS
from reproduction.methods.trial import predictions_of
from reproduction.methods.world import EVENTS, by_video, data_of
from reproduction.results import Results, machine
from tools.store.dataset import Dataset
from tools.store.files import read_json
from toyworld.questions import CHOICES

PACKAGES = ("torch", "transformers", "ms_swift")
Counts = dict[str, list[list[float]]]
"""Metric -> right answers and questions, a video each."""


def collect(exp: Path, seeds: Sequence[int]) -> Results:
    """Read what is there."""
    dataset = data_of(exp)
    questions = read_questions(dataset, CHOICES)
    videos = list(by_video(questions))
    seeds = [seed for seed in seeds if answers_of(dataset, BASE, seed).is_file()]
    results: Results = {
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "seconds": job_seconds(exp / "logs"),
        "cost": read_json(exp / "cost.json") or {},
        "asked": {
            "dataset": dataset.name,
            "benchmark": "questions",
            "videos": videos,
            "events": [EVENTS] * len(videos),
        },
        "arms": {},
    }
    for name, arm in ARMS.items():
        runs = {}
        for seed in seeds:
            if name == CHANCE:
                answers = None
            elif (file := answers_of(dataset, name, seed)).is_file():
                answers = read_predictions(file, questions)
            else:
                continue
            counts = counts_of(questions, answers)
            runs[str(seed)] = {"base": str(seed), "phases": [{"counts": counts}]}
        if runs:
            results["arms"][name] = {"label": arm.label, "seeds": runs}
    return results


def answers_of(dataset: Dataset, name: str, seed: int) -> Path:
    """The predictions of an arm; of one that is shown less, `<arm>.<control>`, those beside it."""
    arm, _, control = name.partition(".")
    return control_path(predictions_of(dataset, arm, seed), control or None)


def counts_of(questions: Sequence[Question], answers: dict[str, Prediction] | None) -> Counts:
    """The counts of all questions, of each kind and of the kinds of KINDS together.

    Args:
        answers: by the questions' ids, with log p of the options; None: an option at random.
    """
    counts: Counts = {}
    videos = by_video(questions)
    for place, own in enumerate(videos.values()):
        for question in own:
            kind, options = question.type or "", question.choices or []
            right = 1 / len(options)
            if answers:
                log_p = answers[question.id].log_p or []
                right = float(log_p.index(max(log_p)) == question.answer_index)
            for metric in ("accuracy", kind, *(name for name, k in KINDS.items() if kind in k)):
                sides = counts.setdefault(metric, [[0] * len(videos), [0] * len(videos)])
                sides[0][place] += right
                sides[1][place] += 1
    return counts
