"""The record of a question about a video: the same for every benchmark and every method.

`data/<dataset>/qa/<split>.jsonl` holds one a line, sorted by id. `python -m qa.read` writes it from
the file of a benchmark; every method reads it and nothing else.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, replace_atomically
from tools.store.jsonl import dumps

MEDIA = ("video", "frames", "image", "text")


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: unique in its file: the benchmark's own, or `<video>/<its own>` where that is not
            unique.
        dataset, split: where it belongs.
        video_id: as in the data set's anno/init.jsonl; features, flow and captions are named by it.
            None of a question without media, unless it stands for a video: a text of TextVID's, or
            a question that was kept without its video.
        video: path below the video folder, with its extension; of a folder of pictures, that
            folder; None of a question without media.
        start, end: seconds of the part that is asked about, without `end` itself; None: all of it.
        question: as published.
        choices: the options without letters, in published order; None: an open question.
        answer: text of the right answer; None where labels are not public.
        answer_index: place of the right option; None of open questions and of hidden labels.
        type: the benchmark's own code of the kind of question.
        references: further answers that are accepted.
        context: what comes with the question: `media` (one of MEDIA), `subtitles` [[start, end,
            text], ...], `conversation` (earlier turns), `frames` {"fps", "first"} of a folder of
            numbered pictures, and whatever else a reader keeps (docs/questions.md).
        origin: {"file", "line" or "place", "sha256"} of what was read.
    """

    id: str
    dataset: str
    split: str
    question: str
    video_id: str | None = None
    video: str | None = None
    start: float | None = None
    end: float | None = None
    choices: list[str] | None = None
    answer: str | None = None
    answer_index: int | None = None
    type: str | None = None
    references: list[str] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=lambda: {"media": "video"})
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError where the right option or the part of the video cannot be."""
        if self.answer_index is not None and not 0 <= self.answer_index < len(self.choices or ()):
            raise ValueError(f"there is no option {self.answer_index}")
        if (self.start is None) != (self.end is None):
            raise ValueError("a start needs an end, and an end a start")
        if self.start is not None and self.end is not None and not 0 <= self.start < self.end:
            raise ValueError(f"no part of a video is from {self.start} to {self.end} s")

    @property
    def unit(self) -> str:
        """What statistics take for independent: the video, or the question where there is none."""
        return self.video_id or self.id


def write_questions(path: Path, questions: Iterable[Question]) -> int:
    """Write a split, sorted by id; returns how many there are.

    Raises:
        UserError: an id comes twice, naming both places.
    """
    in_order = sorted(questions, key=lambda question: question.id)
    for question, after in pairwise(in_order):
        if question.id == after.id:
            raise UserError(
                f"two questions have the id {question.id!r}: {question.origin}, {after.origin}"
            )
    with replace_atomically(path) as file:
        file.writelines(dumps(question) + b"\n" for question in in_order)
    return len(in_order)


def read_questions(dataset: Dataset, split: str) -> list[Question]:
    """The questions of a split, sorted by id.

    Raises:
        UserError: there is no such split, or a line is no question.
    """
    path = dataset.questions(split)
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        splits = ", ".join(dataset.question_splits()) or "none"
        raise UserError(
            f"{dataset.name} has no questions of the split {split!r} (there are: {splits}):"
            " python -m qa.read writes them"
        ) from None
    questions = []
    for number, line in enumerate(lines, start=1):
        try:
            questions.append(Question(**orjson.loads(line)))
        except (TypeError, ValueError) as error:
            raise CorruptLine(f"{path} line {number} is no question ({error})") from None
    return questions
