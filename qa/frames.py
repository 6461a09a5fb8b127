"""The frames that a question is asked about, and its subtitles.

A protocol says which frames of [start, end) are taken:

- `middles` (default): those shown at the middles of n equal parts of that time, so that a variable
  frame rate makes no difference;
- `per_second`: the same with n parts a second, at most MOST_FRAMES in all;
- `mvbench`: the rule of MVBench's notebook, by the frames' numbers;
- `topa`: floor(j * T / n) of the T frames, the rule of TOPA, which never takes the end of a video.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qa.records import Question
from tools.video.decode import VideoError
from tools.video.sampling import sample_by_time

PROTOCOLS = ("middles", "per_second", "mvbench", "topa")
FRAMES = 8
MOST_FRAMES = 768  # as qwen-vl-utils has it (FPS_MAX_FRAMES)
# Frames are held at no more than this, as stage 2 holds them: the model's own scaling decides.
MAX_FRAME_PIXELS = 2 * 28 * 28 * 512
_PICTURE = re.compile(r".*?(\d+)\.(?:jpe?g|png|webp|bmp)", re.IGNORECASE)


def frames_of(
    question: Question,
    video_path: Path,
    count: int = FRAMES,
    protocol: str = "middles",
    most: int = MOST_FRAMES,
) -> tuple[list[np.ndarray], float]:
    """Frames of the part of a video that is asked about, and how many of them there are a second.

    Args:
        video_path: its video, its picture, or its folder of numbered pictures, whose rate and first
            number are in the question's context.
        count: of frames, or of frames a second; where the part has fewer, some are shown more than
            once. A picture is one.
        protocol: one of PROTOCOLS.
        most: frames of `per_second` in all.

    Returns:
        uint8 RGB (height, width, 3) each, in time order; frames a second.

    Raises:
        VideoError: the file or folder is not there, or cannot be decoded.
    """
    start, end = question.start or 0.0, question.end

    def choose(times: np.ndarray, rate: float) -> list[int]:
        nonlocal end
        length = float(times[-1]) + 1 / rate
        end = min(length, length if end is None else end)
        return chosen_indices(times, rate, start, end, count, protocol, most)

    media = question.context.get("media", "video")
    if media == "image":
        return [_picture(video_path)], 1.0
    if media == "frames":
        pictures = numbered_pictures(video_path)
        rate = float(question.context["frames"]["fps"])
        first = question.context["frames"].get("first", 1)
        indices = choose((np.array(list(pictures)) - first) / rate, rate)
        paths = list(pictures.values())
        frames = [_picture(paths[index]) for index in indices]
    else:
        frames = list(sample_by_time(video_path, choose, MAX_FRAME_PIXELS).pictures)
    assert end is not None
    return frames, len(frames) / max(end - start, 1e-3)


def chosen_indices(
    times: np.ndarray,
    rate: float,
    start: float,
    end: float,
    count: int,
    protocol: str,
    most: int = MOST_FRAMES,
) -> list[int]:
    """Which frames a protocol takes, rising.

    Args:
        times: (n,) seconds at which the frames appear.
        rate: frames a second.
        start, end: seconds of the part that is asked about, without `end` itself.
    """
    last = len(times) - 1
    if protocol == "per_second":
        count = min(max(1, round(count * (end - start))), most)
    if protocol in ("middles", "per_second"):
        middles = start + (np.arange(count) + 0.5) / count * (end - start)
        # A frame is shown until the next one appears; a stamp may be rounded by a microsecond.
        indices = np.searchsorted(times, middles + 1e-6, "right") - 1
    elif protocol == "mvbench":
        # OpenGVLab/Ask-Anything, video_chat2/mvbench.ipynb, get_index; whose bounds are the whole
        # video where a question has none.
        begin, stop = max(0, round(start * rate)), min(round(end * rate), last)
        part = (stop - begin) / count
        indices = np.array([int(begin + part / 2 + np.round(part * i)) for i in range(count)])
    else:
        begin, stop = np.searchsorted(times, (start, end))
        indices = begin + np.arange(count) * (stop - begin) // count
    return [int(index) for index in indices.clip(0, last)]


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """{number: picture} of a folder, rising; the number is the last one of a name."""
    matches = ((_PICTURE.fullmatch(path.name), path) for path in folder.glob("*"))
    pictures = {int(match[1]): path for match, path in matches if match}
    if not pictures:
        raise VideoError(f"no pictures: {folder.name} is no folder of numbered ones")
    return dict(sorted(pictures.items()))


def subtitles_of(question: Question) -> list[str]:
    """The lines of a question's subtitles that are shown while its part of the video is."""
    start = question.start or 0.0
    end = np.inf if question.end is None else question.end
    lines: Sequence[Sequence] = question.context.get("subtitles", ())
    return [text for begins, ends, text in lines if begins < end and ends > start]


def _picture(path: Path) -> np.ndarray:
    picture: np.ndarray = sample_by_time(path, lambda *_: [0], MAX_FRAME_PIXELS).pictures[0]
    return picture
