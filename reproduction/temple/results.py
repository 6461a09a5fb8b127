"""TEMPLE's results, collected from what was trained and scored."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from evaluation.scores import read_scores
from reproduction.jobs import job_seconds
from reproduction.results import Results, columns, machine, questions_of, times
from reproduction.temple.arms import Arm, Rates, steps_of
from reproduction.temple.stories import STORIES
from reproduction.temple.trainings import Training, Workspace, is_scored, phases_of
from reproduction.toyvl import TRAINED
from tools.store.files import read_json
from tools.training.stages import checkpoints

PACKAGES = ("torch", "transformers", "ms-swift", "trl", "peft")
PREPARATION = ("base-", "render-", "shots-", "pairs-")  # how the names of such jobs begin


def collect(
    workspace: Workspace, arms: Iterable[Arm], seeds: Sequence[int], rates: Rates, dataset: str
) -> Results:
    """Read what is there of some arms and seeds; a seed of an arm is there once all of it is."""
    seconds = job_seconds(workspace.logs)
    results: Results = {
        "stories": {name: asdict(stories) for name, stories in STORIES.items()},
        "rates": dict(rates),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {one: version(one) for one in PACKAGES},
        "preparation": {job: times(seconds, job) for job in seconds if job.startswith(PREPARATION)},
        "asked": {},
        "bases": {},
        "arms": {},
    }
    for base in workspace.bases:
        path = workspace.base_scores(base, dataset)
        if is_scored(path, base.folder, workspace.data / dataset):
            scores = read_scores(path)
            results["asked"] = questions_of(scores)
            trained = read_json(base.folder / TRAINED)
            results["bases"][base.name] = {"seed": base.seed, "trained": trained, **columns(scores)}
    for arm in arms:
        runs = {}
        for seed in seeds:
            phases = phases_of(workspace, arm, seed, rates)
            if all(one.trained() and one.scored(dataset) for one in phases):
                kept = [phase_results(one, dataset, seconds) for one in phases]
                runs[str(seed)] = {"base": phases[0].base.name, "phases": kept}
        if runs:
            results["arms"][arm.name] = {
                "label": arm.label,
                "recipe": arm.phases(rates)[-1],
                "pairs": arm.pairs,
                "settings": dict(arm.settings),
                "seeds": runs,
            }
    return results


def phase_results(
    one: Training, dataset: str, seconds: Mapping[str, tuple[float, float]]
) -> Results:
    """What is kept of one phase."""
    return {
        "recipe": one.phase,
        "steps": [steps_taken(folder) for folder in one.folders],
        "planned": steps_of(one.phase),
        **times(seconds, f"train-{one.key}"),
        **columns(read_scores(one.scores(dataset))),
    }


def steps_taken(folder: Path) -> int:
    """The optimizer steps that swift took in a stage, as its last checkpoint says."""
    return max(checkpoint.step for checkpoint in checkpoints(folder))
