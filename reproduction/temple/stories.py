"""The datasets of stories that the reproduction renders."""

from dataclasses import dataclass
from pathlib import Path

from reproduction.temple.arms import MANY, PAIRS
from toyworld.make import numbers_of_events, truth_begun


@dataclass(frozen=True)
class StorySet:
    """A dataset of stories: the arguments of `python -m toyworld`."""

    videos: int
    events: str
    seed: int
    begins_with: str | None = None  # a dataset of its first videos


# Fine-tuning asks about videos of one event as well, which no pair is made of.
_MIXED = "1,1,1,1,3,4,5,6,7,8,9,10,11,12,13,14,15,16"
STORIES = {
    PAIRS: StorySet(216, "8-16", 21),
    MANY: StorySet(1080, "8-16", 21, PAIRS),
    "toysft": StorySet(612, _MIXED, 22),
    "toysft-x4": StorySet(2448, _MIXED, 22, "toysft"),
    "toytest": StorySet(90, "4,8,16", 101),
    "toyval": StorySet(45, "4,8,16", 102),
}


def is_rendered(folder: Path, stories: StorySet) -> bool:
    """Whether a folder holds these stories, all of them."""
    # One video more: `truth_begun` expects that some are left to render.
    wanted = (stories.videos + 1, stories.seed, numbers_of_events(stories.events))
    try:
        return len(truth_begun(folder, *wanted)) == stories.videos
    except (OSError, ValueError):
        return False
