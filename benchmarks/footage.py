"""Multi-shot videos with known cuts, joined from pieces of footage, for the benchmarks.

    python -m benchmarks.footage --out joined.mp4 --seconds 480 --height 720

A shot is a piece of one file played forth and back until the shot is over, with its colour
channels permuted, mirrored or zoomed in, so that few sources make many shots that look different.
"""

import itertools
import random
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tools.cli import positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import DATA_ROOT
from tools.video.decode import Display, decode, open_video
from tools.video.listing import find_videos
from tools.video.scan import FrameMeter

# Rendered by `make bench`; --footage names real videos.
FOOTAGE = DATA_ROOT / "toystories" / "video"
RATE = 30
PIECE_FRAMES = 60
CANDIDATES = 6


def add_joined_flags(parser: ArgumentParser, max_ratio: float) -> None:
    """The flags of a benchmark that compares two ways of reading one joined video."""
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="folder of videos to join")
    parser.add_argument(
        "--seconds", type=positive, default=60, help="length of the joined video (default: 60)"
    )
    parser.add_argument("--repeat", type=positive, default=3, help="calls of each (default: 3)")
    parser.add_argument(
        "--max_ratio", type=float, default=max_ratio, help="bound (default: %(default)s)"
    )


def sources(folder: Path) -> list[Path]:
    """The video files of a folder.

    Raises:
        UserError: there is none.
    """
    videos = [folder / name for name in find_videos(folder)] if folder.is_dir() else []
    if not videos:
        raise UserError(
            f"no footage in {folder}: name a folder of video files with --footage, or render the"
            " toy world's with make data/toystories/truth.jsonl"
        )
    return videos


def piece(path: Path, start: int, width: int, height: int) -> list[np.ndarray]:
    """PIECE_FRAMES frames of a file from a frame index on, (height, width, 3) uint8 RGB each."""
    with open_video(path) as (container, stream):
        frames = itertools.islice(decode(container, stream), start, start + PIECE_FRAMES)
        return [f.to_ndarray(format="rgb24", width=width, height=height) for f in frames]


def _changes(path: Path) -> np.ndarray:
    """Mean difference of each frame's thumbnail from the one before, gray levels."""
    with open_video(path) as (container, stream):
        meter = FrameMeter(Display(stream))
        small = np.stack([meter.thumbnail(frame) for frame in decode(container, stream)])
    return np.abs(small[1:].astype(np.int16) - small[:-1]).mean(axis=(1, 2, 3))


def shots(
    folder: Path, count: int, width: int, height: int, seed: int
) -> Iterator[list[np.ndarray]]:
    """Yield `count` pieces that look different from one another."""
    rng = random.Random(seed)
    looks = list(itertools.product(itertools.permutations(range(3)), (False, True), (1.0, 1.6)))
    rng.shuffle(looks)
    files = sources(folder)
    changes = {path: _changes(path) for path in files}
    for number in range(count):
        path = files[number % len(files)]
        channels, mirrored, zoom = looks[number % len(looks)]
        # The steadiest of a few: the cuts to be found are those made here, not the footage's jolts.
        last = max(1, len(changes[path]) - PIECE_FRAMES)
        candidates = [rng.randrange(last) for _ in range(CANDIDATES)]
        start = min(candidates, key=lambda at: changes[path][at : at + PIECE_FRAMES].max())
        frames = piece(path, start, width, height)
        yield [_look(frame, list(channels), mirrored, zoom) for frame in frames]


def _look(frame: np.ndarray, channels: list[int], mirrored: bool, zoom: float) -> np.ndarray:
    height, width = frame.shape[:2]
    if zoom > 1:
        top, left = int(height * (1 - 1 / zoom)), int(width * (1 - 1 / zoom) / 2)
        cropped = frame[top : top + int(height / zoom), left : left + int(width / zoom)]
        frame = cv2.resize(cropped, (width, height), interpolation=cv2.INTER_CUBIC)
    frame = frame[:, ::-1] if mirrored else frame
    return np.ascontiguousarray(frame[..., channels])


def join(
    out: Path,
    seconds: float,
    width: int,
    height: int,
    count: int,
    *,
    folder: Path = FOOTAGE,
    seed: int = 0,
    preset: str = "veryfast",
) -> list[int]:
    """Write an H.264 file of `count` equal shots; returns the first frame index of each."""
    each = round(seconds * RATE / count)
    starts = []
    with av.open(str(out), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": preset, "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        index = 0
        for frames in shots(folder, count, width, height, seed):
            starts.append(index)
            forth_and_back = itertools.cycle([*frames, *frames[-2:0:-1]])
            for frame in itertools.islice(forth_and_back, each):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = index, Fraction(1, RATE)
                container.mux(stream.encode(picture))
                index += 1
        container.mux(stream.encode(None))
    return starts


def main(argv: Sequence[str] | None = None) -> None:
    """Write one joined video."""
    parser = script_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--seconds", type=float, default=480, help="length (default: %(default)s)")
    parser.add_argument("--height", type=int, default=720, help="16:9, pixels (default: 720)")
    parser.add_argument("--shots", type=int, default=31, help="how many (default: %(default)s)")
    parser.add_argument(
        "--footage",
        type=Path,
        default=FOOTAGE,
        help="folder of videos to join (default: the toy world's, which make bench renders)",
    )
    args = parser.parse_args(argv)
    width = args.height * 16 // 9
    join(args.out, args.seconds, width, args.height, args.shots, folder=args.footage)


if __name__ == "__main__":
    run_script(main)
