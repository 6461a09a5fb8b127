"""What questions are about: videos, or parts of videos, each once, and the frames of each.

A view is a video or the part of one between a question's start and end. Captioner and encoder see
the same frames of it: those at the middles of equal parts of its time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qa.evaluate import video_path
from qa.frames import frames_of
from qa.records import Question, read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import Record

FRAMES = 8
VIEWS = "question_views"


def view_of(question: Question) -> str:
    """The name of what a question is about: its video, or its part of it."""
    if question.start is None:
        return question.unit
    # 15 digits: more than one part of a video may begin in the same hundredth of a second.
    return f"{question.unit}@{question.start:.15g}-{question.end:.15g}"


def choice_questions(dataset: Dataset, split: str) -> list[Question]:
    """The questions of a split that have options and a video, sorted by id; the others are counted
    in one line.

    Raises:
        UserError: there are none.
    """
    everything = read_questions(dataset, split)
    questions = [q for q in everything if q.choices is not None and q.video is not None]
    if not questions:
        raise UserError(
            f"no question of {dataset.name}/{split} has options and frames: python -m qa.read makes"
            " options of open questions with --choices 5"
        )
    if left_out := len(everything) - len(questions):
        print(
            f"{dataset.name}/{split}: {left_out} questions without options or frames are left out"
        )
    return questions


def list_views(dataset: Dataset) -> None:
    """Write what the questions of all splits are about to the table VIEWS.

    Raises:
        UserError: the data set has no question with options and a video.
    """
    records = {view_of(q): view_record(dataset, q) for q in _every_choice(dataset)}
    if not records:
        raise UserError(
            f"{dataset.name} has no questions with options and a video: python -m qa.read writes"
            " them, of open ones with --choices 5"
        )
    dataset.table(VIEWS).write(records.values())


def asked_views(dataset: Dataset) -> list[Record]:
    """A record of the view of each question of all splits, which is named by the question's id and
    holds what is `asked`."""
    records = {
        q.id: {
            **view_record(dataset, q),
            "video_id": q.id,
            "asked": {"question": q.question, "choices": q.choices},
        }
        for q in _every_choice(dataset)
    }
    return [records[name] for name in sorted(records)]


def view_record(dataset: Dataset, question: Question) -> Record:
    """What a question is about, as the table VIEWS holds it."""
    context = {k: v for k, v in question.context.items() if k in ("media", "frames")}
    return {
        "video_id": view_of(question),
        "of": question.unit,
        "path": str(video_path(dataset, question)),
        **{"start": question.start, "end": question.end, "context": context},
    }


def _every_choice(dataset: Dataset) -> Iterator[Question]:
    """The questions of all splits that have options and a video."""
    for split in dataset.question_splits():
        for question in read_questions(dataset, split):
            if question.choices is not None and question.video is not None:
                yield question


@dataclass(frozen=True)
class Frames:
    """Frames of a view: (height, width, 3) uint8 RGB each, and the seconds of the video's own time
    at the middles of the equal parts that they stand for; `step` is the length of a part."""

    pictures: list[np.ndarray]
    times: list[float]
    step: float


def view_frames(record: Record, count: int) -> Frames:
    """Frames of a record of `list_views`.

    Raises:
        VideoError: the video cannot be read.
    """
    about = {name: record[name] for name in ("start", "end", "context")}
    question = Question(record["video_id"], "", "", "", **about)
    pictures, rate = frames_of(question, Path(record["path"]), count)
    if len(pictures) == 1:  # a picture is a video that stands still
        pictures = pictures * count
        rate *= count
    begin, step = record["start"] or 0.0, 1 / rate
    times = [begin + (number + 0.5) * step for number in range(len(pictures))]
    return Frames(pictures, times, step)
