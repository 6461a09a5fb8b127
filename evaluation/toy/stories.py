"""The held-out stories: what is true of them, and their frames as a model is shown them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from tools.errors import UserError
from tools.text.prompts import FramePair
from tools.video.budget import Budget, video_header
from tools.video.decode import VideoError
from tools.video.frames import read_frames
from toyworld.language import Event
from toyworld.truth import events_of

HELD_OUT = "toytest"
# 30 stories each of 4, 8 and 16 events; no other data set of the toolkit has this seed.
MAKE = "python -m toyworld --videos 90 --events 4,8,16 --seed 101 --out {folder}"


@dataclass(frozen=True)
class Story:
    """A toy video and its truth."""

    name: str  # the file's
    video: Path
    events: list[Event]  # in the order in which they happen, no two of them equal
    texts: list[str]  # the events in the world's own words, such as "a red circle moves left ."
    shots: list[tuple[int, int]]  # first and last frame of each event's shot
    frames: int  # of the whole video
    fps: float  # frames a second of the video


def read_stories(folder: Path, limit: int | None = None) -> list[Story]:
    """The stories of a dataset's folder in the order of their names, or the first `limit` of them.

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
    if unmatched := described ^ rendered:
        name = min(unmatched)
        where = "truth.jsonl" if name in described else "video/"
        raise UserError(
            f"{folder}: truth.jsonl and video/ do not go together ({name} is in {where} alone):"
            f" {how}"
        )
    return sorted(stories, key=lambda story: story.name)[:limit]


def _story(line: bytes, number: int, folder: Path) -> Story:
    try:
        truth = orjson.loads(line)
        records = truth["events"]
        events = events_of(truth)
        texts = [event["text"] for event in records]
        shots = [truth["shots"][event["shot"]] for event in records]
        spans = [(shot["start"], shot["end"]) for shot in shots]
        video = folder / "video" / truth["video_name"]
        story = Story(video.name, video, events, texts, spans, truth["frames"], truth["fps"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{folder / 'truth.jsonl'} line {number} is no truth about a story ({error!r}): make it"
            f" with {MAKE.format(folder=folder)}"
        ) from None
    if len(set(events)) < len(events):
        raise UserError(
            f"{folder}: an event of {story.name} happens twice, and order is asked of stories in"
            f" which each happens once: {MAKE.format(folder=folder)}"
        )
    return story


def look(story: Story, threads: int = 1) -> tuple[list[np.ndarray], list[FramePair]]:
    """Frames of a story, uint8 RGB (H, W, 3), decoded in one pass over its file: of the whole video
    as training samples it, and two of each event's shot.

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
    shots: list[FramePair] = [[pictures[index] for index in pair] for pair in clips]
    return [pictures[index] for index in whole], shots


def whole_video(frames: int, fps: float) -> list[int]:
    """The frames that training takes of a video: one a second, 4 at least, an even number of them,
    spread from the first to the last (qwen-vl-utils 0.0.14, `smart_nframes`, `_read_video_*`)."""
    taken = Budget().frames(frames, fps)
    return [int(index) for index in np.linspace(0, frames - 1, taken).round()]


def key_frames(first: int, last: int) -> tuple[int, int]:
    """Two frames of a shot, near 1/3 and 2/3 of it, as stage 1 takes them."""
    return first + (last - first) // 3, first + (last - first) * 2 // 3
