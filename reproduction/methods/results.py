"""The results of all seeds in one file, in the form that `reproduction.results` describes.

A seed is a base model with its own TOPA and its own students; all are asked the same questions.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from qa.predictions import Prediction, read_predictions
from qa.records import Question, read_questions
from reproduction.distillation.world import data_of
from reproduction.jobs import job_seconds
from reproduction.methods.arms import ARMS, BASE, CHANCE, KINDS
from reproduction.methods.trial import predictions_of
from reproduction.methods.world import EVENTS, by_video
from reproduction.results import Results, machine
from tools.store.files import read_json
from toyworld.questions import CHOICES

PACKAGES = ("torch", "transformers", "ms_swift")
Counts = dict[str, list[list[float]]]
"""Metric -> right answers and questions, a video each."""


def collect(exp: Path, keys: Mapping[int, str]) -> Results:
    """Read what is there.

    Args:
        keys: seed -> what its answers are named after.
    """
    dataset = data_of(exp)
    questions = read_questions(dataset, CHOICES)
    videos = list(by_video(questions))
    keys = {s: key for s, key in keys.items() if predictions_of(dataset, BASE, key).is_file()}
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
        for seed, key in keys.items():
            if name == CHANCE:
                answers = None
            elif (file := predictions_of(dataset, name, key)).is_file():
                answers = read_predictions(file, questions)
            else:
                continue
            counts = counts_of(questions, answers)
            runs[str(seed)] = {"base": str(seed), "phases": [{"counts": counts}]}
        if runs:
            results["arms"][name] = {"label": arm.label, "seeds": runs}
    return results


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
