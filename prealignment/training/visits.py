"""What is learned from: text videos, or questions about videos, drawn anew at each visit.

Nothing is drawn from a global generator: the order of a pass follows from (seed, pass), and what is
asked of a video, in which order its options stand, from (seed, id, pass). Two visits never share a
list, so a shuffled order of options cannot lose its right letter.
"""

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from prealignment.model.layouts import Row, Sample, lay_out
from prealignment.texts.parsing import refers_to_options
from prealignment.vectors.rows import noisy, sampled
from qa.frames import subtitles_of
from qa.options import LETTERS
from qa.records import Question
from tools.errors import UserError
from tools.store.jsonl import Record

IGNORED = -100  # the label of a token that the loss leaves out
TRIES = 1000  # items among which one is sought that can be laid out
Item = Record | Question
"""A text video, as in tideos.jsonl, or a question about a video."""


@dataclass(frozen=True)
class Shares:
    """How often a task is drawn, where an item has it; what is left are open questions."""

    choice: float
    caption: float

    def draw(self, rng: random.Random) -> str:
        """A task."""
        point = rng.random()
        if point < self.choice:
            return "choice"
        return "caption" if point < self.choice + self.caption else "open"


# Of text videos as in the method; labelled questions are asked as they will be at test.
TEXT_SHARES, QUESTION_SHARES = Shares(0.5, 0.25), Shares(1.0, 0.0)


def id_of(item: Item) -> str:
    """What names an item: a text video's id, or a question's."""
    return item.id if isinstance(item, Question) else item["video_id"]


def video_of(item: Item) -> str:
    """Whose vectors an item is about."""
    return item.unit if isinstance(item, Question) else item["video_id"]


def draw_sample(item: Item, shares: Shares, rng: random.Random) -> Sample:
    """What is asked of an item at one visit; a task that it lacks gives way to one that it has."""
    task = shares.draw(rng)
    if isinstance(item, Question):
        return _of_question(item, task, rng)
    questions = item["QAs"]
    caption = item["global_video_caption"]
    if not questions or (task == "caption" and caption):
        return Sample("caption", caption)
    drawn = rng.choice(questions)
    place = LETTERS.index(drawn["answer"])
    if task == "choice":
        return choice_sample(drawn["question"], drawn["options"], place, (), rng)
    answer = drawn.get("answer_open_ended") or drawn["options"][place]
    return Sample("open", answer, drawn["question"])


def _of_question(question: Question, task: str, rng: random.Random) -> Sample:
    dialogue = tuple(subtitles_of(question))
    if question.type == "caption":
        return Sample("caption", rng.choice([str(question.answer), *question.references]))
    if question.choices and question.answer_index is not None and task == "choice":
        place = question.answer_index
        return choice_sample(question.question, question.choices, place, dialogue, rng)
    return Sample("open", question.answer, question.question, dialogue=dialogue)


def choice_sample(
    question: str, options: Sequence[str], right: int, dialogue: Sequence[str], rng: random.Random
) -> Sample:
    """A multiple-choice question with its options in another order, unless one of them refers to
    others by their letters.

    Args:
        right: place of the right one of `options`.
    """
    order = list(range(len(options)))
    if not refers_to_options(options):
        rng.shuffle(order)
    shuffled = tuple(options[place] for place in order)
    return Sample("choice", LETTERS[order.index(right)], question, shuffled, tuple(dialogue))


@dataclass
class Examples:
    """The visits of a training, by position, as a data loader reads them.

    Attributes:
        items: what is visited; each pass visits all of them in an order of its own.
        vectors_of: the vectors of an item, (T, width) float32.
        length: visits in all.
        frames: slots at most.
        blind: whether vectors are zero, a control that sees no video.
        variance: of the noise that is added to vectors.
        left_out: items that could not be laid out, of which each was said once in this process.
    """

    items: Sequence[Item]
    vectors_of: Callable[[Item], np.ndarray]
    tokenizer: Any
    shares: Shares
    length: int
    frames: int
    max_length: int
    seed: int = 0
    blind: bool = False
    variance: float = 0.0
    left_out: set[str] = field(default_factory=set)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> tuple[Row, np.ndarray] | None:
        """A row and its vectors; None of an item that cannot be laid out, which is said once."""
        visit, place = divmod(position, len(self.items))
        item = self.items[_order(self.seed, visit, len(self.items))[place]]
        rng = random.Random(f"{self.seed}/{id_of(item)}/{visit}")
        try:
            sample = self.draw(item, visit, rng)
            vectors = sampled(self.vectors_of(item), self.frames)
            row = lay_out(self.tokenizer, sample, len(vectors), self.max_length)
        except UserError as error:
            if id_of(item) not in self.left_out:
                print(f"{id_of(item)} is left out: {error}", file=sys.stderr)
            self.left_out.add(id_of(item))
            return None
        vectors = noisy(vectors, self.variance, np.random.default_rng(rng.getrandbits(64)))
        return row, vectors * 0 if self.blind else vectors

    def draw(self, item: Item, visit: int, rng: random.Random) -> Sample:
        """What is asked of an item at a visit; its visits count from 0."""
        return draw_sample(item, self.shares, rng)

    def collate(self, examples: Sequence[tuple[Row, np.ndarray] | None]) -> dict[str, Tensor]:
        """A batch for training, padded on the right, with labels. Where no example could be laid
        out, it is a row of another item without labels, so that the other batches of a step count.

        Raises:
            UserError: none of many other items can be laid out either.
        """
        rows = [example for example in examples if example is not None]
        if rows:
            return _labelled(rows)
        for position in range(min(len(self), TRIES)):
            if (example := self[position]) is not None:
                batch = _labelled([example])
                return {**batch, "labels": torch.full_like(batch["labels"], IGNORED)}
        raise UserError("no item of a batch could be laid out: see the reasons above")


@lru_cache(2)
def _order(seed: int, visit: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, visit]).permutation(count)


def of_share(items: Sequence[Item], share: float, seed: int) -> list[Item]:
    """The items of a share of the videos, drawn by a seed; a smaller share is a part of a larger
    one."""
    videos = sorted({video_of(item) for item in items})
    random.Random(f"{seed}/share").shuffle(videos)
    kept = set(videos[: math.ceil(share * len(videos))])
    return [item for item in items if video_of(item) in kept]


def _labelled(rows: Sequence[tuple[Row, np.ndarray]]) -> dict[str, Tensor]:
    batch = batch_of([row for row, _ in rows], [vectors for _, vectors in rows])
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for number, (row, _) in enumerate(rows):
        learned = slice(row.learned.start, row.learned.stop)
        labels[number, learned] = batch["input_ids"][number, learned]
    return {**batch, "labels": labels}


def batch_of(
    rows: Sequence[Row], vectors: Sequence[np.ndarray], side: str = "right"
) -> dict[str, Tensor]:
    """The model's inputs of rows with their vectors, padded on a side."""
    ids = [torch.tensor(row.ids) for row in rows]
    slots = [torch.zeros(len(row.ids), dtype=torch.bool) for row in rows]
    for mask, row in zip(slots, rows, strict=True):
        mask[row.slots.start : row.slots.stop] = True
    pad: dict[str, Any] = {"batch_first": True, "padding_side": side}
    return {
        "input_ids": pad_sequence(ids, **pad),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], **pad),
        "video_mask": pad_sequence(slots, **pad),
        "video": pad_sequence([torch.from_numpy(np.array(v)) for v in vectors], batch_first=True),
    }
