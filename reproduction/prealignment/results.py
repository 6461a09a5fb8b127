"""The results of all seeds in one file, in the form that `reproduction.results` describes.

A seed is a base; its videos are its own, and stand in the place of those of the others.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from reproduction.jobs import job_seconds
from reproduction.prealignment.arms import ARMS, TEST_VIDEOS
from reproduction.results import Results, machine

PACKAGES = ("torch", "transformers", "peft")
FIGURES = ("gap", "retrieval", "cpu_s")


def read_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Arm -> its row."""
    file = folder / "results.jsonl"
    rows = [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.is_file() else []
    return {row["arm"]: row for row in rows}


def collect(exp: Path, seeds: Sequence[int], videos: int = TEST_VIDEOS) -> Results:
    """Read what is there."""
    results: Results = {
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "seconds": job_seconds(exp / "logs"),
        "asked": {
            "dataset": "stories",
            "benchmark": "questions",
            "videos": [str(number) for number in range(videos)],
            "events": [4 + number % 3 for number in range(videos)],
        },
        "arms": {},
    }
    rows = {seed: read_rows(exp / f"seed_{seed}") for seed in seeds}
    for name, arm in ARMS.items():
        runs = {
            str(seed): {
                "base": str(seed),
                "phases": [{"counts": known[name]["counts"]}],
                **{figure: known[name][figure] for figure in FIGURES if figure in known[name]},
            }
            for seed, known in rows.items()
            if name in known
        }
        if runs:
            results["arms"][name] = {"label": arm.label, "seeds": runs}
    return results
