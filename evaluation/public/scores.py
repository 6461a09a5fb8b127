"""Scores of a benchmark and their intervals, out of lmms-eval's results, and as a table.

The value is always lmms-eval's. Its interval of 95 % comes from lmms-eval's standard error where it
gives one, which is for plain means. It gives none for the video benchmarks: there a bootstrap over
videos of its single answers takes its place, if these answers make up the very value.
"""

import re
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rich.table import Table as Screen

from tools.errors import UserError
from tools.screen import empty_table
from tools.statistics import Interval, interval, mean_interval, normal_interval
from tools.store.files import CorruptLine, read_json

TOLERANCE = 1e-4  # of a share; LongVideoBench's are rounded to five digits
# Metrics of lmms-eval's that count to 100 (the last are TempCompass's); a score here is a share.
PERCENT = re.compile(
    "vinoground_score|videomme_perception_score|mlvu_percetion_score"
    "|(mvbench|avg|speed|direction|action|order|attribute_change)_accuracy"
)

Answers = Sequence[Mapping[str, Any]]
"""What lmms-eval keeps of the questions of a task that it asked."""
VideoCounts = list[tuple[float, int]]
"""(points, questions) of each video."""


@dataclass(frozen=True)
class BenchmarkScore:
    """A score, its standard error, and its interval of 95 %; None where nothing gives them."""

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


