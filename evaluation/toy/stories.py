"""The held-out stories: what is true of them, and their frames as a model is shown them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from tools.errors import UserError
from tools.text.prompts import FramePair
from tools.video.budget import Budget, video_header
from tools.video.decode import VideoError
from tools.video.frames import read_frames
from toyworld.plan import Event

HELD_OUT = "toytest"
# 30 stories each of 4, 8 and 16 events; no other data set of the toolkit has this seed.
MAKE = "python -m toyworld --videos 90 --events 4,8,16 --seed 101 --out {folder}"
BUDGET = Budget()  # how training sees a whole video


@dataclass(frozen=True)
class Story:
    """A toy video and its truth.

    Attributes:
        name: the file's.
        events: in the order in which they happen, no two of them equal.
        texts: the events in the world's own words, such as "a red circle moves left .".
        shots: (first, last) frame of each event's shot.
        frames: of the whole video.
        fps: frames a second of the video.
    """

    name: str
    video: Path
    events: list[Event]
    texts: list[str]
    shots: list[tuple[int, int]]
    frames: int
    fps: float


@dataclass(frozen=True)
class Pictures:
    """Frames of a story, uint8 RGB (H, W, 3) each.

    Attributes:
        whole: of the whole video, as training samples it.
        fps: how many of `whole` there are to a second.
        clips: two of each event's shot.
    """

    whole: list[np.ndarray]
    fps: float
    clips: list[FramePair]


def read_stories(folder: Path, limit: int | None = None) -> list[Story]:
    """The stories of a dataset's folder, in the order of their names.

    Args:
        folder: holds truth.jsonl and video/.
        limit: the first so many alone.

    Raises:
        UserError: there are none, or the videos are not those that truth.jsonl tells of.
    """
    how = f"make it with {MAKE.format(folder=folder)}"
    try:
        lines = (folder / "truth.jsonl").read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder} holds no truth.jsonl: {how}") from None
    stories = [_story(line, number, folder) for number, line in enumerate(lines, start=1)]
    if not stories:
        raise UserError(f"{folder} holds no story: {how}")
    described = {story.name for story in stories}
    rendered = {path.name for path in (folder / "video").glob("*")}
    for names, what in (
        (described - rendered, "is in truth.jsonl alone"),
        (rendered - described, "is in video/ alone"),
    ):
        if names:
            raise UserError(
                f"{folder}: truth.jsonl and video/ do not go together ({min(names)} {what}): {how}"
            )
    return sorted(stories, key=lambda story: story.name)[:limit]


def _story(line: bytes, number: int, folder: Path) -> Story:
    try:
        truth = orjson.loads(line)
        events = [Event(one["colour"], one["shape"], one["action"]) for one in truth["events"]]
        shots = [truth["shots"][one["shot"]] for one in truth["events"]]
        story = Story(
            truth["video_name"],
            folder / "video" / truth["video_name"],
            events,
            [one["text"] for one in truth["events"]],
            [(shot["start"], shot["end"]) for shot in shots],
            truth["frames"],
            truth["fps"],
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        what = error if isinstance(error, orjson.JSONDecodeError) else f"{error!r} is wrong in it"
        raise UserError(
            f"{folder / 'truth.jsonl'} line {number} is no truth about a story ({what}): make it"
            f" with {MAKE.format(folder=folder)}"
        ) from None
    if len(set(events)) < len(events):
        raise UserError(
            f"{folder}: an event of {story.name} happens twice, and order is asked of stories in"
            f" which each happens once: {MAKE.format(folder=folder)}"
        )
    return story


def look(story: Story, threads: int = 1) -> Pictures:
    """Decode what is shown of a story, in one pass over its file.

    Raises:
        UserError: the video cannot be read, or is not the one that its truth tells of.
    """
    whole = whole_video(story.frames, story.fps)
    clips = [key_frames(*shot) for shot in story.shots]
    try:
        frames = video_header(story.video)[2]
        if frames != story.frames:
            raise UserError(
                f"{story.video} has {frames} frames, and truth.jsonl says {story.frames}: make the"
                f" set again, {MAKE.format(folder=story.video.parent.parent)}"
            )
        wanted = [*whole, *(index for pair in clips for index in pair)]
        pictures = read_frames(story.video, wanted, threads=threads)
    except VideoError as error:
        raise UserError(f"{story.video} cannot be used ({error})") from None
    return Pictures(
        [pictures[index] for index in whole],
        len(whole) / story.frames * story.fps,
        [[pictures[index] for index in pair] for pair in clips],
    )


def whole_video(frames: int, fps: float) -> Sequence[int]:
    """The frames that training takes of a video: one a second, 4 at least, an even number of them,
    spread from the first to the last (qwen-vl-utils 0.0.14, `smart_nframes`, `_read_video_*`)."""
    taken = BUDGET.frames(frames, fps)
    return [int(index) for index in np.linspace(0, frames - 1, taken).round()]


def key_frames(first: int, last: int) -> tuple[int, int]:
    """Two frames of a shot, near 1/3 and 2/3 of it, as stage 1 takes them."""
    return first + (last - first) // 3, first + (last - first) * 2 // 3
