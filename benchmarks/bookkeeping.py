"""What a million videos cost beside the work itself: CPU seconds and memory of listing them again,
of indexing a table, and of merging its parts.

    python -m benchmarks.bookkeeping                    # 1,000,000 videos: 6 GB of scratch
    python -m benchmarks.bookkeeping --videos 200000

Videos are empty files, a thousand a folder; records are made up, 1.8 KB of texts. A part has the
order in which 8 workers that hold 32 records each report them; "any order" is a shuffled one. Each
number is that of a process of its own, for a tenth of the videos and for all: it is linear where
the time per video stays the same. Parsing every line, and nothing else, is shown beside it. Exit
code 1 where a bound is missed.
"""

import hashlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import orjson

from tools.cli import positive, script_parser
from tools.store.dataset import Dataset
from tools.store.jsonl import dumps
from tools.video.listing import Listing, video_id
from tools.video.unchanged import is_unchanged

FOLDER_FILES = 1000
IN_FLIGHT = 8 * 32  # records
RECORD_BYTES, CAPTIONS = 1800, 16
BOUNDS = {"init again": 8.0, "index": 4.0, "merge": 8.0}  # CPU seconds of a million videos
MOST_MB = 300.0
MOST_GROWTH = 1.5  # time per video of all videos, over that of a tenth of them


class Cost(NamedTuple):
    """CPU seconds of what was measured, and the peak memory of its process, MB."""

    seconds: float
    megabytes: float


def measured(work: Callable[[], object]) -> Cost:
    """The cost of a piece of work; to be called in a process of its own."""
    start = time.process_time()
    work()
    seconds = time.process_time() - start
    status = Path("/proc/self/status").read_text()
    [peak] = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return Cost(seconds, int(peak) / 1024)


def name_of(number: int) -> str:
    """A video's path in the folder."""
    return f"{number // FOLDER_FILES:04}/{number:07}.mp4"


def make_videos(folder: Path, videos: int) -> None:
    """Make empty files."""
    for number in range(videos):
        path = folder / name_of(number)
        if number % FOLDER_FILES == 0:
            path.parent.mkdir(parents=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))


def make_part(dataset: Dataset, videos: int, *, shuffled: bool) -> None:
    """Write the part that a run leaves."""
    ids = sorted(video_id(dataset.name, name_of(number)) for number in range(videos))
    rng = random.Random(0)
    if shuffled:
        rng.shuffle(ids)
    table = dataset.table("scene")
    table.clear()
    table.path.parent.mkdir(parents=True, exist_ok=True)
    texts = ["x" * (RECORD_BYTES // CAPTIONS - 10)] * CAPTIONS
    record = {"video_path": f"/videos/{name_of(0)}", "filtered": False, "clip_captions": texts}
    with open(table.part(), "wb") as file:
        for start in range(0, videos, IN_FLIGHT):
            some = ids[start : start + IN_FLIGHT]
            rng.shuffle(some)
            file.writelines(dumps({"video_id": key, **record}) + b"\n" for key in some)


def make_listing(dataset: Dataset, folder: Path, videos: int) -> None:
    """Write what the first listing writes: init.jsonl and files.jsonl."""
    names = {video_id(dataset.name, name): name for name in map(name_of, range(videos))}
    init, files = dataset.table("init").path, dataset.table("files").path
    init.parent.mkdir(parents=True)
    empty = hashlib.sha256().hexdigest()[:16]
    with open(init, "wb") as listing, open(files, "wb") as contents:
        for key in sorted(names):
            path, name = str(folder / names[key]), names[key]
            record = {"video_id": key, "video_path": path, "video_name": name, "filtered": False}
            listing.write(dumps(record) + b"\n")
            contents.write(dumps({"video_id": key, "bytes": 0, "digest": empty}) + b"\n")


def list_again(dataset: Dataset, folder: Path) -> Cost:
    """The cost of every later one."""
    return measured(lambda: is_unchanged(dataset, folder, Listing()) or sys.exit("it has changed"))


def index(dataset: Dataset, _: Path) -> Cost:
    """The cost of reading a part."""
    return measured(dataset.table("scene").index)


def parse(dataset: Dataset, _: Path) -> Cost:
    """The cost of parsing its lines."""

    def every_line() -> None:
        with open(dataset.table("scene").part(), "rb", buffering=1 << 20) as file:
            for line in file:
                orjson.loads(line)

    return measured(every_line)


def merge(dataset: Dataset, _: Path) -> Cost:
    """The cost of merging it once it is indexed; the memory is that of both."""
    table = dataset.table("scene")
    places = table.index()
    return measured(lambda: table.merge(places))


def costs(scratch: Path, videos: int) -> dict[str, Cost]:
    """What each piece of work costs."""
    dataset, folder = Dataset("bench", scratch / "bench"), scratch / "videos"
    make_videos(folder, videos)
    make_listing(dataset, folder, videos)
    pieces: dict[str, Callable[[Dataset, Path], Cost]] = {
        "init again": list_again,
        "parse, to compare": parse,
        "index": index,
        "merge": merge,
        "merge, any order": merge,
    }
    result: dict[str, Cost] = {}
    for name, work in pieces.items():
        if name in ("parse, to compare", "merge, any order"):
            make_part(dataset, videos, shuffled=name == "merge, any order")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            result[name] = pool.submit(work, dataset, folder).result()
    return result


def main() -> None:
    """Measure both sizes, and print a table."""
    parser = script_parser(__doc__)
    parser.add_argument("--videos", type=positive, default=1_000_000, help="default: 1000000")
    parser.add_argument("--scratch", type=Path, help="folder to work in (default: the system's)")
    args = parser.parse_args()
    sizes = [max(1, args.videos // 10), args.videos]
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="bookkeeping-", dir=args.scratch) as name:
            rows.append(costs(Path(name), size))
    few, all_videos = rows
    missed = 0
    print(f"{'':18}" + "".join(f"{size:>12,} videos" for size in sizes) + "  growth a video  bound")
    for name, cost in all_videos.items():
        growth = cost.seconds / few[name].seconds / (sizes[1] / sizes[0])
        cells = "".join(f"{c.seconds:10.2f} s {c.megabytes:4.0f} MB" for c in (few[name], cost))
        bound = BOUNDS[name] * args.videos / 1e6 if name in BOUNDS else None
        print(f"{name:18}{cells}{growth:16.2f}  {f'{bound:g} s' if bound else 'none'}")
        if bound:
            missed += cost.seconds > bound or cost.megabytes > MOST_MB or growth > MOST_GROWTH
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
