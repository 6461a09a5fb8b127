"""A reproduction's results as one JSON file: every count of every score, and how long it took.

    {"rates": {...}, "machine": ..., "versions": {...}, "preparation": {job: {"wall_s", "cpu_s"}},
     "asked": {"dataset", "benchmark", "videos": [name...], "events": [how many...]},
     "bases": {base: {"scores", "counts", ...}},
     "arms": {arm: {"label", "seeds":
        {seed: {"base", "phases": [{"recipe", "steps", "planned", "log_p", "wall_s", "cpu_s",
                                    "scores",
                                    "counts": {metric: [[numerator...], [denominator...]]}}]}}}}}

Counts are columns over the videos of "asked". Tables, claims and figures are made from this alone.
"""

import os
import platform
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tools.statistics import ALL, Scores, Spreads, intervals
from tools.store.files import replace_atomically

BASE = "base"  # stands beside the arms for the models that they start from
DAMAGED = ("recall", "clip")  # what alignment costs
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
    counts = [video["counts"] for video in scores["videos"]]
    return {
        "scores": {
            metric: {group: round(score["value"], 4) for group, score in groups.items()}
            for metric, groups in scores["scores"].items()
        },
        "counts": {
            metric: [[row.get(metric, (0, 0))[side] for row in counts] for side in (0, 1)]
            for metric in dict.fromkeys(name for row in counts for name in row)
        },
    }


def as_scores(results: Results, kept: Results, metrics: Collection[str] = ()) -> Scores:
    """What `columns` kept of some metrics (default: of all), as the score file's videos again."""
    questions = results["asked"]
    videos: list[dict[str, Any]] = [
        {"video_name": name, "n": n, "counts": {}}
        for name, n in zip(questions["videos"], questions["events"], strict=True)
    ]
    for metric, sides in kept["counts"].items():
        if not metrics or metric in metrics:
            for video, *count in zip(videos, *sides, strict=True):
                video["counts"][metric] = count
    return {"videos": videos}


@dataclass(frozen=True)
class Summary:
    """What tables and figures say of an arm, or of the models that all arms start from (`BASE`).

    Attributes:
        ordered: of the final model from each base, the share of all pairs of events in order.
        first: spreads over seeds after the first phase, of the metrics of DAMAGED.
        final: spreads over seeds of the final models.
    """

    name: str
    label: str
    ordered: list[float]
    first: Spreads
    final: Spreads


def summaries(results: Results) -> Iterator[Summary]:
    """The bases as one arm, whose seeds they are, then each arm."""
    bases = {name: {"base": name, "phases": [kept]} for name, kept in results["bases"].items()}
    arms: Results = {BASE: {"label": BASE, "seeds": bases}} if bases else {}
    for name, arm in (arms | results["arms"]).items():
        runs = arm["seeds"].values()
        first = [as_scores(results, run["phases"][0], DAMAGED) for run in runs]
        final = [as_scores(results, run["phases"][-1]) for run in runs]
        ordered = [run["phases"][-1]["scores"]["ordered"][ALL] for run in runs]
        yield Summary(name, arm["label"], ordered, intervals(first), intervals(final))


def write_results(path: Path, results: Results) -> None:
    """Write results for people to read: a line for each column of counts."""
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2)
    text = _INNERMOST.sub(lambda match: b"".join(match[0].split()), text)
    with replace_atomically(path) as file:
        file.write(text + b"\n")


def machine() -> str:
    """The processor, its cores and the memory."""
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8") if info.is_file() else ""
    names = re.findall(r"^model name\s*: (.*)$", text, flags=re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}, {memory:.0f} GiB"
