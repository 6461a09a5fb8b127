"""What is asked about the stories: three questions each, which their options alone do not answer.

| type | asks | options | best guess blind, and knowing which events happen |
|---|---|---|---|
| first, last | what happens first, or last | the four events, one of an absent thing | .20, .25 |
| does | what a thing does | five of its six actions | .20, 1 |

Each option is a whole event, whose article fits its own colour: an article that fits one of them
alone would give the answer away.
"""

import random
from collections.abc import Sequence
from itertools import product

from qa.records import Question
from toyworld.language import ACTIONS, COLOURS, SHAPES, Event

EVENTS = 4  # of a story
TYPES = ("first", "last", "does")
OPTIONS = 5
THINGS = tuple(product(COLOURS, SHAPES))


def ask(events: Sequence[Event], rng: random.Random) -> list[tuple[str, str, list[str], int]]:
    """(type, question, options, place of the right one) of each type, about a story."""
    subject = rng.choice(events)
    asked = [
        ("first", "what happens first ?", events[0], _with_absent(events, rng)),
        ("last", "what happens last ?", events[-1], _with_absent(events, rng)),
        (
            "does",
            f"what does the {subject.colour} {subject.shape} do ?",
            subject,
            [Event(subject.colour, subject.shape, action) for action in ACTIONS],
        ),
    ]
    rows = []
    for kind, text, right, others in asked:
        wrong = rng.sample([event for event in others if event != right], OPTIONS - 1)
        options = rng.sample([event.text for event in [right, *wrong]], OPTIONS)
        rows.append((kind, text, options, options.index(right.text)))
    return rows


def _with_absent(events: Sequence[Event], rng: random.Random) -> list[Event]:
    """The events of a story, and one of a thing that is not in it."""
    present = {(event.colour, event.shape) for event in events}
    thing = rng.choice([thing for thing in THINGS if thing not in present])
    return [*events, Event(*thing, rng.choice(ACTIONS))]


def questions_about(
    events: Sequence[Event], video: str, dataset: str, split: str, seed: int
) -> list[Question]:
    """The questions about a video of a data set; they depend on the seed and the video alone."""
    return [
        Question(
            *(f"{video}/{kind}", dataset, split, text, video, f"{video}.mp4"),
            choices=options,
            answer=options[right],
            answer_index=right,
            type=kind,
        )
        for kind, text, options, right in ask(events, random.Random(f"{seed}/{video}"))
    ]
