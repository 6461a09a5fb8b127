"""What stage 1 costs: CPU seconds over a bare decode, and a worker's peak memory.

    python -m benchmarks.stage_one                                       # 8 minutes of 720p
    python -m benchmarks.stage_one --height 1080 --shot_detector transnetv2 --max_ratio 99

Runs `preprocess.py` with one worker on one video, joined from real footage, that passes every
filter, and `ffmpeg -threads 1 -i X -f null -` on the same file, in turn; counts the CPU seconds of
all processes and prints the ratio of the medians, then where the scan's own time goes. The floor
is a decode without any of the measuring. Exit code 1 where a bound is missed.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.footage import FOOTAGE
from tools.cli import script_parser
from tools.store.dataset import REPOSITORY, Dataset
from tools.video.decode import Display, decode, open_video
from tools.video.scan import FrameMeter


def usage(command: list[str]) -> resource.struct_rusage:
    """What a command and all it starts have used; the peak memory is its largest process's."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=REPOSITORY, **quiet)  # type: ignore[call-overload]
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return used


def cpu(used: resource.struct_rusage) -> float:
    """User and system seconds."""
    return used.ru_utime + used.ru_stime


def run_stage_one(
    video_dir: Path, detector: str, data_root: Path
) -> tuple[resource.struct_rusage, bool]:
    """What a fresh run over one video uses, and whether the video was kept."""
    flags = ["--shot_detector", detector, "--embedder", "color", "--device", "cpu"]
    places = ["--video_dir", str(video_dir), "--data_root", str(data_root)]
    used = usage([sys.executable, "preprocess.py", "bench", "1", *flags, *places])
    return used, bool(Dataset("bench", data_root / "bench").videos().index().kept())


def breakdown(video: Path) -> None:
    """Print where a scan's time goes, CPU milliseconds a frame."""
    spent = {"decode": 0.0, "thumbnail": 0.0, "gray range and sharpness": 0.0}

    def timed(name: str, work: Callable[..., Any], *given: Any) -> Any:
        start = time.process_time()
        result = work(*given)
        spent[name] += time.process_time() - start
        return result

    count = 0
    with open_video(video) as (container, stream):
        meter = FrameMeter(Display(stream))
        frames = decode(container, stream)
        while (frame := timed("decode", next, frames, None)) is not None:
            timed("thumbnail", meter.thumbnail, frame)
            timed("gray range and sharpness", meter.gray, frame)
            count += 1
    for name, seconds in spent.items():
        print(f"  {name:28} {seconds / count * 1e3:6.3f} ms a frame")


def main() -> int:
    """Measure, print, and compare with the bounds."""
    parser = script_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=480, help="length (default: 480)")
    parser.add_argument("--height", type=int, default=720, help="16:9, pixels (default: 720)")
    parser.add_argument("--shot_detector", default="adaptive", help="(default: adaptive)")
    parser.add_argument("--repeat", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--max_ratio", type=float, default=1.8, help="bound (default: 1.8)")
    parser.add_argument("--max_mb", type=float, default=600, help="bound (default: 600)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="folder of real footage")
    args = parser.parse_args()
    ours, bare, peaks = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "video" / "joined.mp4"
        video.parent.mkdir()
        # 31 shots of less than 16 s: the most seconds that still pass the filters. Made by a
        # process of its own, since a child's peak memory is never less than its parent's.
        maker = [sys.executable, "-m", "benchmarks.footage", "--out", str(video), "--shots", "31"]
        size = ["--seconds", str(args.seconds), "--height", str(args.height)]
        usage([*maker, *size, "--footage", str(args.footage)])
        for number in range(args.repeat):
            decoding = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(video)]
            bare.append(cpu(usage([*decoding, "-f", "null", "-"])))
            data_root = Path(folder, f"data{number}")
            used, kept = run_stage_one(video.parent, args.shot_detector, data_root)
            if not kept:
                print("the video did not pass the filters: this measures nothing")
                return 1
            ours.append(cpu(used))
            peaks.append(used.ru_maxrss / 1024)
        ratios = np.array(ours) / np.array(bare)
        print(f"{args.seconds:.0f} s of {args.height}p, {args.shot_detector} + color")
        print(f"stage 1 {median(ours):.1f} CPU-s, ffmpeg's decode {median(bare):.1f} CPU-s")
        pairs = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"ratio {np.median(ratios):.2f} (pairs: {pairs}; bound {args.max_ratio})")
        print(f"peak memory of the largest process: {max(peaks):.0f} MB (bound {args.max_mb:.0f})")
        breakdown(video)
    return int(np.median(ratios) > args.max_ratio or max(peaks) > args.max_mb)


if __name__ == "__main__":
    sys.exit(main())
