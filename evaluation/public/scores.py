"""Scores of a benchmark and their intervals, out of what lmms-eval leaves, and as a table.

The value is always lmms-eval's. Its interval of 95 % comes from lmms-eval's standard error where it
gives one, which is for plain means. It gives none for the video benchmarks: there a bootstrap over
videos of its log of single answers takes its place, if these answers make up the very value.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table as Screen

from tools.errors import UserError
from tools.statistics import interval
from tools.store.files import CorruptLine, read_json

NORMAL = 1.96  # standard errors on either side of a mean: 95 % of a normal distribution
TOLERANCE = 1e-4  # of a share; LongVideoBench's are rounded to five digits
PERCENT = {  # metrics of lmms-eval's that count to 100; a score here is a share
    "vinoground_score",
    "videomme_perception_score",
    "mlvu_percetion_score",
    "mvbench_accuracy",
    *(
        f"{dimension}_accuracy"  # TempCompass
        for dimension in ("avg", "speed", "direction", "action", "order", "attribute_change")
    ),
}
# Vinoground asks a text question and a video question about either video of a pair; a pair is right
# in text where both text questions are, in video likewise, and as a group where all four are.
VINOGROUND = ("text", "video", "group")

Table = Sequence[tuple[float, int]]
"""(points, questions) of each video."""


@dataclass(frozen=True)
class Score:
    """A score, its standard error, and its interval of 95 %; None where there is no telling."""

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


def entry(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of scores keeps of a benchmark: {metric: {"value", "stderr", "low", "high"}, ...,
    "samples": answers, "questions": of the whole benchmark, "empty": answers without a word}."""
    answers = [one for samples in found["samples"].values() for one in samples]
    return {
        **{metric: asdict(score) for metric, score in read_scores(found).items()},
        "samples": len(answers),
        "questions": sum(size["original"] for size in found["sizes"].values()),
        "empty": sum(not str(one["filtered_resps"]).strip() for one in answers),
    }


def read_scores(found: Mapping[str, Any]) -> dict[str, Score]:
    """{metric: score} of a benchmark; one of several tasks has the mean of those tasks first, then
    "<task>: <metric>" of each.

    Args:
        found: see `evaluation.public.lmms.read_results`.
    """
    tasks = {
        task: task_scores(found["results"][task], found["samples"][task])
        for task in sorted(found["sizes"])
    }
    first = next(iter(tasks.values()))
    if len(tasks) == 1:
        return first
    means = {
        metric: mean([scores[metric] for scores in tasks.values()])
        for metric in first
        if all(metric in scores for scores in tasks.values())
    }
    return means | {
        f"{task}: {metric}": score
        for task, scores in tasks.items()
        for metric, score in scores.items()
    }


