"""The toy world's language: what happens in it, how that is told, and questions with their answers.

One grammar and one vocabulary for all tiny models of the toolkit. A text is a row of WORDS, parted
by blanks; a question is one of TEMPLATES, filled in.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star")
ACTIONS = ("moves left", "moves right", "moves up", "moves down", "grows", "turns")
NUMBERS = ("one", "two", "three", "four", "five", "six")
YES_NO = ("yes", "no")
WORDS = (
    *("first", "next", "after", "that", "then", "finally", "a", "an", ",", "."),
    *COLOURS,
    *SHAPES,
    *dict.fromkeys(" ".join(ACTIONS).split()),
    *NUMBERS,
    *YES_NO,
)

# Kind of question -> how it is asked. The last four ask for order.
TEMPLATES = {
    "what": "What {action} in this video?",
    "which_colour": "What colour is the {shape} that {action} in this video?",
    "which_shape": "What shape is the {colour} thing that {action} in this video?",
    "what_does": "What does the {colour} {shape} do in this video?",
    "how_many_coloured": "How many things in this video are {colour}?",
    "how_many_shaped": "How many things in this video are a {shape}?",
    "is_there": "Is there {thing} that {action} in this video?",
    "first": "What happens first in this video? Answer with that event alone.",
    "last": "What happens last in this video? Answer with that event alone.",
    "after": "What happens right after {event}? Answer with that event alone.",
    "before": "What happens right before {event}? Answer with that event alone.",
}
ORDER_KINDS = ("first", "last", "after", "before")
CONTENT_KINDS = tuple(kind for kind in TEMPLATES if kind not in ORDER_KINDS)


@dataclass(frozen=True)
class Event:
    """What one shape does."""

    colour: str
    shape: str
    action: str

    @property
    def thing(self) -> str:
        """Who does it, such as "a red circle"."""
        return f"{'an' if self.colour == 'orange' else 'a'} {self.colour} {self.shape}"

    @property
    def text(self) -> str:
        """The event as a sentence."""
        return f"{self.thing} {self.action} ."


@dataclass(frozen=True)
class StoryQuestion:
    """A question about a story that has one right answer.

    Attributes:
        kind: one of TEMPLATES.
        places: of the events in the story, from 0, that the answer follows from.
    """

    kind: str
    text: str
    answer: str
    places: tuple[int, ...]


def narrate(texts: Sequence[str]) -> str:
    """Return what happens as one text, in order: first ... next ... after that , ... finally ..."""
    words = ["first"] + [("next", "after that ,", "then")[i % 3] for i in range(len(texts) - 1)]
    if len(texts) > 1:
        words[-1] = "finally"
    return " ".join(f"{word} {text}" for word, text in zip(words, texts, strict=False))


def template_pieces() -> list[str]:
    """The pieces of text around what is filled in: a tiny model may read each as one token."""
    pieces = (p.strip() for text in TEMPLATES.values() for p in re.split(r"\{\w+\}", text))
    return [piece for piece in dict.fromkeys(pieces) if piece and piece not in WORDS]


def questions(events: Sequence[Event]) -> list[StoryQuestion]:
    """Every question about a story that has one right answer, of each kind, in a fixed order.

    A thing that returns is one thing: it is counted once, and what it does is asked only where it
    always does the same.
    """
    return [*_about_content(events), *_about_order(events)]


def _ask(kind: str, answer: str, places: Sequence[int], **words: str) -> StoryQuestion:
    return StoryQuestion(kind, TEMPLATES[kind].format(**words), f"{answer} .", tuple(places))


def _about_content(events: Sequence[Event]) -> Iterator[StoryQuestion]:
    # (kind, what is filled in) -> answer -> places of the events that give this answer
    answers: dict[tuple[str, tuple[tuple[str, str], ...]], dict[str, list[int]]] = {}
    for place, event in enumerate(events):
        colour, shape, action = event.colour, event.shape, event.action
        for kind, answer, words in (
            ("what", event.thing, {"action": action}),
            ("which_colour", colour, {"shape": shape, "action": action}),
            ("which_shape", shape, {"colour": colour, "action": action}),
            ("what_does", action, {"colour": colour, "shape": shape}),
        ):
            given = answers.setdefault((kind, tuple(words.items())), {})
            given.setdefault(answer, []).append(place)
    for (kind, filled_in), given in answers.items():
        if len(given) == 1:
            [(answer, places)] = given.items()
            yield _ask(kind, answer, places, **dict(filled_in))
    for kind, name in (("how_many_coloured", "colour"), ("how_many_shaped", "shape")):
        for value in dict.fromkeys(getattr(event, name) for event in events):
            places = [i for i, event in enumerate(events) if getattr(event, name) == value]
            things = {events[place].thing for place in places}
            yield _ask(kind, NUMBERS[len(things) - 1], places, **{name: value})
    done = {(event.thing, event.action) for event in events}
    for place, event in enumerate(events):
        yield _ask("is_there", "yes", [place], thing=event.thing, action=event.action)
        start = ACTIONS.index(event.action)
        others = [*ACTIONS[start + 1 :], *ACTIONS[:start]]
        if absent := [action for action in others if (event.thing, action) not in done]:
            yield _ask("is_there", "no", [place], thing=event.thing, action=absent[0])


def _about_order(events: Sequence[Event]) -> Iterator[StoryQuestion]:
    if len(events) < 2:
        return
    texts = [event.text.removesuffix(" .") for event in events]
    happens = Counter(texts)
    yield _ask("first", texts[0], [0])
    yield _ask("last", texts[-1], [len(texts) - 1])
    for place, (text, following) in enumerate(pairwise(texts)):
        if happens[text] == 1:
            yield _ask("after", following, [place, place + 1], event=text)
        if happens[following] == 1:
            yield _ask("before", text, [place, place + 1], event=following)


def options(
    question: StoryQuestion, events: Sequence[Event], count: int, rng: random.Random
) -> list[str]:
    """The right answer among wrong ones of its own kind, in a random order.

    Wrong answers to questions of order are other events of the story, but the event asked about;
    wrong things are things of the story. Where there are too few, others of the world follow.

    Args:
        count: of options; there are fewer where the world has fewer, such as four shapes.
    """
    wrong = [text for text in _alternatives(question, events, rng) if text != question.answer]
    return _shuffled([question.answer, *wrong[: count - 1]], rng)


def _alternatives(
    question: StoryQuestion, events: Sequence[Event], rng: random.Random
) -> Iterator[str]:
    """Answers of a question's kind, the likeliest to be taken for the right one first."""
    kind = question.kind
    closed = {
        "which_colour": COLOURS,
        "which_shape": SHAPES,
        "what_does": ACTIONS,
        "how_many_coloured": NUMBERS,
        "how_many_shaped": NUMBERS,
        "is_there": YES_NO,
    }
    if kind in closed:
        yield from (f"{word} ." for word in _shuffled(closed[kind], rng))
        return
    world = [Event(c, s, a) for c in COLOURS for s in SHAPES for a in ACTIONS]
    near, far = _shuffled(events, rng), _shuffled(world, rng)
    if kind == "what":
        yield from dict.fromkeys(f"{event.thing} ." for event in [*near, *far])
        return
    texts = dict.fromkeys(event.text for event in [*near, *far])
    yield from (text for text in texts if text.removesuffix(" .") not in question.text)


def _shuffled(values: Sequence[T], rng: random.Random) -> list[T]:
    return rng.sample(values, len(values))