def benchmark_entry(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of scores keeps of a benchmark: {metric: {"value", "stderr", "low", "high"}, ...,
    "samples": answers, "questions": of the whole benchmark, "empty": answers without a word}."""
    samples = list(chain.from_iterable(answer["samples"].values()))
    return {
        **{metric: asdict(score) for metric, score in benchmark_scores(answer).items()},
        "samples": len(samples),
        "questions": sum(size["original"] for size in answer["sizes"].values()),
        "empty": sum(not "".join(map(str, row["filtered_resps"])).strip() for row in samples),
    }


def benchmark_scores(answer: Mapping[str, Any]) -> dict[str, BenchmarkScore]:
    """{metric: score} of a benchmark; one of several tasks has the mean of those tasks first, then
    "<task>: <metric>" of each.

    Args:
        answer: see `evaluation.public.lmms.run`.
    """
    tasks = {
        task: task_scores(answer["results"][task], answer["samples"][task])
        for task in sorted(answer["sizes"])
    }
    first, *others = tasks.values()
    if not others:
        return first
    means = {
        metric: mean_score([first[metric], *(scores[metric] for scores in others)])
        for metric in first
        if all(metric in scores for scores in others)
    }
    single = {f"{task}: {name}": score for task in tasks for name, score in tasks[task].items()}
    return means | single


def task_scores(results: Mapping[str, Any], samples: Answers) -> dict[str, BenchmarkScore]:
    """{metric: score} of one task; what is not a number is left out.

    Args:
        results: lmms-eval's, {"<metric>,<filter>": value, "<metric>_stderr,<filter>": stderr}.
        samples: its single answers.
    """
    scores = {}
    for key, value in results.items():
        metric, _, chosen = key.partition(",")
        name = metric if chosen == "none" else f"{metric} ({chosen})"
        stderr = results.get(f"{metric}_stderr,{chosen}")
        scale = 100 if PERCENT.fullmatch(metric) else 1
        if stderr is None:  # "alias" and the like, or itself a standard error
            continue
        if metric == "vinoground_score":
            for part, share in zip(("text", "video", "group"), value, strict=True):
                scores[part] = resampled(share / scale, [vinoground_pairs(samples, part)])
        elif isinstance(value, int | float) and isinstance(stderr, int | float):
            estimate = normal_interval(value, stderr)
            scores[name] = BenchmarkScore(value, stderr, estimate.low, estimate.high)
        elif isinstance(value, int | float):
            scores[name] = resampled(value / scale, video_counts(samples, metric))
    return scores


def mean_score(scores: Sequence[BenchmarkScore]) -> BenchmarkScore:
    """The mean of independent scores."""
    estimates = [
        Interval(score.value, score.low, score.high)
        for score in scores
        if score.low is not None and score.high is not None
    ]
    if len(estimates) < len(scores):
        return BenchmarkScore(sum(score.value for score in scores) / len(scores))
    mean = mean_interval(estimates)
    return BenchmarkScore(mean.value, mean.stderr, mean.low, mean.high)


def resampled(value: float, parts: Sequence[VideoCounts]) -> BenchmarkScore:
    """lmms-eval's value, with the bootstrap over the videos that make it up: the mean of one part,
    or of several. There is none of one video, nor where the mean is another value than lmms-eval's.
    """
    if parts and all(len(counts) > 1 for counts in parts):
        mean = mean_interval([estimate for estimate in map(interval, parts) if estimate])
        for scale in (1, 100):  # A task of one's own may count to 100, and nothing says so.
            if abs(value / scale - mean.value) <= TOLERANCE:
                return BenchmarkScore(value, None, mean.low * scale, mean.high * scale)
    return BenchmarkScore(value)


def video_counts(samples: Answers, metric: str) -> list[VideoCounts]:
    """The counts of each video, in parts whose mean is the metric: MLVU has one for each type of
    questions. No part where an answer's entry says nothing of right and wrong."""
    parts: dict[str, dict[Any, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        if metric not in sample:
            continue
        entry = sample[metric]
        worth = points(entry)
        if worth is None:
            return []
        fields = entry if isinstance(entry, dict) else {}
        if fields.get("pred_answer") == "" and "gt_answer" in fields:
            continue  # MVBench leaves out what was not answered.
        part = fields["task_type"] if metric == "mlvu_percetion_score" else ""
        video = fields.get("videoID") or fields.get("video_id") or sample["doc_id"]
        parts[part][video].append(worth)
    return [[(sum(worth), len(worth)) for worth in videos.values()] for videos in parts.values()]


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
    answer = entry.get("parsed_pred", entry.get("pred_answer"))
    return float(answer == entry["answer"]) if answer is not None and "answer" in entry else None


def vinoground_pairs(samples: Answers, part: str) -> VideoCounts:
    """(right, 1) of each pair of videos. Vinoground asks a text question and a video question about
    either video of a pair; a pair is right in text where both text questions are, in video
    likewise, and as a group where all four are."""
    pairs: dict[str, bool] = defaultdict(lambda: True)
    for sample in samples:
        entry = sample["vinoground_score"]
        if part in (entry["question_type"], "group"):
            pairs[entry["index"].split("_")[0]] &= (
                entry["pred"][:1].lower() == str(sample["target"]).lower()
            )
    return [(float(right), 1) for right in pairs.values()]


def read_document(
    path: Path, model: str, name: str, weights: str, versions: dict[str, str]
) -> dict[str, Any]:
    """The scores that a file holds already, or none; half of a file is none.

    Raises:
        UserError: they are another model's, or another lmms-eval's.
    """
    now = {"model": model, "name": name, "weights": weights, "versions": versions}
    try:
        made = read_json(path) or {**now, "tasks": {}}
        for key in ("weights", "versions"):
            if made[key] != now[key]:
                raise UserError(
                    f"{path} holds scores of other {key} ({_in_words(made[key])}; now"
                    f" {_in_words(now[key])}): name another --out, or delete it"
                )
        tasks = {name: dict(entry) for name, entry in made["tasks"].items()}
    except (CorruptLine, KeyError, TypeError, ValueError, AttributeError):
        print(f"{path} is no file of scores, or half of one: done again", file=sys.stderr)
        tasks = {}
    return {**now, "tasks": tasks}


def benchmark_table(
    document: Mapping[str, Any], names: Sequence[str], failed: Mapping[str, str]
) -> Screen:
    """The scores of some benchmarks, beside what they were got with."""
    screen = empty_table(
        f"{document['name']}, lmms-eval {document['versions']['lmms-eval']}",
        "[ ]: 95 %, by lmms-eval's standard error or a bootstrap over videos",
    )
    screen.add_column("metric")
    for title in ("score", "frames", "fps", "max pixels", "answers"):
        screen.add_column(title, justify="right")
    for name in names:
        if name in failed:
            screen.add_row(name, "not run", *["-"] * 5)
            continue
        entry = document["tasks"][name]
        beside = [_cell(entry[key]) for key in ("frames", "fps", "max_pixels", "samples")]
        for metric, score in entry.items():
            if isinstance(score, dict):
                value = f"{score['value']:.3f}"
                if score["low"] is not None:
                    value += f" [{score['low']:.3f}, {score['high']:.3f}]"
                screen.add_row(name, metric, value, *beside)
                name = ""
    return screen


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _in_words(value: Any) -> str:
    """Versions, or a digest, for a line of output."""
    if isinstance(value, dict):
        return " ".join(f"{name} {version}" for name, version in value.items())
    return str(value)
