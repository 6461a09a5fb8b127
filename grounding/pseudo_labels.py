"""The file of labels: data/<dataset>/grounding/<split>/pseudo_labels.jsonl, a row a question.

A row has id, video_id, question and answer; span_ratio, the moment as ratios of the video's time, 0
to 1; and, where `grounding.labels` made it, span_time in seconds, frame_times, answers, scores,
confidence, metric, baseline and the fingerprint of all that.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from grounding.bridge.moments import Ratios, ratios_of
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, read_json, replace_atomically
from tools.store.jsonl import Record, Table, dumps

RELEASED_FRAMES = 32  # the released integer labels count this many frames
SHOWN = 3  # ids that a message names
DROPPED = ("part", "media", "conversation", "video_path")  # of a question, which has them itself


def write_labels(dataset: Dataset, split: str, labels: Table) -> int:
    """Write the labels that passed, under the questions' ids; returns how many there are."""
    made = labels.meta().get("fingerprint")
    rows = []
    for record in labels.sorted_records():
        if not record.get("filtered"):
            own = {key: value for key, value in record.items() if key not in DROPPED}
            own.pop("of_video")
            rows.append({"id": record["video_id"], **own, "video_id": record["of_video"]})
            rows[-1]["fingerprint"] = made
    write_rows(dataset.pseudo_labels(split), rows)
    return len(rows)


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write rows of labels, sorted by id."""
    with replace_atomically(path) as file:
        file.writelines(dumps(row) + b"\n" for row in sorted(rows, key=lambda row: row["id"]))


def read_labels(path: Path, min_confidence: float = 0.0) -> dict[str, Record]:
    """{question id: row} of a file of labels.

    Args:
        min_confidence: labels below it are left out; an imported one, whose confidence is null,
            is not.

    Raises:
        UserError: there is no such file, a line is no label, or a span is not of ratios.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise UserError(
            f"{path} is not there: python -m grounding.labels DATASET WORLD_SIZE --split SPLIT"
            " writes the labels of a split"
        ) from None
    rows = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = orjson.loads(line)
            start, end = map(float, row["span_ratio"])
            confidence = row.get("confidence")
            kept = confidence is None or float(confidence) >= min_confidence
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptLine(f"{path} line {number} is no label ({error!r})") from None
        if not 0 <= start <= end <= 1:
            raise UserError(
                f"{path} line {number}: the span {start:g} to {end:g} is no ratio of the video's"
                f" time, 0 to 1; python -m grounding.labels --labels FILE imports released labels,"
                f" which count frames from 0 to {RELEASED_FRAMES - 1}"
            )
        if kept:
            rows[str(row["id"])] = row
    return rows


def check_labels(
    path: Path, rows: Mapping[str, Record], questions: Sequence[Question], what: str = "labels"
) -> None:
    """See that the labels (or spans) of a file are those of these questions: what a row says of its
    question and of the video is so.

    Raises:
        UserError: they are of other questions, such as another split's.
    """
    known = {question.id: question for question in questions}
    unknown = [key for key in rows if key not in known]
    unlike = [
        key
        for key, row in rows.items()
        if key in known
        and any(
            row.get(name, getattr(known[key], name)) != getattr(known[key], name)
            for name in ("question", "video_id")
        )
    ]
    if unlike or (rows and questions and len(unknown) == len(rows)):
        raise UserError(
            f"{path} holds {what} of other questions than"
            f" {questions[0].dataset}/{questions[0].split} has, such as {[*unlike, *unknown][0]!r}:"
            " they are of another split or data set"
        )


def import_labels(
    file: Path, questions: Sequence[Question]
) -> tuple[list[Record], Counter[str], str]:
    """The labels of a file in the released format: {key: [start, end]}, all of them whole numbers
    of 32 frames (videoinstruct), or all ratios of the video's time (ivinstruct). A key is a
    question's id, or its place in the only file that the split was read from (videoinstruct).

    Returns:
        Rows of `pseudo_labels.jsonl`; how many entries were left out, by reason; the scale.

    Raises:
        UserError: it cannot be read, has neither scale, or none of its keys is of the questions.
    """
    if not file.is_file():
        raise UserError(f"--labels {file}: no such file")
    entries = read_json(file)
    if not isinstance(entries, dict) or not entries:
        raise UserError(f"{file} holds no labels: they are {{id: [start, end]}}")
    known = {question.id: question for question in questions}
    if len({question.origin.get("file") for question in questions}) == 1:
        known = {str(q.origin["place"]): q for q in questions if "place" in q.origin} | known
    if not any(key in known for key in entries):
        shown = ", ".join([*entries][:SHOWN]) + (", ..." if len(entries) > SHOWN else "")
        raise UserError(
            f"{file}: no label is of a question of {questions[0].dataset}/{questions[0].split}:"
            f" {shown}"
        )
    values = [v for entry in entries.values() if isinstance(entry, list) for v in entry]
    in_frames = all(type(value) is int for value in values)
    if not in_frames and any(isinstance(value, int | float) and value > 1 for value in values):
        raise UserError(
            f"{file} mixes scales: labels are whole numbers from 0 to {RELEASED_FRAMES - 1}, or"
            " ratios from 0 to 1"
        )
    rows, left_out = [], Counter[str]()
    for key, entry in entries.items():
        ratios = _ratios(entry, in_frames) if key in known else "no_question"
        if isinstance(ratios, str):
            left_out[ratios] += 1
            continue
        question = known[key]
        row: Record = {
            "id": question.id,
            "question": question.question,
            "answer": question.answer,
            "video_id": question.video_id,
            "span_time": None,
            "span_ratio": ratios,
            "confidence": None,
            "imported_from": file.name,
        }
        rows.append(row)
    scale = f"frames of 0 to {RELEASED_FRAMES - 1}" if in_frames else "ratios of the video's time"
    return rows, left_out, scale


def _ratios(entry: Any, in_frames: bool) -> Ratios | str:
    """The ratios of an entry of a released file, or what is wrong with it."""
    numbers = isinstance(entry, list) and all(isinstance(value, int | float) for value in entry)
    if not numbers or len(entry) != 2:
        return "no_span"
    start, end = entry
    if start > end:
        return "inverted"
    if start < 0 or end > (RELEASED_FRAMES - 1 if in_frames else 1):
        return "out_of_range"
    return ratios_of(start, end, RELEASED_FRAMES) if in_frames else (start, end)
