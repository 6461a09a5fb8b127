"""Stories: toy videos that a model of a million parameters can learn to see.

A story is a row of shots of one length with one event each, no two of one colour and shape, in
front of plain walls, hard cuts between them. Read at one frame a second, each shot gives two
frames: one temporal patch of Qwen2-VL's.
"""

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


def plan_story(seed: int, number: int, events: int) -> Plan:
    """Return the plan of story `number` (from 0) of the toy world `seed`.

    Raises:
        ValueError: fewer than 1 or more than MOST_EVENTS events.
    """
    if not 1 <= events <= MOST_EVENTS:
        raise ValueError(f"a story has 1 to {MOST_EVENTS} events, not {events}")
    rng = np.random.default_rng([seed, number])
    # 7/16 of the wheel sets neighbours far apart, and in 16 shots no hue returns.
    start = rng.random()
    places = [Place(WALL, (start + i * 7 / 16 + i // 16 / 32) % 1.0) for i in range(events)]
    shots = [Shot(place, SHOT_SECONDS) for place in range(events)]
    transitions = [Transition("cut") for _ in shots[1:]]
    lay_out(shots, transitions, RATE)
    add_events(shots, RATE, rng)
    ticks = np.arange(shots[-1].end + 2)
    name = f"toy_{number:04d}.mp4"
    return Plan(
        name, [seed, number], SIDE, SIDE, RATE, False, places, shots, transitions, 1 / RATE, ticks,
        RADIUS, WANDER,
    )  # fmt: skip
