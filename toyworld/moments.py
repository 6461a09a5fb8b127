"""Films in which one moment answers a question: an action that happens once, or what follows it.

A film is a row of shots, each of one event. When the moment is can be told from how things move and
from the question; what the answer is can be told from a single picture of the moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toyworld.language import TEMPLATES, Event
from toyworld.stories import THINGS

LONGEST_MOMENT = 2  # shots
AFTER_SHARE = 0.3  # of the questions ask what comes right after the action
KINDS = {"what": 0.6, "which_colour": 0.2, "which_shape": 0.2}  # shares of the questions
AFTER = {
    "what": "What comes right after that which {action} in this video?",
    "which_colour": "What colour comes right after that which {action} in this video?",
    "which_shape": "What shape comes right after that which {action} in this video?",
}


@dataclass(frozen=True)
class Film:
    """A film and a question about it.

    Attributes:
        shots: numbers of shots of a library.
        first, last: places in `shots` of the moment that holds the answer, both within it.
        action: what the question asks about.
        kind: one of KINDS.
        is_after: whether the moment is the one right after the action.
    """

    shots: tuple[int, ...]
    first: int
    last: int
    action: str
    kind: str
    is_after: bool
    question: str
    answer: str


def ask(kind: str, action: str, is_after: bool, thing: Event) -> str:
    """The question of a kind about an action; `thing` fills in what else it names."""
    template = (AFTER if is_after else TEMPLATES)[kind]
    return template.format(action=action, shape=thing.shape, colour=thing.colour)


def answer_of(kind: str, event: Event) -> str:
    """What a picture of an event answers to a question of a kind."""
    return {"what": event.thing, "which_colour": event.colour, "which_shape": event.shape}[kind]


class Director:
    """Draws films from a library of shots.

    The action of a film's question happens in one moment of 1 to LONGEST_MOMENT shots of one thing,
    and nowhere else in it. In films of up to 24 shots no thing comes a second time; in a longer one
    all things come about equally often.
    """

    def __init__(self, events: Sequence[Event], rng: np.random.Generator) -> None:
        """`events`: what happens in each shot of the library."""
        self.events, self.rng = events, rng
        self.shots_of: dict[Event, list[int]] = {}
        for number, event in enumerate(events):
            self.shots_of.setdefault(event, []).append(number)

    def film(self, length: int) -> Film:
        """A film of `length` shots."""
        rng = self.rng
        action = str(rng.choice(sorted({event.action for event in self.shots_of})))
        is_after = bool(rng.random() < AFTER_SHARE)
        kind = str(rng.choice([*KINDS], p=[*KINDS.values()]))
        of_action = [event for event in self.shots_of if event.action == action]
        event = of_action[rng.integers(len(of_action))]
        moment = rng.permutation(self.shots_of[event])[: rng.integers(1, LONGEST_MOMENT + 1)]
        size = len(moment)
        start = int(rng.integers(0, length - size - is_after + 1))
        shots = self._others(length, event)
        shots[start : start + size] = moment.tolist()
        first, last = (start + size,) * 2 if is_after else (start, start + size - 1)
        shown = self.events[shots[first]]
        question = ask(kind, action, is_after, shown)
        answer = answer_of(kind, shown)
        return Film(tuple(shots), first, last, action, kind, is_after, question, answer)

    def film_of_two(self, length: int) -> tuple[Film, Film]:
        """A film of `length` shots in which two things do what the question asks about, in two
        moments that other shots part; it comes twice, with each moment and its answer."""
        rng = self.rng
        action = str(rng.choice(sorted({event.action for event in self.shots_of})))
        by_thing = {event.thing: event for event in self.shots_of if event.action == action}
        events = [by_thing[thing] for thing in rng.choice(sorted(by_thing), 2, replace=False)]
        moments = [
            rng.permutation(self.shots_of[event])[: rng.integers(1, LONGEST_MOMENT + 1)].tolist()
            for event in events
        ]
        size = sum(map(len, moments))
        # Where the two begin, if each took no time: the second one at least one shot later.
        begin, after = sorted(rng.choice(length - size + 1, 2, replace=False).tolist())
        shots = self._others(length, *events)
        films = []
        for start, moment in ((begin, moments[0]), (after + len(moments[0]), moments[1])):
            shots[start : start + len(moment)] = moment
            films.append((start, start + len(moment) - 1))
        question = ask("what", action, False, events[0])
        first, second = (
            Film(tuple(shots), *places, action, "what", False, question, event.thing)
            for places, event in zip(films, events, strict=True)
        )
        return first, second

    def _others(self, length: int, *asked: Event) -> list[int]:
        """`length` shots in which other things do other things than `asked`, which do the same."""
        rng = self.rng
        things_asked = {event.thing for event in asked}
        by_thing: dict[str, list[int]] = {}
        for event, numbers in self.shots_of.items():
            is_other = length > THINGS or event.thing not in things_asked
            if is_other and event.action != asked[0].action:
                by_thing.setdefault(event.thing, []).extend(numbers)
        things: list[str] = []
        while len(things) < length:
            things += rng.permutation(sorted(by_thing)).tolist()
        return [int(rng.choice(by_thing[thing])) for thing in things[:length]]
