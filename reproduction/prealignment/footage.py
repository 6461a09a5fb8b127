"""Videos of stories, rendered, encoded and decoded, and their shots as pictures for a tiny CLIP.

An action cannot be seen in one picture, so a frame of the reproduction is a pair of pictures of a
shot, as six channels.

    python -m reproduction.prealignment.footage exp/prealignment

renders what all seeds share: most of its stories teach each CLIP, and the shots of the others are
the labelled ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson

from tools.cli import new_folder, run_script, script_parser
from tools.store.files import replace_atomically
from tools.video.sampling import squares_at_rate
from toyworld.language import Event
from toyworld.render import film
from toyworld.stories import RATE, SHOT_SECONDS, THINGS, plan_story

SHOT_PICTURES = round(SHOT_SECONDS * RATE)
SIDE = 28  # pixels, of a picture
FIRST_SEED = 1900  # the toy world's seed of what is shared; those of the test videos follow it
CLIP_STORIES, LABELLED_STORIES = 60, 20  # of THINGS shots each
PAIR = (5, 10)  # which pictures of a shot are its frame


@dataclass(frozen=True)
class Footage:
    """Shots of some videos.

    Attributes:
        pictures: (n, SHOT_PICTURES, SIDE, SIDE, 3) uint8 RGB.
        events: what happens in each shot.
        lengths: how many shots each video has; the shots of a video follow one another.
    """

    pictures: np.ndarray
    events: list[Event]
    lengths: list[int]

    def by_video(self, rows: np.ndarray) -> list[np.ndarray]:
        """Rows of all shots as those of each video."""
        return np.split(rows, np.cumsum(self.lengths)[:-1])

    @property
    def stories(self) -> list[list[Event]]:
        """The events of each video."""
        places = np.cumsum([0, *self.lengths])
        return [self.events[a:b] for a, b in pairwise(places)]

    def split(self, videos: int) -> tuple["Footage", "Footage"]:
        """So many of the videos, and the others."""
        shots = sum(self.lengths[:videos])
        return (
            Footage(self.pictures[:shots], self.events[:shots], self.lengths[:videos]),
            Footage(self.pictures[shots:], self.events[shots:], self.lengths[videos:]),
        )


def open_footage(seed: int, lengths: Sequence[int], folder: Path) -> Footage:
    """The videos of a seed of the toy world, with these numbers of events; made once, and kept in
    the folder."""
    file = folder / "footage.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pictures, happens = [], []
        for number, length in enumerate(lengths):
            plan = plan_story(seed, number, length)
            video = folder / plan.name
            film(plan, video)
            squares = [square for _, square in squares_at_rate(video, float(RATE), SIDE)]
            for shot in plan.shots:
                pictures.append(squares[shot.start : shot.end + 1])
                happens.append(vars(shot.event))
        names = np.frombuffer(orjson.dumps(happens), np.uint8)
        with replace_atomically(file) as out:
            np.savez(out, pictures=np.array(pictures), events=names)
    kept = np.load(file)
    events = [Event(**event) for event in orjson.loads(kept["events"].tobytes())]
    return Footage(kept["pictures"], events, list(lengths))


def shared_footage(exp: Path, clip_stories: int, labelled_stories: int) -> tuple[Footage, Footage]:
    """What teaches each CLIP, and the labelled shots."""
    lengths = [THINGS] * (clip_stories + labelled_stories)
    return open_footage(FIRST_SEED, lengths, exp / "footage").split(clip_stories)


def main(argv: Sequence[str] | None = None) -> None:
    """Render it."""
    parser = script_parser(__doc__)
    parser.add_argument("exp", type=new_folder, help="folder of the reproduction")
    shared_footage(parser.parse_args(argv).exp, CLIP_STORIES, LABELLED_STORIES)


if __name__ == "__main__":
    run_script(main)
