"""Shots of rendered stories, and films that are made of them.

A film's pictures are those of its shots, one shot after the other; its flow is that of the shots,
and between them that of the cuts. So a few stories that were rendered, encoded and decoded make
thousands of films of any length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import orjson

from tools.features.flow import FPS, GRID, Dis, Flow, flow_of_moves
from tools.store.files import replace_atomically
from tools.video.sampling import squares_at_rate
from toyworld.language import Event
from toyworld.moments import Film
from toyworld.render import film as render
from toyworld.stories import RATE, SHOT_SECONDS, SIDE, THINGS, plan_story

SHOT_FRAMES = round(SHOT_SECONDS * RATE)
STEP = round(RATE / FPS)  # frames from one picture of the flow to the next
SHOT_FLOWS = SHOT_FRAMES // STEP
PICTURE = 56  # side of what the image model sees, pixels


@dataclass(frozen=True)
class Shots:
    """A library of shots.

    Attributes:
        pictures: (n, 16, 56, 56, 3) uint8 RGB, all frames.
        sampled: (n, 4, 112, 112, 3) uint8 RGB, the frames that flow is computed from.
        flow: between these, 3 of each shot.
        events: what happens in each.
    """

    pictures: np.ndarray
    sampled: np.ndarray
    flow: list[Flow]
    events: list[Event]

    def frames_at(self, film: Film, times: Sequence[float]) -> list[tuple[int, int]]:
        """(shot, frame of it) that a film shows at some times, seconds."""
        last = len(film.shots) * SHOT_FRAMES - 1
        frames = [min(int(time * float(RATE)), last) for time in times]
        return [(film.shots[frame // SHOT_FRAMES], frame % SHOT_FRAMES) for frame in frames]

    def flow_of(self, shots: Sequence[int], extractor: Dis) -> Flow:
        """The flow of a film of these shots."""
        parts = []
        for place, shot in enumerate(shots):
            if place:
                cut = self.sampled[shots[place - 1], -1], self.sampled[shot, 0]
                parts.append(flow_between(np.stack(cut), extractor))
            parts.append(self.flow[shot])
        speed = np.concatenate([part.speed for part in parts])
        return Flow(speed, _times(len(speed)), max(part.max_speed for part in parts))


def moment_of(film: Film) -> tuple[float, float]:
    """When the moment that holds the answer begins and ends, seconds."""
    return film.first * SHOT_SECONDS, (film.last + 1) * SHOT_SECONDS


def length_of(film: Film) -> float:
    """A film's length, seconds."""
    return len(film.shots) * SHOT_SECONDS


def flow_between(pictures: np.ndarray, extractor: Dis) -> Flow:
    """The flow between pictures (n, side, side, 3) uint8 RGB at FPS a second."""
    moves = extractor.between(pictures) / extractor.side
    return flow_of_moves(iter([(_times(len(moves)), moves)]), GRID)


def _times(count: int) -> np.ndarray:
    """When the pictures of each of `count` pairs are shown."""
    numbers = np.arange(count, dtype=np.float32)
    return np.stack([numbers, numbers + 1], 1) / np.float32(FPS)


def make_shots(seed: int, stories: int, folder: Path) -> Shots:
    """The shots of stories of a seed: rendered, encoded to MP4 in `folder` and decoded again."""
    extractor = Dis(SIDE)
    pictures, sampled, flow, events = [], [], [], []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(stories):
        plan = plan_story(seed, number, THINGS)
        render(plan, folder / plan.name)
        squares = [square for _, square in squares_at_rate(folder / plan.name, float(RATE), SIDE)]
        for shot in plan.shots:
            frames = squares[shot.start : shot.end + 1]
            pictures.append(
                [cv2.resize(f, (PICTURE, PICTURE), interpolation=cv2.INTER_AREA) for f in frames]
            )
            sampled.append(frames[::STEP])
            flow.append(flow_between(np.stack(sampled[-1]), extractor))
            assert shot.event is not None
            events.append(shot.event)
    return Shots(np.array(pictures), np.array(sampled), flow, events)


def open_shots(seed: int, stories: int, folder: Path) -> Shots:
    """`make_shots`, which are kept in the folder."""
    file = folder / "shots.npz"
    if not file.is_file():
        shots = make_shots(seed, stories, folder / "video")
        names = orjson.dumps([vars(event) for event in shots.events])
        with replace_atomically(file) as out:
            np.savez(
                out,
                pictures=shots.pictures,
                sampled=shots.sampled,
                speed=np.stack([flow.speed for flow in shots.flow]),
                max_speed=np.array([flow.max_speed for flow in shots.flow]),
                events=np.frombuffer(names, np.uint8),
            )
    kept = np.load(file)
    events = [Event(**event) for event in orjson.loads(kept["events"].tobytes())]
    flow = [
        Flow(speed, _times(len(speed)), float(fastest))
        for speed, fastest in zip(kept["speed"], kept["max_speed"], strict=True)
    ]
    return Shots(kept["pictures"], kept["sampled"], flow, events)
