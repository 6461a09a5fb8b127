"""What a trained student answers to a split, and what it answers with less to see."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distillation.features import Features
from distillation.inputs.batches import Reader
from distillation.inputs.lines import Prompts
from distillation.inputs.views import choice_questions, view_of
from distillation.runs.folder import WEIGHTS, log_p_of, open_student, read_about
from qa.predictions import Prediction, benchmark_digest, control_path, write_predictions
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import file_digest, read_json, write_json

Arms = dict[str | None, tuple[str | None, str | None]]
"""Name in files and tables, None: no control -> (what is done to the video, the variant of lines or
None: its own)."""

VIDEO_CONTROLS: Arms = {
    "question_only": ("zeroed", "none"),
    "choices_only": ("choices_only", "none"),
    "frames_shuffled": ("shuffled", None),
}
LINE_CONTROLS: Arms = {
    "video_zeroed": ("zeroed", None),
    "without_lines": (None, "none"),
    "random_lines": (None, "random"),
    "shuffled_lines": (None, "shuffled"),
    "static_lines": (None, "static"),
}


@dataclass(frozen=True)
class Evaluation:
    """What a student answers to a split.

    Attributes:
        answers: {None, or the name of a control: {id: log p of each option}}.
        cpu_seconds: a question, of the student alone from the cache of features.
    """

    folder: Path
    about: dict[str, Any]
    dataset: Dataset
    questions: list[Question]
    answers: dict[str | None, dict[str, list[float]]]
    cpu_seconds: float


def arms_of(variant: str, zero_video: bool, faithful: bool) -> Arms:
    """A student's own answers and its controls.

    Args:
        variant: of the lines that it reads.
        zero_video: whether it was trained without video, which then no control shows.
        faithful: whether an option's text holds the question, which then cannot be taken away.
    """
    controls = VIDEO_CONTROLS | (LINE_CONTROLS if variant not in ("none", "empty") else {})
    if faithful:
        del controls["choices_only"]
    if not zero_video:
        return {None: (None, None), **controls}
    for name in ("frames_shuffled", "video_zeroed"):
        controls.pop(name, None)
    zeroed: Arms = {name: (what or "zeroed", lines) for name, (what, lines) in controls.items()}
    return {None: ("zeroed", None), **zeroed}


@dataclass(frozen=True)
class Inputs:
    """What the student of a folder is tested on.

    Attributes:
        questions: of the split, those whose view has features; `training`: likewise, of its own.
        made_of: what shapes the scores: digests, and the names of the controls.
    """

    folder: Path
    about: dict[str, Any]
    dataset: Dataset
    features: Features
    questions: list[Question]
    training: list[Question]
    arms: Arms
    made_of: dict[str, Any]


def is_scored(folder: Path, data_root: Path, split: str, controls: bool = True) -> bool:
    """Whether scores/<split>.json holds the scores of this student on these questions, features and
    lines, with these controls; see `answer`."""
    scores = read_json(folder / "scores" / f"{split}.json")
    made_of = _open(folder, data_root, split, controls).made_of
    return scores is not None and all(scores.get(key) == made_of[key] for key in made_of)


def _open(folder: Path, data_root: Path, split: str, controls: bool) -> Inputs:
    about = read_about(folder)
    dataset = open_dataset(about["dataset"], data_root)
    features = Features(dataset, about["features"]["name"])
    trained_on = {key: value for key, value in about["features"].items() if key != "name"}
    if features.params != trained_on:
        raise UserError(
            f"{folder} was trained on features made with {trained_on}, and those by"
            f" {features.name} are made with {features.params}"
        )

    def covered(name: str) -> list[Question]:
        return [q for q in choice_questions(dataset, name) if features.has(view_of(q))]

    questions = covered(split)
    if not questions:
        raise UserError(f"no question of {dataset.name}/{split} has features by {features.name}")
    training = covered(about["split"])
    variant, seed = about["prompt_variant"], about["seed"]
    arms = arms_of(variant, about["zero_video"], features.faithful)
    if not controls:
        arms = {None: arms[None]}
    prompts = Prompts(dataset, variant, about["captioner"], training, seed)
    if prompts.captioner:
        validation = [q for q in covered(about["val"]) if q.answer_index is not None]
        if about.get("lines") != prompts.digest([*training, *validation]):
            raise UserError(
                f"{folder} was trained with other lines of {variant} by {prompts.captioner}, or of"
                f" other videos, than {about['split']} and {about['val']} now have: train again"
            )
    made_of = {
        "student": file_digest(folder / WEIGHTS),
        "benchmark": benchmark_digest(q for q in questions if q.answer_index is not None),
        "features": features.digest(map(view_of, questions)),
        "lines": prompts.digest([*training, *questions]),
        "controls": [name for name in arms if name is not None],
    }
    return Inputs(folder, about, dataset, features, questions, training, arms, made_of)


def answer(
    folder: Path, data_root: Path, split: str, controls: bool = True, device: str = "cpu"
) -> Evaluation:
    """Answer a split with the student of a folder, and write predictions and scores.

    Raises:
        UserError: the folder, the features or the lines are missing, or are others than those of
            the training.
    """
    inputs = _open(folder, data_root, split, controls)
    about, questions = inputs.about, inputs.questions
    student = open_student(folder, device)
    variant, seed = about["prompt_variant"], about["seed"]
    answers: dict[str | None, dict[str, list[float]]] = {}
    seconds = 0.0
    for name, (what, lines) in inputs.arms.items():
        kind = "frame" if variant == "frame" else "event"
        own_variant = lines or variant
        own_lines = (about["captioner"], inputs.training, seed, kind)
        prompts = Prompts(inputs.dataset, own_variant, *own_lines)
        blanks = (student.visual_mean, student.question_mean)
        read = Reader(inputs.features, prompts, None, {}, {}, what, *blanks)
        before = time.process_time()
        answers[name] = log_p_of(student, read, questions)
        seconds = time.process_time() - before if name is None else seconds
    path = folder / "predictions" / f"{split}.jsonl"
    meta = {"dataset": inputs.dataset.name, "split": split, "model": folder.name}
    for name, own_answers in answers.items():
        predictions = [Prediction(key, log_p=log_p) for key, log_p in own_answers.items()]
        own_meta = {**meta, "control": name, "seed": seed}
        write_predictions(control_path(path, name), predictions, own_meta)
    result = Evaluation(folder, about, inputs.dataset, questions, answers, seconds / len(questions))
    _write_scores(result, split, inputs.made_of)
    return result


def _write_scores(evaluation: Evaluation, split: str, made_of: dict[str, Any]) -> None:
    """Counts of right answers a video, in the form of `tools.statistics`."""
    videos: dict[str, dict[str | None, list[int]]] = {}
    labelled = [q for q in evaluation.questions if q.answer_index is not None]
    for question in labelled:
        counts = videos.setdefault(question.unit, {})
        for name, answers in evaluation.answers.items():
            row = answers[question.id]
            own = counts.setdefault(name, [0, 0])
            own[0] += row.index(max(row)) == question.answer_index
            own[1] += 1
    if not labelled:
        return
    document = {
        "name": evaluation.folder.name,
        "dataset": evaluation.dataset.name,
        **made_of,
        "cpu_seconds": evaluation.cpu_seconds,
        "videos": [
            {
                "video_name": video,
                "n": counts[None][1],
                "counts": {name or "accuracy": own for name, own in counts.items()},
            }
            for video, counts in sorted(videos.items())
        ],
    }
    write_json(evaluation.folder / "scores" / f"{split}.json", document)
