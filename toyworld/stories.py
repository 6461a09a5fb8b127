"""Stories: toy videos that a model of a million parameters can learn to see.

A story is a row of shots of one length with one event each, no two of one colour and shape, in
front of plain walls, hard cuts between them. Read at one frame a second, each shot gives two
frames: one temporal patch of Qwen2-VL's.
"""

from argparse import ArgumentTypeError
from fractions import Fraction

import numpy as np

from toyworld.places import WALL
from toyworld.plan import COLOURS, SHAPES, Place, Plan, Shot, Transition, add_events, lay_out

SIDE = 112  # pixels, both ways
RATE = Fraction(8)  # frames a second
SHOT_SECONDS = 2.0
RADIUS = 0.25  # of a shape, in the picture's side
WANDER = 0.25  # the camera stands on a tripod, and shapes keep to the middle or nearly so
MOST_EVENTS = len(COLOURS) * len(SHAPES)


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
    add_events(shots, RATE, rng)
    return Plan(
        [seed, number], SIDE, SIDE, RATE, places, shots, transitions, radius=RADIUS, wander=WANDER
    )
