"""What a student reads at once: questions grouped by the video, or the part of one, they are about.

Frames of a view are read once for all its questions; the gradients are those of questions read one
by one.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
import torch
from torch import Tensor

from distillation.features import Features, option_text
from distillation.inputs.lines import Prompts
from distillation.inputs.views import view_of
from distillation.student import Student
from qa.records import Question

STATISTICS_VIEWS = 256  # at most, whose tokens give the mean and deviation of each channel
NO_LABEL = -1


@dataclass(frozen=True)
class Group:
    """Questions about one view of a video."""

    view: str
    video: str
    questions: list[Question]


def grouped(questions: Iterable[Question], one_by_one: bool = False) -> list[Group]:
    """Questions by view, sorted; `one_by_one` makes a group of each question."""
    groups: dict[str, Group] = {}
    for question in questions:
        view = view_of(question)
        key = f"{view}/{question.id}" if one_by_one else view
        groups.setdefault(key, Group(view, question.unit, [])).questions.append(question)
    return [groups[key] for key in sorted(groups)]


@dataclass
class Reader:
    """Groups as tensors.

    Attributes:
        labelled: ids of the questions whose label is read; None: of all.
        teacher: {id: (C,) probabilities}.
        vectors: {id: (D,)} of a teacher.
        control: None, or what is done to the video: "zeroed", "shuffled" (its frames, with their
            lines), "reversed", or "choices_only", which takes away the question too.
        blank, blank_question: (width,) what stands in their place; None: zeros.
    """

    features: Features
    prompts: Prompts
    labelled: set[str] | None = None
    teacher: dict[str, np.ndarray] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    control: str | None = None
    blank: Tensor | None = None
    blank_question: Tensor | None = None
    _texts: dict[str, list[str | None]] = field(default_factory=dict)

    def __call__(self, groups: Sequence[Group]) -> dict[str, Tensor]:
        """The inputs of `Student.forward`, and `labels` (Q,), `teacher` (Q, C), `vectors` (Q, D)
        as far as there are some."""
        questions = [question for group in groups for question in group.questions]
        owner = [number for number, group in enumerate(groups) for _ in group.questions]
        options = [self._options(question) for question in questions]
        most = max(map(len, options))
        batch = {
            "visual": torch.from_numpy(np.stack([self._visual(group) for group in groups])),
            "question": self._vectors([question.question for question in questions]),
            "options": _padded(options, most),
            "is_option": torch.tensor([[n < len(own) for n in range(most)] for own in options]),
            "owner": torch.tensor(owner),
            "labels": torch.tensor([self._label(question) for question in questions]),
        }
        batch["visual"] = batch["visual"].float()
        if self.control in ("zeroed", "choices_only"):
            batch["visual"] = _filled(batch["visual"], self.blank)
        if self.control == "choices_only":
            batch["question"] = _filled(batch["question"], self.blank_question)
        if self.prompts.variant != "none":
            batch["lines"], batch["live"] = self._lines(groups)
        if self.teacher:
            rows = [torch.from_numpy(self.teacher[question.id]) for question in questions]
            batch["teacher"] = _padded(rows, most)
        if self.vectors:
            rows = [torch.from_numpy(np.array(self.vectors[q.id])) for q in questions]
            batch["vectors"] = torch.stack(rows).float()
        return batch

    def _label(self, question: Question) -> int:
        known = self.labelled is None or question.id in self.labelled
        if question.answer_index is None or not known:
            return NO_LABEL
        return question.answer_index

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(self.features.texts.vectors(texts)).float()

    def _options(self, question: Question) -> Tensor:
        faithful = self.features.faithful
        return self._vectors(
            [option_text(question, own, faithful) for own in question.choices or ()]
        )

    def _order(self, group: Group) -> list[int]:
        order = list(range(self.features.frames))
        if self.control == "reversed":
            order.reverse()
        elif self.control == "shuffled":
            random.Random(f"{group.view}/frames").shuffle(order)
        return order

    def _visual(self, group: Group) -> np.ndarray:
        tokens = self.features.tokens(group.view)
        return tokens[self._order(group)] if self.control else tokens

    def _lines(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """(b, T, L, d) tokens and (b, T, L) whether there is one."""
        table = self.features.lines
        # The public code has no frame without a text.
        missing = "" if self.features.faithful else None
        rows = []
        for group in groups:
            texts = self._texts_of(group)
            texts = [missing if texts[n] is None else texts[n] for n in self._order(group)]
            rows += [None if text is None else table.rows(text) for text in texts]
        longest = max((len(row) for row in rows if row is not None), default=1)
        tokens = np.zeros((len(rows), longest, self.features.width), np.float16)
        live = np.zeros((len(rows), longest), bool)
        for number, row in enumerate(rows):
            if row is not None:
                tokens[number, : len(row)], live[number, : len(row)] = row, True
        shape = (len(groups), self.features.frames)
        return (
            torch.from_numpy(tokens).float().unflatten(0, shape),
            torch.from_numpy(live).unflatten(0, shape),
        )

    def _texts_of(self, group: Group) -> list[str | None]:
        question = group.questions[0]  # in whose view, or with whose own lines, all of them are
        subject = self.prompts.subject_of(question)
        if subject not in self._texts:
            self._texts[subject] = self.prompts.shown(question, self.features.times)
        return self._texts[subject]


def _filled(like: Tensor, row: Tensor | None) -> Tensor:
    """A row in every place of the last axis; None: zeros."""
    return torch.zeros_like(like) if row is None else row.cpu().expand_as(like)


def _padded(rows: Sequence[Tensor], length: int) -> Tensor:
    """(n, length, ...) rows of different lengths, 0 behind their ends."""
    padded = rows[0].new_zeros(len(rows), length, *rows[0].shape[1:])
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def set_statistics(student: Student, features: Features, questions: Sequence[Question]) -> None:
    """Give a student the statistics of its training questions: of each channel of visual tokens
    mean and deviation, of questions the mean and one deviation, of options the mean."""
    views = sorted({view_of(question) for question in questions})
    step = ceil(len(views) / STATISTICS_VIEWS)
    tokens = np.stack([features.tokens(view) for view in views[::step]]).astype(np.float32)
    student.visual_mean.copy_(torch.from_numpy(tokens.mean((0, 1, 2))))
    student.visual_std.copy_(_deviation(torch.from_numpy(tokens.std((0, 1, 2)))))
    texts = sorted({question.question for question in questions})
    vectors = torch.from_numpy(features.texts.vectors(texts)).float()
    student.question_mean.copy_(vectors.mean(0))
    # One number: of a few question templates, a channel's own deviation may be near 0.
    spread = (vectors - vectors.mean(0)).square().mean().sqrt()
    student.question_std.copy_(_deviation(spread.expand_as(student.question_std)))
    options = sorted({option for question in questions for option in question.choices or ()})
    student.option_mean.copy_(torch.from_numpy(features.texts.vectors(options)).float().mean(0))


def _deviation(values: Tensor) -> Tensor:
    return torch.where(values > 1e-6, values, torch.ones_like(values))
