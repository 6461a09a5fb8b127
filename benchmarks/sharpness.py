"""How sharp the chosen key frames are, over the sharpest in their windows.

    python -m benchmarks.sharpness

The scan measures bands of each frame (tools/video/sharpness.py); here every frame of the real
footage is measured at full size, and the key frames that the scan's numbers choose are compared
with the best
frame of their window: by the method's own score (sharpness x weight), by sharpness with the frame
of the best score (the one the method would choose if every frame were measured at full size), and
by sharpness with the sharpest frame wherever in the window it is, which the weight keeps the method
from choosing near the edges. Exit code 1 where the mean of the first two is below the bound.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.footage import FOOTAGE, RATE, join, sources
from tools.cli import script_parser
from tools.shots.keyframes import key_frames, windows
from tools.video.decode import decode, luma_plane, open_video
from tools.video.scan import scan_file
from tools.video.sharpness import sharpness


def compare(video: Path, starts: list[int], folder: Path) -> list[tuple[float, float, float]]:
    """(score over the best, sharpness over the best score's, sharpness over the best) per frame.

    Args:
        starts: the first frame index of each shot.
    """
    scan = scan_file(video, folder / f"{video.name}.npz")
    with open_video(video) as (container, stream):
        full = np.array([sharpness(luma_plane(frame)) for frame in decode(container, stream)])
    ratios = []
    for start, after in zip(starts, [*starts[1:], len(scan)], strict=True):
        chosen = key_frames(start, after - 1, scan.sharpness)
        for index, (indices, weights) in zip(chosen, windows(start, after - 1), strict=True):
            score = full[indices] * weights
            by_score = score[indices == index][0] / score.max()
            own, best = full[indices[score.argmax()]], full[indices].max()
            ratios.append((by_score, full[index] / own, full[index] / best))
    return ratios


def main() -> int:
    """Measure the footage as it is, in pieces of two seconds, and joined at 720p."""
    parser = script_parser(__doc__)
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="folder of real footage")
    parser.add_argument("--min_share", type=float, default=0.99, help="bound (default: 0.99)")
    args = parser.parse_args()
    ratios: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for video in sources(args.footage):
            frames = len(scan_file(video, folder / f"{video.name}.npz"))
            pieces = list(range(0, frames - RATE, 2 * RATE))
            ratios += compare(video, pieces, folder)
        joined = folder / "joined.mp4"
        starts = join(joined, 60, 1280, 720, 20, folder=args.footage)
        ratios += compare(joined, starts, folder)
    print(f"{len(ratios)} key frames of real footage, measured at full size")
    names = (
        "sharpness x weight, over the best in the window",
        "sharpness, over the full-size choice's",
        "sharpness, over the sharpest in the window",
    )
    means = np.array(ratios).mean(axis=0)
    for name, mean, worst in zip(names, means, np.array(ratios).min(axis=0), strict=True):
        print(f"{name:48} mean {mean:.4f}, worst {worst:.4f}")
    return int(means[:2].min() < args.min_share)


if __name__ == "__main__":
    sys.exit(main())
