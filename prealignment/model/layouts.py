"""Prompts as rows of tokens: one function makes a row's ids, its slots and what is learned.

A row is BOS, the instruction and "Video:", a slot for each vector, the body, what is learned, EOS.
The text before the slots and the text behind them are read by the tokenizer as they stand, and the
place of each token in the text says whether it is learned. The tokens of a prompt are therefore
those of training, whatever the tokenizer does at a boundary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qa.options import LETTERS
from tools.errors import UserError
from tools.text.alignment_prompts import (
    VIDEO,
    Wording,
    caption_wording,
    choice_wording,
    open_wording,
)

TASKS = ("choice", "caption", "open")


@dataclass(frozen=True)
class Sample:
    """What a row asks, and what is answered.

    Attributes:
        task: choice: the answer is a letter; caption: a description of the video; open: a text.
        answer: None where the model is to say it; of a choice, the letter.
        question, options, dialogue: as far as the task has them; dialogue: lines of subtitles.
    """

    task: str
    answer: str | None = None
    question: str = ""
    options: tuple[str, ...] = ()
    dialogue: tuple[str, ...] = ()

    def wording(self) -> Wording:
        """The texts of its row."""
        answer = self.answer or ""
        if self.task == "choice":
            return choice_wording(self.question, self.options, answer, self.dialogue)
        if self.task == "caption":
            return caption_wording(answer)
        return open_wording(self.question, answer, self.dialogue)


@dataclass(frozen=True)
class Row:
    """A sample in tokens.

    Attributes:
        ids: its tokens.
        slots: positions of the video's vectors.
        learned: positions of what is learned; the end token is one of them.
    """

    ids: list[int]
    slots: range
    learned: range


def lay_out(tokenizer: Any, sample: Sample, vectors: int, max_length: int | None = None) -> Row:
    """A sample as a row.

    Args:
        tokenizer: a fast one of transformers, which tells the place of each token in the text.
        vectors: of the video, one slot each.
        max_length: longest row, tokens. Dialogue is shortened first, line by line from its
            beginning, then the longest of question and options, word by word. An answer is never
            cut, and a caption loses its end.

    Raises:
        UserError: what must stay is longer than that.
    """
    row = _laid_out(tokenizer, sample, vectors)
    while max_length is not None and len(row.ids) > max_length:
        shorter = _shortened(sample)
        if shorter is None:
            kept = row.learned.stop - (len(row.ids) - max_length)
            if sample.task != "caption" or kept <= row.learned.start:
                raise UserError(
                    f"a row of {max_length} tokens has no room for {vectors} vectors, the prompt"
                    f" and the answer ({len(row.ids)} tokens): give a larger --max_length"
                )
            return Row(row.ids[:max_length], row.slots, range(row.learned.start, kept))
        sample = shorter
        row = _laid_out(tokenizer, sample, vectors)
    return row


def _laid_out(tokenizer: Any, sample: Sample, vectors: int) -> Row:
    wording = sample.wording()
    before = tokenizer(f"{wording.instruction}\n{VIDEO}", add_special_tokens=False)["input_ids"]
    body = f"\n{wording.body}"
    behind = tokenizer(
        body + wording.learned, add_special_tokens=False, return_offsets_mapping=True
    )
    start = 1 + len(before) + vectors
    given = sum(end <= len(body) for _, end in behind["offset_mapping"])
    ids = [
        *(tokenizer.bos_token_id, *before),
        *[tokenizer.bos_token_id] * vectors,  # the model puts the vectors in their place
        *behind["input_ids"],
    ]
    if sample.answer is not None:
        ids.append(tokenizer.eos_token_id)
    return Row(ids, range(start - vectors, start), range(start + given, len(ids)))


def _shortened(sample: Sample) -> Sample | None:
    """A sample with less text around the answer; None: there is nothing to spare."""
    if sample.dialogue:
        return replace(sample, dialogue=sample.dialogue[1:])
    texts = [sample.question, *sample.options]
    longest = max(range(len(texts)), key=lambda place: len(texts[place].split()))
    words = texts[longest].split()
    if len(words) < 2:
        return None
    texts[longest] = " ".join(words[:-1])
    return replace(sample, question=texts[0], options=tuple(texts[1:]))


def letter_rows(
    tokenizer: Any, sample: Sample, vectors: int, max_length: int | None = None
) -> tuple[Row, list[int]]:
    """A multiple-choice row up to where its letter stands, and the token of each option's letter.

    One forward of the row gives the scores of all letters.
    """
    rows = [
        lay_out(tokenizer, replace(sample, answer=letter), vectors, max_length)
        for letter in LETTERS[: len(sample.options)]
    ]
    place = _first_difference([row.ids for row in rows])
    first = rows[0]
    prompt = Row(first.ids[:place], first.slots, range(place, place))
    return prompt, [row.ids[place] for row in rows]


def option_rows(
    tokenizer: Any, sample: Sample, vectors: int, max_length: int | None = None
) -> list[Row]:
    """A row for each option, which stands behind "Answer:" as the answer to an open question."""
    opened = replace(sample, task="open", options=())
    return [
        lay_out(tokenizer, replace(opened, answer=option), vectors, max_length)
        for option in sample.options
    ]


def _first_difference(rows: Sequence[Sequence[int]]) -> int:
    """The first position at which rows are not the same."""
    return next(place for place, tokens in enumerate(zip(*rows)) if len(set(tokens)) > 1)  # noqa: B905
