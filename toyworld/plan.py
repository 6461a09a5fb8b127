"""The script of a toy video, before a pixel: shots, places, events, transitions, distractors.

A seed and a number define the plan. The number alone picks the structure, the size and the frame
rate, so that any 24 neighbouring videos hold every structure; the seed fills it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml

from toyworld.language import ACTIONS, COLOURS, SHAPES, Event
from toyworld.places import SCENERIES

BLANK = -1  # the place of a blank shot

_YAML = yaml.safe_load(Path(__file__).with_name("schedule.yaml").read_text())
SCHEDULE, DIFFERENT_PLACES = _YAML["videos"], _YAML["different_places"]
VARIABLE_RATE = "phone"  # the structure whose frames are unevenly spaced, as phones film
CLOCK = 90_000  # ticks a second of its time base: the clock of MPEG systems

SHOT_SECONDS = (1.5, 4.0)
SHORT_SHOT_SECONDS = (0.9, 1.2)  # of the video with too many shots
LONG_TAKE_SECONDS = (17.0, 18.5)  # the method's filter allows 16
BLANK_SECONDS = (0.8, 1.3)
EVENT_SECONDS = 4.0  # at most
RADIUS = 0.19  # of a shape, in the view's smaller side

DISSOLVE_FRAMES = (8, 25)
QUICK_FADE = (11, 5)  # frames of a fade in all, and how many of them are black
SLOW_FADE = (30, 4)
GRADUAL_SHARE = 0.45  # of the transitions between two pictures of different places
DISTRACTED_SHARE = 0.5  # of the shots
PAN_FRAMES = 9  # at least, or a pan at 15 frames a second is no motion any more
MARGIN = 12  # frames from a distractor to its shot's ends, more than the shortest shot's 8


@dataclass
class Place:
    """One background; `like` is the place whose palette it shares, if any."""

    scenery: str
    hue: float
    like: int | None = None


@dataclass
class Distractor:
    """What looks like a cut and is none: flash, exposure, pan or passer_by; inclusive frames."""

    type: str
    start: int
    end: int


@dataclass
class Shot:
    """A take; frames `start` to `end` (inclusive) show it alone."""

    place: int
    seconds: float
    close: bool = False  # filmed from nearer, because the shot before shows the same place
    start: int = 0
    end: int = 0
    event: Event | None = None
    movement: tuple[int, int] = (0, 0)  # first and last frame in which the event's shape moves
    distractor: Distractor | None = None

    @property
    def blank(self) -> bool:
        return self.place == BLANK


@dataclass
class Transition:
    """How one shot gives way to the next.

    A cut's `start` and `end` are the new shot's first frame; the mixed frames of a dissolve or a
    fade are `start` to `end` (inclusive) and belong to neither shot.
    """

    type: str  # cut, dissolve or fade (through black)
    mixed: int = 0
    black: int = 0  # of the mixed frames of a fade
    start: int = 0
    end: int = 0


@dataclass
class Plan:
    """A whole video."""

    seed: list[int]  # the world's, and the video's number in it
    width: int
    height: int
    rate: Fraction  # frames a second
    places: list[Place]
    shots: list[Shot]
    transitions: list[Transition]
    uneven: np.ndarray | None = None  # ticks of frames at a variable rate, and of the video's end
    radius: float = RADIUS
    wander: float = 1.0  # how far cameras and shapes stray from where they belong; 1 is freely

    @property
    def name(self) -> str:
        return f"toy_{self.seed[1]:04d}.mp4"

    @property
    def frames(self) -> int:
        return self.shots[-1].end + 1

    @property
    def time_base(self) -> Fraction:
        """Seconds a tick."""
        return 1 / self.rate if self.uneven is None else Fraction(1, CLOCK)

    def tick(self, frame: int) -> int:
        """Return when a frame begins; frame number `frames` gives the end of the video."""
        return frame if self.uneven is None else int(self.uneven[frame])

    def seconds(self, frame: int) -> float:
        """Return when a frame begins."""
        return self.tick(frame) * self.time_base.numerator / self.time_base.denominator


def plan_video(seed: int, number: int) -> Plan:
    """Return the plan of video `number` (from 0) of the toy world `seed`."""
    rng = np.random.default_rng([seed, number])
    structure, width, height, frames_a_second = SCHEDULE[number % len(SCHEDULE)]
    rate = Fraction(frames_a_second)
    order = order_of_places(structure, rng)
    shots = [
        Shot(place, shot_seconds(structure, place, rng), close=i > 0 and order[i - 1] == place)
        for i, place in enumerate(order)
    ]
    if structure == "long_take":
        shots[rng.integers(len(shots))].seconds = rng.uniform(*LONG_TAKE_SECONDS)
    places = choose_places(order, 0.5 if structure == "one_palette" else 0.12, rng)
    transitions = choose_transitions(structure, shots, places, rng)
    lay_out(shots, transitions, rate)
    uneven = uneven_ticks(shots[-1].end + 1, rate, rng) if structure == VARIABLE_RATE else None
    add_distractors(shots, rate, rng)
    add_events(shots, rate, draw_events(shots, rng))
    return Plan([seed, number], width, height, rate, places, shots, transitions, uneven)


def order_of_places(structure: str, rng: np.random.Generator) -> list[int]:
    """Return the place of each shot, numbered by first appearance; equal numbers look alike."""

    def insert(order: list, other: list, low: int, high: int) -> list:
        at = rng.integers(low, high + 1)
        return order[:at] + other + order[at:]

    order: list = []
    if structure in DIFFERENT_PLACES:
        low, high = DIFFERENT_PLACES[structure]
        order = [f"place {i}" for i in range(rng.integers(low, high + 1))]
    match structure:
        case "plain_with_blanks":
            order = insert(insert(order, [BLANK], 4, 5), [BLANK], 1, 3)
        case "blanks_leave_few":
            order = insert(order, [BLANK], 1, 2)
        case "dialogue_inside":
            order = insert(order, ["A", "B", "A", "B"], 1, 5)
        case "same_place_twice":
            order = [place for place in order for _ in range(1 + (rng.random() < 0.3))]
        case "dialogue":
            order = ["A", "B", "A", "B", "A", "B"][: rng.integers(4, 7)]
        case "returning_place":  # four times, yet no more than a third of the groups
            for at in (8, 6, 3, 1):
                order.insert(at, "A")
        case "three_places":
            order = ["A", BLANK, "A", "B", "C", "C"][:: rng.choice([1, -1])]
    numbers: dict = {BLANK: BLANK}
    for place in order:
        numbers.setdefault(place, len(numbers) - 1)
    return [numbers[place] for place in order]


def shot_seconds(structure: str, place: int, rng: np.random.Generator) -> float:
    if place == BLANK:
        return rng.uniform(*BLANK_SECONDS)
    if structure == "many_shots":
        return rng.uniform(*SHORT_SHOT_SECONDS)
    low, high = SHOT_SECONDS
    return low + (high - low) * rng.beta(1.5, 2.5)


def choose_places(order: list[int], shared: float, rng: np.random.Generator) -> list[Place]:
    """Return the places; a share `shared` of them takes its palette from the place before it."""
    sceneries = rng.permutation(SCENERIES).tolist()
    start = rng.random()
    places: list[Place] = []
    for i in range(max(order) + 1):
        # 7/16 of the wheel sets neighbours far apart, and the places of one scenery half a wheel.
        hue = (start + i * 7 / 16 + i // 16 / 4 + i // 32 / 8) % 1.0
        once = order.count(i) == order.count(i - 1) == 1
        like = i - 1 if i > 0 and once and rng.random() < shared else None
        if like is not None:
            hue = places[like].hue
        places.append(Place(sceneries[i % len(sceneries)], hue, like))
    return places


def choose_transitions(
    structure: str, shots: list[Shot], places: list[Place], rng: np.random.Generator
) -> list[Transition]:
    """Return the transition after each shot but the last: hard cuts, dissolves and fades."""
    transitions = [Transition("cut") for _ in shots[1:]]
    open_to_mixing = [
        i
        for i, (old, new) in enumerate(pairwise(shots))
        if not (old.blank or new.blank or old.place == new.place)
        and places[new.place].like != old.place
    ]
    share = 0.1 if structure == "many_shots" else GRADUAL_SHARE
    chosen = rng.permutation(open_to_mixing)[: round(share * len(open_to_mixing))]
    for k, i in enumerate(chosen):
        if k % 3 == 2:
            transitions[i] = Transition("fade", *(QUICK_FADE if rng.random() < 0.8 else SLOW_FADE))
        else:
            mixed = int(rng.integers(*DISSOLVE_FRAMES, endpoint=True))
            transitions[i] = Transition("dissolve", mixed)
    return transitions


def lay_out(shots: list[Shot], transitions: list[Transition], rate: Fraction) -> None:
    """Give shots and transitions their frames."""
    frame = 0
    for i, shot in enumerate(shots):
        if i > 0:
            transition = transitions[i - 1]
            transition.start = frame
            transition.end = frame + max(transition.mixed, 1) - 1
            frame += transition.mixed
        shot.start = frame
        frame += round(shot.seconds * rate)
        shot.end = frame - 1


def uneven_ticks(frames: int, rate: Fraction, rng: np.random.Generator) -> np.ndarray:
    """Return the times of frames that jitter, and come at half the rate for stretches."""
    steps = rng.normal(1, 0.12, frames).clip(0.6, 1.4)
    for start in range(0, frames, 50):
        if rng.random() < 0.4:
            steps[start : start + rng.integers(15, 40)] *= 2
    return np.concatenate([[0], np.cumsum(np.round(steps * float(CLOCK / rate)))]).astype(np.int64)


def add_distractors(shots: list[Shot], rate: Fraction, rng: np.random.Generator) -> None:
    """Disturb some shots, away from their ends and from the middle, which an embedder looks at."""
    for shot in shots:
        count = shot.end - shot.start + 1
        if shot.blank or rng.random() > DISTRACTED_SHARE:
            continue
        kind = rng.choice(["flash", "exposure", "pan", "passer_by"], p=[0.36, 0.22, 0.2, 0.22])
        length = {
            "flash": int(rng.integers(1, 4)),
            "exposure": 1,
            "pan": max(PAN_FRAMES, round(rng.uniform(0.36, 0.5) * rate)),
            "passer_by": round(rng.uniform(0.36, 0.55) * rate),
        }[str(kind)]
        room = round(0.4 * count) - MARGIN - length  # what is left of the shot's first 40 %
        if room < 0:
            continue
        offset = MARGIN + int(rng.integers(0, room + 1))
        start = shot.start + offset if rng.random() < 0.5 else shot.end - offset - length + 1
        shot.distractor = Distractor(str(kind), int(start), int(start + length - 1))


def draw_events(shots: list[Shot], rng: np.random.Generator) -> dict[int, Event]:
    """What happens in which picture (numbered without the blank shots), while the 24 pairs of
    colour and shape last; neighbouring events are different actions."""
    pairs = rng.permutation([(colour, shape) for colour in COLOURS for shape in SHAPES]).tolist()
    pictures = sum(not shot.blank for shot in shots)
    eventful = sorted(rng.permutation(pictures)[: len(pairs)])
    events: dict[int, Event] = {}
    action = ""
    for (colour, shape), i in zip(pairs, eventful, strict=False):
        action = str(rng.choice([a for a in ACTIONS if a != action]))
        events[i] = Event(colour, shape, action)
    return events


def add_events(shots: list[Shot], rate: Fraction, events: Mapping[int, Event]) -> None:
    """Let the events happen in the pictures of these numbers."""
    pictures = [shot for shot in shots if not shot.blank]
    for i, event in events.items():
        shot = pictures[i]
        edge = round(0.12 * (shot.end - shot.start + 1))
        start, end = shot.start + edge, shot.end - edge
        pan = shot.distractor
        if pan and pan.type == "pan":  # the shape stands where the camera comes to rest
            if pan.start - shot.start < shot.end - pan.end:
                start = max(start, pan.end + 1)
            else:
                end = min(end, pan.start - 1)
        spare = (end - start + 1) - round(EVENT_SECONDS * rate)
        if spare > 0:
            start, end = start + spare // 2, end - (spare - spare // 2)
        shot.event, shot.movement = event, (start, end)
