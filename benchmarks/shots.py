"""How right the shots are on the toy world, through `preprocess.py` itself.

    python -m benchmarks.shots                        # renders 24 videos, about a minute
    python -m benchmarks.shots --toy data/toyworld    # a toy world that is there already

Renders the toy world, runs stage 1 with each detector, and compares the shots of scene.jsonl with
truth.jsonl: hard cuts at the exact frame, and all transitions that start within five frames of
their place. A video without a record counts with all its transitions missed. Beside them stands
the best that one threshold on the difference of neighbouring thumbnails can do, chosen with the
truth in hand. Also prints how many verdicts of the filters are the truth's. Exit code 1 where a
bound is missed.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.transitions import f1, match_transitions
from tools.cli import script_parser
from tools.shots.steps import STEPS
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Record
from tools.video.scan import load_scan
from toyworld.truth import read_truth

Truth = dict[str, dict[str, Any]]


def scores(truth: Truth, found: dict[str, list[int]]) -> dict[str, float]:
    """F1 of hard cuts ("cut") and of all transitions ("all") over all videos together."""
    totals: dict[str, Counter[str]] = {"cut": Counter(), "all": Counter()}
    for name, video in truth.items():
        for kind, counts in match_transitions(video["cuts"], found.get(name, [])).items():
            totals[kind].update(counts)
    return {kind: f1(counts) for kind, counts in totals.items()}


def run(toy: Path, detector: str, data_root: Path) -> Dataset:
    """Stage 1 over the toy world with one detector."""
    flags = ["--shot_detector", detector, "--embedder", "color", "--data_root", str(data_root)]
    command = [sys.executable, "preprocess.py", detector, "2", "--video_dir", str(toy / "video")]
    subprocess.run([*command, *flags], check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    return Dataset(detector, data_root / detector)


def starts(records: list[Record]) -> dict[str, list[int]]:
    """video name -> first frame of every shot but the first."""
    return {r["video_name"]: [start for _, start, _ in r["raw_cuts"][1:]] for r in records}


def verdicts(dataset: Dataset) -> dict[str, str]:
    """video name -> "keep", or the reason for which a filter rejected it."""
    found = dict.fromkeys((r["video_name"] for r in dataset.videos().read()), "keep")
    for step in STEPS:
        for record in dataset.table(step.name).read():
            if record["filtered"]:
                found[record["video_name"]] = record["filter_reason"]
    return found


def best_plain_threshold(truth: Truth, dataset: Dataset) -> float:
    """The best F1 of hard cuts that any threshold on mean thumbnail differences reaches."""
    differences = {}
    for record in dataset.table("scene").read():
        scan = load_scan(dataset.scan_path(record["video_id"]))
        assert scan is not None
        frames = np.concatenate(list(scan.thumbnails()))
        change = np.abs(frames[1:].astype(np.int16) - frames[:-1]).mean(axis=(1, 2, 3))
        differences[record["video_name"]] = change
    levels = np.quantile(np.concatenate(list(differences.values())), np.linspace(0.8, 1, 400))
    found = (
        {name: (np.flatnonzero(d > level) + 1).tolist() for name, d in differences.items()}
        for level in levels
    )
    return max(scores(truth, one)["cut"] for one in found)


def main() -> int:
    """Render, run, compare, print."""
    parser = script_parser(__doc__)
    parser.add_argument("--toy", type=Path, help="a rendered toy world (default: render one)")
    parser.add_argument("--seed", type=int, default=0, help="of the one rendered (default: 0)")
    parser.add_argument("--min_cut", type=float, default=0.99, help="bound, hard cuts")
    parser.add_argument("--min_all", type=float, default=0.95, help="bound, all transitions")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toy = args.toy or folder / "toy"
        if not args.toy:
            maker = [sys.executable, "-m", "toyworld", "--videos", "24"]
            world = ["--seed", str(args.seed), "--out", str(toy)]
            subprocess.run([*maker, *world], check=True, cwd=REPOSITORY)
        truth: Truth = {video["video_name"]: video for video in read_truth(toy)}
        kinds = Counter(cut["type"] for video in truth.values() for cut in video["cuts"])
        print(
            f"{len(truth)} videos, " + ", ".join(f"{n} of type {kind}" for kind, n in kinds.items())
        )
        missed = False
        for detector in ("transnetv2", "adaptive"):
            dataset = run(toy, detector, folder / "data")
            got = scores(truth, starts(list(dataset.table("scene").read())))
            agreed = verdicts(dataset)
            right = sum(agreed.get(name) == video["verdict"] for name, video in truth.items())
            print(
                f"{detector:12} F1 of hard cuts {got['cut']:.4f}, of all transitions"
                f" {got['all']:.4f}; verdicts as in the truth: {right} of {len(truth)}"
            )
            if detector == "transnetv2":
                missed = got["cut"] < args.min_cut or got["all"] < args.min_all
        plain = best_plain_threshold(truth, dataset)
        print(f"best single threshold on differences: F1 of hard cuts {plain:.4f} (bound < 0.9)")
    return int(missed or plain >= 0.9)


if __name__ == "__main__":
    sys.exit(main())
