"""Predictions: what a model answers, in one format for all models and methods.

A file holds one line a question: {"id", "prediction": text or null, "log_p": [nats of each option]
or null}. What made it stands beside it in `<file>.meta.json`, where one of ours did: {"dataset",
"split", "model", "control" or null, ...}. A file that was made elsewhere needs none.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from qa.records import Question
from tools.errors import UserError
from tools.store.files import CorruptLine, read_json, replace_atomically, write_json
from tools.store.jsonl import dumps

SHOWN = 3  # ids that a message names
SHOWN_CONTEXT = ("conversation", "subtitles", "frames")  # what of a question's context is shown
# Controls: how a model is asked so that it cannot understand the video. A blind one sees none.
BLIND = ("choices_only", "question_only")
CONTROLS = (*BLIND, "frames_shuffled", "single_frame")
PERMUTED = "permuted"  # and a number: the options in another order


@dataclass(frozen=True)
class Prediction:
    """A model's answer to one question: a text, the log p of each option in nats, or both."""

    id: str
    prediction: str | None = None
    log_p: list[float] | None = None


def meta_path(path: Path) -> Path:
    """What made a file of predictions stands here."""
    return path.with_name(f"{path.name}.meta.json")


def control_path(path: Path, control: str | None) -> Path:
    """Where a control's predictions stand beside its model's, `<model>.<control>.jsonl`."""
    return path.with_name(f"{_stem(path)}.{control}.jsonl") if control else path


def control_names(path: Path) -> list[str]:
    """The controls of every model, and the further ones that stand beside a file: those whose meta
    says that they are one, since the names of models may hold dots too."""
    stem = _stem(path)
    others = {
        p.name[len(stem) + 1 : -len(".jsonl")]: p for p in path.parent.glob(f"{stem}.*.jsonl")
    }
    own = {n for n, p in others.items() if (read_json(meta_path(p)) or {}).get("control") == n}
    return [*CONTROLS, *sorted(n for n in own - set(CONTROLS) if not n.startswith(PERMUTED))]


def _stem(path: Path) -> str:
    return path.name.removesuffix(".jsonl")


def benchmark_digest(questions: Iterable[Question]) -> str:
    """Twelve hex digits that change with what is asked and with what is right."""
    content = []
    for q in questions:
        row: list[Any] = [q.id, q.video, q.start, q.end, q.question, q.choices, q.answer]
        shown = {name: q.context[name] for name in SHOWN_CONTEXT if q.context.get(name)}
        content.append([*row, q.references, *([shown] if shown else [])])
    return hashlib.sha1(dumps(content)).hexdigest()[:12]


def write_predictions(path: Path, predictions: Iterable[Prediction], meta: dict[str, Any]) -> None:
    """Write predictions, sorted by id, and what made them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(meta_path(path), meta)
    with replace_atomically(path) as file:
        for prediction in sorted(predictions, key=lambda prediction: prediction.id):
            file.write(dumps(asdict(prediction)) + b"\n")


def read_predictions(
    path: Path, questions: Sequence[Question], allow_missing: bool = False
) -> dict[str, Prediction]:
    """{id: prediction} of the questions of one split.

    Args:
        allow_missing: questions without a prediction are left out of the result; else they are an
            error.

    Raises:
        UserError: the file cannot be read, was made for another data set or split, or its ids are
            not those of the questions.
    """
    meta = read_json(meta_path(path)) or {}
    ours = {"dataset": questions[0].dataset, "split": questions[0].split}
    for key, value in ours.items():
        if meta.get(key, value) != value:
            raise UserError(f"{path} was made for the {key} {meta[key]!r}, not for {value!r}")
    try:
        lines = path.read_bytes().rstrip().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    predictions: dict[str, Prediction] = {}
    for number, line in enumerate(lines, start=1):
        prediction = parse_prediction(line, path, number)
        if prediction.id in predictions:
            raise CorruptLine(f"{path} line {number}: the id {prediction.id!r} comes twice")
        predictions[prediction.id] = prediction
    known = {question.id: question for question in questions}
    if unknown := [key for key in predictions if key not in known]:
        raise UserError(
            f"{path}: {len(unknown)} of {len(predictions)} ids are no questions of"
            f" {ours['dataset']}/{ours['split']}: {some_ids(unknown)}"
        )
    for key, prediction in predictions.items():
        options = known[key].choices
        if prediction.log_p is not None and len(prediction.log_p) != len(options or ()):
            raise UserError(
                f"{path}: {key!r} has {len(prediction.log_p)} log p, and the question has"
                f" {len(options or ())} options"
            )
    missing = [key for key in known if key not in predictions]
    if missing and not allow_missing:
        raise UserError(
            f"{path} lacks {len(missing)} of {len(known)} questions of {ours['dataset']}/"
            f"{ours['split']}: {some_ids(missing)}; --allow_missing scores the others"
        )
    return predictions


def parse_prediction(line: bytes, path: Path, number: int) -> Prediction:
    """The prediction of a line, whose number counts from 1; raises CorruptLine where it is none."""
    try:
        row = orjson.loads(line)
        text, log_p = row.get("prediction"), row.get("log_p")
        if not isinstance(row["id"], str | int):
            raise ValueError("its id is no text")
        if text is not None and not isinstance(text, str):
            raise ValueError("its prediction is no text")
        values = None if log_p is None else [float(value) for value in log_p]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptLine(f"{path} line {number} is no prediction ({error})") from None
    return Prediction(str(row["id"]), text, values)


def some_ids(ids: Sequence[str]) -> str:
    """The first of some ids, for a message."""
    shown = ", ".join(map(repr, ids[:SHOWN]))
    return f"{shown}, ..." if len(ids) > SHOWN else shown
