"""A reproduction's results as one JSON file: every count of every score, and how long it took.

    {"rates": {...}, "machine": ..., "versions": {...}, "preparation": {job: {"wall_s", "cpu_s"}},
     "asked": {"dataset", "benchmark", "videos": [name...], "events": [how many...]},
     "bases": {base: {"scores", "counts", ...}},
     "arms": {arm: {"label", "seeds":
        {seed: {"base", "phases": [{"recipe", "steps", "planned", "wall_s", "cpu_s", "scores",
                                    "counts": {metric: [[numerator...], [denominator...]]}}]}}}}}

Counts are columns over the videos of "asked". Tables, claims and figures are made from this alone.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tools.statistics import Scores
from tools.store.files import replace_atomically

_INNERMOST = re.compile(rb"\[[^\[\]{}]*\]")

Results = dict[str, Any]


def questions_of(scores: Scores) -> Results:
    """What all models were asked, out of one score file."""
    return {
        "dataset": scores["dataset"],
        "benchmark": scores["benchmark"],
        "videos": [video["video_name"] for video in scores["videos"]],
        "events": [video["n"] for video in scores["videos"]],
    }


def columns(scores: Scores) -> Results:
    """A score file's values, and its counts as columns over the videos."""
    metrics = list(dict.fromkeys(name for video in scores["videos"] for name in video["counts"]))
    counts = [video["counts"] for video in scores["videos"]]
    return {
        "scores": {
            metric: {group: round(one["value"], 4) for group, one in groups.items()}
            for metric, groups in scores["scores"].items()
        },
        "counts": {
            metric: [[one.get(metric, (0, 0))[side] for one in counts] for side in (0, 1)]
            for metric in metrics
        },
    }


def as_scores(
    results: Results, kept: Results, name: str, metrics: Sequence[str] | None = None
) -> Scores:
    """What `columns` kept of some metrics (default: of all), as a score file again."""
    questions = results["asked"]
    counts = {
        metric: list(zip(*sides, strict=True))
        for metric, sides in kept["counts"].items()
        if metrics is None or metric in metrics
    }
    return {
        "name": name,
        "dataset": questions["dataset"],
        "benchmark": questions["benchmark"],
        "videos": [
            {
                "video_name": video,
                "n": n,
                "counts": {metric: column[at] for metric, column in counts.items()},
            }
            for at, (video, n) in enumerate(
                zip(questions["videos"], questions["events"], strict=True)
            )
        ],
    }


def arm_scores(
    results: Results, arm: str, phase: int = -1, metrics: Sequence[str] | None = None
) -> dict[str, Scores]:
    """{seed: scores} of an arm after one of its phases, the last by default; empty where the arm
    was not run."""
    return {
        seed: as_scores(results, run["phases"][phase], f"{arm}, seed {seed}", metrics)
        for seed, run in results["arms"].get(arm, {}).get("seeds", {}).items()
    }


def times(seconds: Mapping[str, tuple[float, float]], job: str) -> dict[str, float]:
    """Wall and CPU seconds of a job, out of `reproduction.jobs.job_seconds`."""
    wall, cpu = seconds.get(job, (0.0, 0.0))
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def write_results(path: Path, results: Results) -> None:
    """Write results for people to read: a line for each column of counts."""
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2)
    text = _INNERMOST.sub(lambda match: b"".join(match[0].split()), text)
    with replace_atomically(path) as file:
        file.write(text + b"\n")


def machine() -> str:
    """The processor, its cores and the memory."""
    names = re.findall(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), flags=re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), flags=re.MULTILINE)
    size = f", {int(memory[0]) / 2**20:.0f} GiB" if memory else ""
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}{size}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
