"""The results of all seeds in one file, in the form that `reproduction.results` describes.

A seed is a base, and the number of a film's shots is its number of events.
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from reproduction.grounding.arms import ARMS, LENGTHS, NFRAME, TEST_FILMS
from reproduction.jobs import job_seconds
from reproduction.results import Results, machine

# Share of the films of training that have a label, and its intersection over union with the true
# moment; CPU seconds of training the bridge and the image model.
FIGURES = ("labelled", "label_iou", "train_s")
PACKAGES = ("torch", "transformers", "opencv-python-headless")


def read_rows(folder: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """(arm, shots) -> its row."""
    file = folder / "results.jsonl"
    rows = [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.is_file() else []
    return {(row["arm"], row["shots"]): row for row in rows}


def collect(exp: Path, seeds: Sequence[int], window: int) -> Results:
    """Read what is there; an arm of a seed is there once films of all lengths were answered."""
    results: Results = {
        "window": window,
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "seconds": job_seconds(exp / "logs"),
        "asked": {
            "dataset": "films",
            "benchmark": "moments",
            "videos": [f"{shots}/{number}" for shots in LENGTHS for number in range(TEST_FILMS)],
            "events": [shots for shots in LENGTHS for _ in range(TEST_FILMS)],
        },
        "arms": {},
    }
    rows = {seed: read_rows(exp / f"seed_{seed}") for seed in seeds}
    for arm, label in ARMS.items():
        runs = {
            str(seed): {
                "base": str(seed),
                "phases": [columns([known[arm, n] for n in LENGTHS])],
                **{k: known[arm, LENGTHS[0]][k] for k in FIGURES if k in known[arm, LENGTHS[0]]},
            }
            for seed, known in rows.items()
            if all((arm, n) in known for n in LENGTHS)
        }
        if runs:
            results["arms"][arm] = {"label": label, "seeds": runs}
    return results


def columns(rows: Sequence[dict[str, Any]]) -> Results:
    """The counts of an arm; rows: of each length, as `Trial.score` makes them."""
    right = [value for row in rows for value in row["right"]]
    after = [value for row in rows for value in row["after"]]
    inside = [value for row in rows for value in row["inside"]]
    direct = [1 - value for value in after]
    counts: dict[str, list[list[float]]] = {
        "accuracy": [right, [1] * len(right)],
        "direct": [[r * d for r, d in zip(right, direct, strict=True)], direct],
        "after": [[r * a for r, a in zip(right, after, strict=True)], after],
        "inside": [inside, [NFRAME] * len(inside)],
    }
    if all("iou" in row for row in rows):
        counts["iou"] = [[value for row in rows for value in row["iou"]], [1] * len(right)]
    return {"counts": counts}