def task_scores(
    results: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> dict[str, Score]:
    """{metric: score} of one task; what is not a number is left out.

    Args:
        results: lmms-eval's, {"<metric>,<filter>": value, "<metric>_stderr,<filter>": stderr}.
        samples: its log of single answers.
    """
    scores: dict[str, Score] = {}
    for key, value in results.items():
        metric, _, chosen = key.partition(",")
        name = metric if chosen == "none" else f"{metric} ({chosen})"
        stderr = results.get(f"{metric}_stderr,{chosen}")
        scale = 100 if metric in PERCENT else 1
        kept = [(one["doc_id"], one[metric]) for one in samples if metric in one]
        if stderr is None:  # "alias" and the like, or itself a standard error
            continue
        if metric == "vinoground_score":
            for part, share in zip(VINOGROUND, value, strict=True):
                scores[part] = bootstrapped(share / scale, vinoground_pairs(samples, part))
        elif not isinstance(value, int | float):
            continue
        elif isinstance(stderr, int | float):
            half = NORMAL * stderr
            scores[name] = Score(value, stderr, value - half, value + half)
        elif metric == "mlvu_percetion_score":
            scores[name] = if_same(value / scale, mean(scores_of_types(kept)))
        else:
            scores[name] = bootstrapped(value / scale, by_video(kept))
    return scores


def mean(scores: Sequence[Score]) -> Score:
    """The mean of independent scores."""
    value = sum(one.value for one in scores) / len(scores)
    halves = [
        (one.high - one.low) / 2 for one in scores if one.high is not None and one.low is not None
    ]
    if len(halves) < len(scores):
        return Score(value)
    half = math.hypot(*halves) / len(halves)
    return Score(value, half / NORMAL, value - half, value + half)


def bootstrapped(value: float, table: Table) -> Score:
    """A value with the bootstrap over the videos that make it up; of one video there is none."""
    found = interval(table) if len(table) > 1 else None
    return if_same(value, Score(found.value, None, found.low, found.high) if found else None)


def if_same(value: float, found: Score | None) -> Score:
    """lmms-eval's value, with the interval of another score where that has the same value.

    A task of one's own may count to 100, and nothing says so.
    """
    if found is None or found.low is None or found.high is None:
        return Score(value)
    for scale in (1, 100):
        if abs(value / scale - found.value) <= TOLERANCE:
            stderr = found.stderr and found.stderr * scale
            return Score(value, stderr, found.low * scale, found.high * scale)
    return Score(value)


def by_video(kept: Sequence[tuple[int, Any]]) -> Table:
    """(points, questions) of each video, out of (doc_id, what lmms-eval keeps of an answer); empty
    where that says nothing of right and wrong."""
    videos: dict[Any, list[float]] = defaultdict(list)
    for doc, entry in kept:
        worth = points(entry)
        if worth is None:
            return []
        if isinstance(entry, dict):
            if entry.get("pred_answer") == "" and "gt_answer" in entry:
                continue  # MVBench leaves out what was not answered.
            doc = entry.get("videoID") or entry.get("video_id") or doc
        videos[doc].append(worth)
    return [(sum(worth), len(worth)) for worth in videos.values()]


def points(entry: Any) -> float | None:
    """What an answer is worth, 0 to 1; None where lmms-eval keeps nothing that says so."""
    if isinstance(entry, int | float):
        return float(entry)
    if not isinstance(entry, dict):
        return None
    if isinstance(entry.get("score"), int | float):
        return float(entry["score"])
    if "rating" in entry:  # TempCompass: 1, 0, or -1 where the judge did not answer
        return float(entry["rating"] == 1)
    said = entry.get("parsed_pred", entry.get("pred_answer"))
    return float(said == entry["answer"]) if said is not None and "answer" in entry else None


def vinoground_pairs(samples: Sequence[Mapping[str, Any]], part: str) -> Table:
    """(right, 1) of each pair of videos, in one of VINOGROUND."""
    pairs: dict[str, bool] = {}
    for one in samples:
        entry = one["vinoground_score"]
        if part in (entry["question_type"], "group"):
            pair = entry["index"].split("_")[0]
            right = entry["pred"][:1].lower() == str(one["target"]).lower()
            pairs[pair] = pairs.get(pair, True) and right
    return [(float(right), 1) for right in pairs.values()]


def scores_of_types(kept: Sequence[tuple[int, Any]]) -> list[Score]:
    """A score of each type of question: MLVU's is their mean."""
    types: dict[str, list[tuple[int, Any]]] = defaultdict(list)
    for doc, entry in kept:
        types[entry["task_type"]].append((doc, entry))
    tables = [by_video(some) for some in types.values()]
    return [
        bootstrapped(sum(one for one, _ in table) / sum(asked for _, asked in table), table)
        for table in tables
    ]


def read_document(
    path: Path, model: str, name: str, weights: str, versions: dict[str, str]
) -> dict[str, Any]:
    """The scores that a file holds already, or none; half of a file is none.

    Raises:
        UserError: they are another model's, or another lmms-eval's.
    """
    now = {"model": model, "name": name, "weights": weights, "versions": versions}
    try:
        made = read_json(path)
        if made is None:
            return {**now, "tasks": {}}
        if not all(isinstance(one, dict) for one in made["tasks"].values()):
            raise TypeError("tasks")
        then = {key: made[key] for key in ("weights", "versions")}
    except (CorruptLine, KeyError, TypeError, AttributeError):
        print(f"{path} is no file of scores, or half of one: done again", file=sys.stderr)
        return {**now, "tasks": {}}
    for key, value in then.items():
        if value != now[key]:
            raise UserError(
                f"{path} holds scores of other {key} ({_in_words(value)}; now"
                f" {_in_words(now[key])}): name another --out, or delete it"
            )
    return {**now, "tasks": made["tasks"]}


def table(document: Mapping[str, Any], asked: Sequence[str], failed: Mapping[str, str]) -> Screen:
    """The scores of the benchmarks that were asked for, beside what they were got with."""
    screen = Screen(
        title=f"{document['name']}, lmms-eval {document['versions']['lmms-eval']}",
        caption="[ ]: 95 %, by lmms-eval's standard error or a bootstrap over videos",
        box=SIMPLE,
        pad_edge=False,
    )
    screen.add_column("")
    screen.add_column("metric")
    for title in ("score", "frames", "fps", "max pixels", "answers"):
        screen.add_column(title, justify="right")
    for name in asked:
        if name in failed:
            screen.add_row(name, "not run", *["-"] * 5)
            continue
        one = document["tasks"][name]
        beside = [cell(one[key]) for key in ("frames", "fps", "max_pixels", "samples")]
        for metric, score in one.items():
            if isinstance(score, dict):
                screen.add_row(name, metric, score_cell(score), *beside)
                name = ""
    return screen


def cell(value: float | None) -> str:
    """A number of a table; "-" where there is none."""
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def score_cell(score: Mapping[str, float | None]) -> str:
    """A score and its interval."""
    if score["low"] is None:
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _in_words(value: Any) -> str:
    """Versions, or a digest, for a line of output."""
    if isinstance(value, dict):
        return " ".join(f"{name} {version}" for name, version in value.items())
    return str(value)
