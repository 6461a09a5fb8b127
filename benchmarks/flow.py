"""What optical flow costs: DIS over a bare decode, and each extractor by the pair.

    python -m benchmarks.flow                         # a minute of 720p, joined from footage

Decodes one 720p video and computes its flow by DIS at two pictures a second, in turn, on one
thread, and prints the ratio of the medians of their CPU seconds. Then it prints the CPU
milliseconds that each extractor takes for a pair of 224-pixel pictures; RAFT has random weights,
since only its time counts here. Exit code 1 where the ratio is above the bound.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from benchmarks.footage import add_joined_flags, join
from tools.cli import script_parser
from tools.features.flow import RAFT_WEIGHTS, Dis, Extractor, open_extractor, video_flow
from tools.video.decode import decode, open_video
from tools.video.sampling import squares_at_rate

SIDE = 224
PAIRS = 4  # of one call of an extractor


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU seconds of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def decode_all(video: Path) -> None:
    """Decode every frame, and do nothing with it."""
    with open_video(video) as (container, stream):
        for _ in decode(container, stream):
            pass


def extractors(folder: Path) -> dict[str, Extractor]:
    """Every extractor for pictures of SIDE pixels."""
    import torch
    from torchvision.models import get_model

    opened = {"dis": open_extractor("dis", SIDE, None)}
    for name in RAFT_WEIGHTS:
        weights = folder / f"{name}.pth"
        torch.save(get_model(name).state_dict(), weights)
        opened[name] = open_extractor(name, SIDE, weights)
    return opened


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = script_parser(__doc__)
    add_joined_flags(parser, max_ratio=1.5)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = folder / "joined.mp4"
        join(video, args.seconds, 1280, 720, max(1, args.seconds // 3), folder=args.footage)
        dis = Dis()
        works = (lambda: decode_all(video), lambda: video_flow(video, dis))
        times = [[cpu_seconds(work) for work in works] for _ in range(args.repeat)]
        decoding, flow = (median(column) for column in zip(*times, strict=True))
        print(f"{args.seconds} s of 720p, CPU s: decode {decoding:.2f}, with DIS flow {flow:.2f}")
        print(f"ratio {flow / decoding:.2f} (at most {args.max_ratio})")
        squares = squares_at_rate(video, 2, SIDE)
        pictures = np.stack([next(squares)[1] for _ in range(PAIRS + 1)])
        for kind, extractor in extractors(folder).items():
            work = partial(extractor.between, pictures)
            spent = median(cpu_seconds(work) for _ in range(args.repeat))
            print(f"{kind:10} {1000 * spent / PAIRS:8.1f} CPU ms a pair at {SIDE} px")
    return int(flow / decoding > args.max_ratio)


if __name__ == "__main__":
    sys.exit(main())
