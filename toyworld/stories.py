"""Stories: toy videos that a model of a million parameters can learn to see.

A story is a row of shots of one length with one event each, in front of plain walls, hard cuts
between them. Read at one frame a second, each shot gives two frames: one temporal patch of
Qwen2-VL's. Up to 24 events are of 24 different things; in a longer story things return.
"""

from argparse import ArgumentTypeError
from fractions import Fraction

import numpy as np

from toyworld.language import ACTIONS, COLOURS, SHAPES, Event
from toyworld.places import WALL
from toyworld.plan import Place, Plan, Shot, Transition, add_events, draw_events, lay_out

SIDE = 112  # pixels, both ways
RATE = Fraction(8)  # frames a second
SHOT_SECONDS = 2.0
RADIUS = 0.25  # of a shape, in the picture's side
WANDER = 0.25  # the camera stands on a tripod, and shapes keep to the middle or nearly so
THINGS = len(COLOURS) * len(SHAPES)
MOST_EVENTS = 512  # a quarter of an hour


def numbers_of_events(text: str) -> tuple[int, ...]:
    """An argparse type: the numbers that "4,8,16" or "8-16" stands for."""
    try:
        low, dash, high = text.partition("-")
        numbers = tuple(range(int(low), int(high) + 1) if dash else map(int, text.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or max(numbers) > MOST_EVENTS:
        raise ArgumentTypeError(
            f"{text!r} is no list such as 4,8,16 and no range such as 8-16 of numbers from 1 to"
            f" {MOST_EVENTS}"
        )
    return numbers


def plan_story(seed: int, number: int, events: int) -> Plan:
    """Return the plan of story `number` (from 0) of the toy world `seed`, of 1 to MOST_EVENTS
    events."""
    rng = np.random.default_rng([seed, number])
    # 7/16 of the wheel sets neighbours far apart, and in 16 shots no hue returns.
    start = rng.random()
    places = [Place(WALL, (start + i * 7 / 16 + i // 16 / 32) % 1.0) for i in range(events)]
    shots = [Shot(place, SHOT_SECONDS) for place in range(events)]
    transitions = [Transition("cut") for _ in shots[1:]]
    lay_out(shots, transitions, RATE)
    if events > THINGS:
        happens = dict(enumerate(long_story(events, rng)))
    else:
        happens = draw_events(shots, rng)
    add_events(shots, RATE, happens)
    return Plan(
        [seed, number], SIDE, SIDE, RATE, places, shots, transitions, radius=RADIUS, wander=WANDER
    )


def long_story(count: int, rng: np.random.Generator) -> list[Event]:
    """`count` events in which things return. One action happens only once, so that something can
    be asked of which there is one; the others happen once with each thing (120 events, but for a
    few at the end that fit nowhere) before any event happens again. Neighbours differ in thing and
    in action."""
    things = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    rare, *common = rng.permutation(ACTIONS).tolist()
    events: list[Event] = []
    left: list[Event] = []
    while len(events) < count - 1:
        fitting = [event for event in left if not events or _differ(event, events[-1])]
        if not fitting:
            left = [Event(*thing, action) for thing in things for action in common]
            continue
        events.append(fitting[rng.integers(len(fitting))])
        left.remove(events[-1])
    at = int(rng.integers(count))
    around = {event.thing for event in events[max(0, at - 1) : at + 1]}
    others = [e for e in (Event(*thing, rare) for thing in things) if e.thing not in around]
    return [*events[:at], others[rng.integers(len(others))], *events[at:]]


def _differ(event: Event, other: Event) -> bool:
    return event.thing != other.thing and event.action != other.action
