"""What an answerer is trained on: the questions of a split, with frames of their videos.

The frames of a video are read when they are wanted, by their time: `nframe` middles of equal parts
of the spans that the bridge has chosen, or else of the part that the question is about.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from grounding.answerer.answerer import Example
from grounding.bridge.moments import frame_times
from grounding.pseudo_labels import check_labels
from qa.records import Question, read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.text.chat import with_earlier_turns
from tools.video.decode import VideoError
from tools.video.sampling import sample_moments


@dataclass(frozen=True)
class Spans:
    """Parts of a video, (start, end) each: in seconds, or as ratios of its time."""

    parts: Sequence[tuple[float, float]]
    are_ratios: bool = False

    def seconds(self, length: float) -> list[tuple[float, float]]:
        """The parts of a video of that length."""
        scale = length if self.are_ratios else 1.0
        return [(start * scale, end * scale) for start, end in self.parts]


@dataclass
class Examples:
    """The questions of a split as examples, by position: what a data loader reads.

    Attributes:
        folder: of the videos and images.
        nframe: frames of a video; an image has one, a text none.
        spans: question id -> where its frames come from; None: the whole video, or the part that
            the question is about.
    """

    questions: Sequence[Question]
    folder: Path
    nframe: int
    spans: Mapping[str, Spans] | None = None

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, place: int) -> Example:
        """Raises UserError where the frames cannot be read."""
        question = self.questions[place]
        return Example(self._frames(question), text_of(question), question.answer)

    def _frames(self, question: Question) -> list[np.ndarray]:
        if question.video is None:
            return []
        file = self.folder / question.video
        try:
            if question.context["media"] == "image":
                return list(sample_moments(file, lambda length: [0.0]).pictures)
            spans = self.spans and self.spans[question.id]
            return list(video_frames(file, self.nframe, spans or None, question))
        except VideoError as error:
            raise unreadable(question, file, error) from None


def text_of(question: Question) -> str:
    """A question with the turns before it."""
    return with_earlier_turns(question.question, question.context.get("conversation", ()))


def unreadable(question: Question, file: Path, error: VideoError) -> UserError:
    """The error of a question whose video or image cannot be read."""
    return UserError(
        f"the question {question.id!r} cannot be shown: {file}: {error}; leave it out of"
        f" data/{question.dataset}/qa/{question.split}.jsonl"
    )


def video_frames(
    file: Path, nframe: int, spans: Spans | None, question: Question | None = None
) -> np.ndarray:
    """Frames of a video, (nframe, height, width, 3) uint8 RGB.

    Args:
        spans: where they come from; None: the part that the question is about, or all.

    Raises:
        VideoError: the file cannot be read.
    """

    def choose(length: float) -> list[float]:
        if spans:
            return frame_times(spans.seconds(length), nframe)
        start = question.start if question and question.start else 0.0
        end = question.end if question and question.end else length
        return frame_times([(start, min(end, length))], nframe)

    return sample_moments(file, choose).pictures


def read_examples(
    dataset: Dataset, split: str, folder: Path, nframe: int, spans: Path | None = None
) -> tuple[Examples, Counter[str]]:
    """The examples of a split, and how many questions were left out, by reason.

    Args:
        folder: of the videos and images.
        spans: a file of spans, see `read_spans`, in which every question about a video must be.

    Raises:
        UserError: there is no such split or file, or no question of the split can be used.
    """
    questions = read_questions(dataset, split)
    chosen = read_spans(spans, questions) if spans else None
    left_out: Counter[str] = Counter()
    kept = []
    for question in questions:
        if reason := _unusable(question, folder, chosen):
            left_out[reason] += 1
        else:
            kept.append(question)
    if not kept:
        reasons = ", ".join(f"{reason} {count}" for reason, count in left_out.most_common())
        raise UserError(
            f"{dataset.name}/{split}: no question can be used ({reasons or 'it is empty'}); videos"
            f" are looked for in {folder}"
        )
    return Examples(kept, folder, nframe, chosen), left_out


def _unusable(question: Question, folder: Path, spans: Mapping[str, Spans] | None) -> str | None:
    """Why a question cannot be an example."""
    media = question.context["media"]
    if question.answer is None:
        return "no answer"
    if media not in ("video", "image", "text"):
        return f"media {media}"
    if question.video is not None and not (folder / question.video).is_file():
        return "missing file"
    if media == "video" and spans is not None:
        own = spans.get(question.id)
        return None if own and own.parts else "no span"
    return None


def read_spans(path: Path, questions: Sequence[Question]) -> dict[str, Spans]:
    """Question id -> its spans, from a file with one line a question: {"id", "span_time": [[start,
    end], ...], ...} in seconds, or a file of labels, whose "span_ratio" is one span. Where a line
    has "question" and "video_id", they are compared.

    Raises:
        UserError: it cannot be read, a line is no such row, or it is of other questions.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    rows, spans = {}, {}
    for number, line in enumerate(lines, start=1):
        try:
            row = orjson.loads(line)
            key = str(row["id"])
            spans[key] = _spans_of(row)
            rows[key] = row
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} line {number} holds no spans ({error!r})") from None
    check_labels(path, rows, questions, "spans")
    return spans


def _spans_of(row: Record) -> Spans:
    ratio = row.get("span_ratio")
    if ratio and not isinstance(ratio[0], list):  # a label, which has one span
        return Spans([(float(ratio[0]), float(ratio[1]))], are_ratios=True)
    return Spans([(float(start), float(end)) for start, end in row["span_time"]])
