"""What a second worker brings: 16 equal videos with world_size 1 and 2, one thread a worker.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --world_sizes 1 2 4 8 --seconds 60

Scans the videos and finds their shots (`adaptive`), the step that takes nearly all of stage 1's
time, on the runner's own pool. Start-up is left out: the clock starts when every worker has
delivered its first video, and runs to the last video's end, so that a worker's idle time at the end
counts. Each world_size runs --rounds times, in turn; the median is printed. Exit code 1 where the
second world_size is not 1.7 times as fast as the first. Wants an idle machine: look at the load.
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.footage import FOOTAGE, join
from tools.cli import positive, script_parser
from tools.runner.pool import Pool
from tools.runner.processes import Processes
from tools.runner.worker import Item
from tools.shots.settings import Settings
from tools.shots.steps import SceneStep
from tools.store.dataset import Dataset
from tools.video.listing import list_videos

BOUND = 1.7
SETTINGS = Settings(shot_detector="adaptive", embedder="color")


def videos_a_second(dataset: Dataset, world_size: int) -> tuple[float, float]:
    """(videos a second after start-up, seconds of start-up) of a fresh run."""
    given = dataset.table("init").index()
    step = SceneStep(dataset, SETTINGS)
    items = [Item(key, line, ("scene",)) for key, line in given.lines(given.kept())]
    ends = []
    start = time.perf_counter()
    with Pool(Processes("cpu"), world_size) as pool:
        for outcome in pool.run(step, items, len(items)):
            assert outcome.kind == "done", outcome.error
            ends.append(time.perf_counter())
    # A worker's first video ends before anybody's second: the videos are equal.
    warm = ends[world_size - 1]
    return (len(ends) - world_size) / (ends[-1] - warm), warm - start


def main() -> None:
    """Run, compare, print."""
    parser = script_parser(__doc__)
    parser.add_argument("--world_sizes", type=positive, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--videos", type=positive, default=16, help="how many (default: 16)")
    parser.add_argument("--seconds", type=float, default=20, help="length of each (default: 20)")
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each (default: 3)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="what they are joined from")
    args = parser.parse_args()
    rates: dict[int, list[float]] = {size: [] for size in args.world_sizes}
    starts: dict[int, list[float]] = {size: [] for size in args.world_sizes}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "videos").mkdir()
        join(folder / "videos" / "0.mp4", args.seconds, 1280, 720, 8, folder=args.footage)
        for number in range(1, args.videos):
            os.link(folder / "videos" / "0.mp4", folder / "videos" / f"{number}.mp4")
        for _ in range(args.rounds):
            for size in args.world_sizes:
                dataset = Dataset("bench", folder / "bench")
                list_videos(dataset, folder / "videos")
                rate, start = videos_a_second(dataset, size)
                rates[size].append(rate)
                starts[size].append(start)
                shutil.rmtree(dataset.root)
    first = median(rates[args.world_sizes[0]])
    print(f"{args.videos} videos of {args.seconds:g} s, 720p; load {os.getloadavg()[0]:.1f}")
    print("world_size  videos/s  speedup  start-up s")
    for size in args.world_sizes:
        rate = median(rates[size])
        print(f"{size:10} {rate:9.2f} {rate / first:8.2f} {median(starts[size]):11.2f}")
    sys.exit(0 if median(rates[args.world_sizes[1]]) >= BOUND * first else 1)


if __name__ == "__main__":
    main()
