"""Stories in words: how they are told in many styles, what is asked, and how plain text holds them.

A row of plain text is a row of the method whose slots hold words in the place of vectors. An event
is mostly one word there, since a slot is one vector: a model that has only read events of five
words cannot take one in at once (a real vocabulary has words for things as well).
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import AutoTokenizer

from inference.tiny import llama
from prealignment.model.layouts import Row, Sample, lay_out
from qa.options import LETTERS
from tools.text.alignment_prompts import ANSWER, CHOOSE, DESCRIBE, VIDEO
from toyworld.language import (
    ACTIONS,
    COLOURS,
    ORDER_KINDS,
    SHAPES,
    TEMPLATES,
    WORDS,
    Event,
    StoryQuestion,
    narrate,
    options,
    questions,
)

KINDS = ("what", "which_colour", "what_does", *ORDER_KINDS)  # that have five options
# What the language model can answer from plain text; on the others it fails there already.
CONTENT, ORDER = "what_does", ("first", "last")
OPTIONS = 5
FRAMES = 6  # events of a story at most, a frame each
EVENTS = [Event(*parts) for parts in product(COLOURS, SHAPES, ACTIONS)]
THINGS = list(product(COLOURS, SHAPES))

# How a textual frame may be told: 8 x 3 x 7 styles of each event.
OPENINGS = ("", "here", "now", "this time", "once more", "one sees how", "in this scene", "on film")
FORMS = ("{thing} {action}", "a {shape} of {colour} colour {action}", "it is {thing} that {action}")
ENDINGS = ("", "slowly", "by itself", "before a wall", "near the middle", "for a while", "again")
STYLES = [" ".join(filter(None, style)) + " ." for style in product(OPENINGS, FORMS, ENDINGS)]


def caption(event: Event, style: int) -> str:
    """An event as the caption of a textual frame."""
    return STYLES[style].format(**vars(event), thing=event.thing)


def draw_story(rng: random.Random, count: int) -> list[Event]:
    """Events of different things, neighbours in different actions, as in rendered stories."""
    events: list[Event] = []
    for colour, shape in rng.sample(THINGS, count):
        before = events[-1].action if events else ""
        action = rng.choice([action for action in ACTIONS if action != before])
        events.append(Event(colour, shape, action))
    return events


@dataclass(frozen=True)
class Asked:
    """A question with its options.

    Attributes:
        options: the right one and wrong ones of its kind, in a random order.
        right: place of the right one.
    """

    kind: str
    text: str
    options: tuple[str, ...]
    right: int

    @property
    def choice(self) -> Sample:
        """It as a multiple-choice sample."""
        return Sample("choice", LETTERS[self.right], self.text, self.options)

    @property
    def open(self) -> Sample:
        """It as an open question."""
        return Sample("open", self.options[self.right], self.text)

    @property
    def record(self) -> dict[str, Any]:
        """It as a text video holds it."""
        answer = {"answer": LETTERS[self.right], "answer_open_ended": self.options[self.right]}
        return {"question": self.text, "options": [*self.options], **answer}


def by_kind(events: Sequence[Event]) -> dict[str, list[StoryQuestion]]:
    """Kind of KINDS -> what can be asked about a story."""
    groups: dict[str, list[StoryQuestion]] = {}
    for question in questions(events):
        if question.kind in KINDS:
            groups.setdefault(question.kind, []).append(question)
    return groups


def ask(question: StoryQuestion, events: Sequence[Event], rng: random.Random) -> Asked:
    """A question with options."""
    choices = options(question, events, OPTIONS, rng)
    return Asked(question.kind, question.text, tuple(choices), choices.index(question.answer))


def caption_sample(events: Sequence[Event]) -> Sample:
    """The description of a story."""
    return Sample("caption", narrate([event.text for event in events]))


def word_of(event: Event) -> str:
    """The one word of an event."""
    return f"<{event.colour} {event.shape} {event.action}>"


def pieces() -> list[str]:
    """What of several words is one token: what the prompts and questions have around what is filled
    in, actions, and a word for each event."""
    texts = [f"{instruction}\n{VIDEO}" for instruction in (ANSWER, CHOOSE, DESCRIBE)]
    for kind, end in product(KINDS, ("Answer:", "Choices:")):
        texts += re.split(r"\{\w+\}", f"Question: {TEMPLATES[kind]}\n{end}")
    texts += ["Description:", "Answer: The correct", "choice is", "after that ,", *ACTIONS]
    texts += [f"({letter})" for letter in LETTERS[:OPTIONS]]
    return [*dict.fromkeys(text.strip() for text in texts), *map(word_of, EVENTS)]


def build_model(folder: Path, seed: int, **config: Any) -> Path:
    """Write an untrained language model for this language."""
    words = [word for word in WORDS if word not in ("yes", "no")]
    llama.build(folder, seed, words, **config)  # for its tokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(piece, lstrip=True, normalized=False) for piece in pieces()])
    llama.build(folder, seed, words, **config, vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    return folder


def read_words(tokenizer: Any, events: Sequence[Event], dense: bool) -> list[int]:
    """The tokens of a story as plain text: one word an event, or its sentences."""
    if dense:
        ids: list[int] = tokenizer.convert_tokens_to_ids([word_of(event) for event in events])
        return ids
    text = " ".join(event.text for event in events)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def plain_row(tokenizer: Any, sample: Sample, story: Sequence[int]) -> Row:
    """A sample whose slots hold the words of a story."""
    row = lay_out(tokenizer, sample, len(story))
    ids = [*row.ids[: row.slots.start], *story, *row.ids[row.slots.stop :]]
    return replace(row, ids=ids)
