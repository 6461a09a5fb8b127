"""The results of all seeds in one file, in the form that `reproduction.results` describes.

A seed is a base; all seeds are tested on the same videos.
"""

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from reproduction.distillation.arms import ARMS, TESTED, label_of
from reproduction.distillation.questions import EVENTS
from reproduction.jobs import job_seconds
from reproduction.results import Results, machine
from reproduction.seeds import RESULTS
from tools.store.files import read_json

PACKAGES = ("torch", "transformers")
CHOICES = RESULTS / "distillation_choices.json"  # learning rates and weights of the arms


def read_rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Arm -> its row."""
    file = folder / "results.jsonl"
    rows = {}
    for line in file.read_bytes().splitlines() if file.is_file() else ():
        with suppress(orjson.JSONDecodeError):  # torn by a kill
            row = orjson.loads(line)
            rows[row["arm"]] = row
    return rows


def collect(exp: Path, seeds: Sequence[int], videos: int, choices: Path = CHOICES) -> Results:
    """Read what is there."""
    results: Results = {
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "seconds": job_seconds(exp / "logs"),
        "cost": read_json(exp / "cost.json"),
        "choices": read_json(choices) or {},
        "asked": {
            "dataset": "stories",
            "benchmark": "questions",
            "videos": [str(number) for number in range(videos)],
            "events": [EVENTS] * videos,
        },
        "arms": {},
    }
    rows = {seed: read_rows(exp / f"seed_{seed}") for seed in seeds}
    for name in (*ARMS, *TESTED):
        arm, control = TESTED.get(name, (name, None))
        runs = {
            str(seed): _run(seed, own[arm], control) for seed, own in rows.items() if arm in own
        }
        if runs:
            results["arms"][name] = {"label": label_of(name), "seeds": runs}
    return results


def _run(seed: int, row: dict[str, Any], control: str | None) -> dict[str, Any]:
    """A seed of an arm, or of what a control makes of it."""
    kept = {name: row["counts"][name] for name in ("accuracy", "first", "last", "does")}
    if control:
        return {
            "base": str(seed),
            "phases": [{"counts": {"accuracy": row["counts"][control]}}],
        }
    rest = {name: row[name] for name in ("validation", "cpu_s")}
    return {"base": str(seed), "phases": [{"counts": kept}], **rest}
