"""The cost of projecting a video onto a memory of text vectors.

    python -m benchmarks.projection --rows 1000000 --width 768

writes a memory of random vectors to a file, maps it, and projects videos of 10 frames each: one by
itself, then 10 in one call. A first pass brings the file into the page cache. Each time is the best
of three, and stands beside that of one matrix product of the same size, the memory by the frames:
a projection needs two.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from prealignment.vectors.memory import project, read_memory, write_memory
from prealignment.vectors.rows import unit
from tools.cli import positive, run_script, script_parser

FRAMES = 10  # of a video
VIDEOS = 10
BLOCK = 10_000
REPEATS = 3


def blocks(rows: int, width: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random vectors of length 1."""
    rng = np.random.default_rng(seed)
    for start in range(0, rows, BLOCK):
        yield unit(rng.standard_normal((min(BLOCK, rows - start), width), np.float32))


def resident() -> dict[str, float]:
    """MB of this process in memory, of its own and of files that are mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    return {name: int(values[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def fastest(compute: Callable[[], object]) -> float:
    """The fewest seconds of CPU that a computation took in REPEATS."""
    seconds = []
    for _ in range(REPEATS):
        before = time.process_time()
        compute()
        seconds.append(time.process_time() - before)
    return min(seconds)


def main() -> None:
    """Print the seconds of CPU a video, and the memory that is taken beside the file."""
    parser = script_parser(__doc__)
    parser.add_argument("--rows", type=positive, default=1_000_000, help="of the memory")
    parser.add_argument("--width", type=positive, default=768, help="numbers a vector")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        shape = (args.rows, args.width)
        write_memory(path, blocks(*shape), shape, "random", args.rows)
        memory = read_memory(path)
        frames = torch.from_numpy(next(blocks(FRAMES * VIDEOS, args.width, seed=1)))
        project(frames[:1], memory, top=1)
        print(f"{args.rows:,} rows of {args.width}, one thread")
        for name, top in (("all rows", None), ("the nearest 128", 128)):
            for videos in (1, VIDEOS):
                own = frames[: videos * FRAMES]
                columns = own.T.contiguous()
                plain = fastest(partial(torch.mm, memory.vectors, columns)) / videos
                seconds = fastest(partial(project, own, memory, top=top)) / videos
                print(
                    f"{name:16} {videos:3} videos a call: {seconds:6.3f} s of CPU a video,"
                    f" {seconds / plain:.1f} times one matrix product of {plain:.3f} s"
                )
        now = resident()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"memory: {now['RssAnon']:.0f} MB, {now['RssFile']:.0f} MB of files; most {most:.0f} MB"
        )


if __name__ == "__main__":
    run_script(main)
