"""results/reproduction.json: what was trained, how long it took, and every count of every score.

    {"stories": {...}, "rates": {...}, "machine": ..., "versions": {...},
     "asked": {"dataset", "benchmark", "videos": [name...], "events": [how many...]},
     "bases": {base: {"seed", "trained", "scores", "counts"}},
     "arms": {arm: {"label", "recipe", "pairs", "settings", "seeds":
        {seed: {"base", "phases": [{"recipe", "steps", "planned", "wall_s", "cpu_s", "scores",
                                    "counts": {metric: [[numerator...], [denominator...]]}}]}}}}}

Counts are columns over the videos of "asked". Tables, claims and plots are made of this alone.
"""

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from evaluation.scores import read_scores
from reproduction.jobs import seconds
from reproduction.temple.arms import Arm, Rates, steps_of
from reproduction.temple.commands import STORIES
from reproduction.temple.trainings import TRAINED, Place, Training, is_scored, trainings
from tools.statistics import Scores
from tools.store.files import read_json, replace_atomically
from tools.training.stages import checkpoints

PACKAGES = ("torch", "transformers", "ms-swift", "trl", "peft")
_INNERMOST = re.compile(rb"\[[^\[\]{}]*\]")

Results = dict[str, Any]


def collect(
    place: Place, arms: Iterable[Arm], seeds: Sequence[int], rates: Rates, dataset: str
) -> Results:
    """Read what is there of some arms and seeds; a seed of an arm is there once all of it is."""
    took = seconds(place.logs)
    results: Results = {
        "stories": {name: asdict(told) for name, told in STORIES.items()},
        "rates": dict(rates),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {one: version(one) for one in PACKAGES},
        "preparation": {
            name: times(took, name)
            for name in took
            if name.startswith(("base-", "render-", "shots-", "pairs-"))
        },
        "asked": {},
        "bases": {},
        "arms": {},
    }
    for base in place.bases:
        path = place.base_scores(base, dataset)
        if is_scored(path, base.folder, place.data / dataset):
            scores = read_scores(path)
            results["asked"] = asked(scores)
            trained = read_json(base.folder / TRAINED)
            results["bases"][base.name] = {"seed": base.seed, "trained": trained, **columns(scores)}
    for arm in arms:
        found = {}
        for seed in seeds:
            phases = trainings(place, [arm], [seed], rates)
            if all(one.trained() and one.scored(dataset) for one in phases):
                told = [phase_of(one, dataset, took) for one in phases]
                found[str(seed)] = {"base": phases[0].base.name, "phases": told}
        if found:
            results["arms"][arm.name] = {
                "label": arm.label,
                "recipe": arm.phases(rates)[-1],
                "pairs": arm.pairs,
                "settings": dict(arm.settings),
                "seeds": found,
            }
    return results


def phase_of(one: Training, dataset: str, took: Mapping[str, tuple[float, float]]) -> Results:
    """What is kept of one phase."""
    return {
        "recipe": one.phase,
        "steps": [steps_taken(folder) for folder in one.folders],
        "planned": steps_of(one.phase),
        **times(took, f"train-{one.key}"),
        **columns(read_scores(one.scores(dataset))),
    }


def times(took: Mapping[str, tuple[float, float]], job: str) -> dict[str, float]:
    """Wall and CPU seconds of a job."""
    wall, cpu = took.get(job, (0.0, 0.0))
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def steps_taken(folder: Path) -> int:
    """The optimizer steps that swift took in a stage, as its last checkpoint says."""
    return max(checkpoint.step for checkpoint in checkpoints(folder))


def asked(scores: Scores) -> Results:
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


def as_scores(results: Results, kept: Results, name: str) -> Scores:
    """What `columns` kept, as a score file again."""
    given = results["asked"]
    return {
        "name": name,
        "dataset": given["dataset"],
        "benchmark": given["benchmark"],
        "videos": [
            {
                "video_name": video,
                "n": n,
                "counts": {m: (top[at], under[at]) for m, (top, under) in kept["counts"].items()},
            }
            for at, (video, n) in enumerate(zip(given["videos"], given["events"], strict=True))
        ],
    }


def write(path: Path, results: Results) -> None:
    """Write results for people to read: a line for each column of counts."""
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2)
    text = _INNERMOST.sub(lambda found: b"".join(found[0].split()), text)
    with replace_atomically(path) as file:
        file.write(text + b"\n")


def machine() -> str:
    """The processor and its cores."""
    names = re.findall(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), flags=re.MULTILINE)
    memory = re.findall(r"^MemTotal:\s*(\d+) kB", _text("/proc/meminfo"), flags=re.MULTILINE)
    size = f", {int(memory[0]) / 2**20:.0f} GiB" if memory else ""
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}{size}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
