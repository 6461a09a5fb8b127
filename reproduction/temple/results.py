"""TEMPLE's results, collected from what was trained and scored."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evaluation.scores import read_scores
from reproduction.jobs import NO_TIME, job_seconds
from reproduction.results import Results, columns, machine, questions_of
from reproduction.temple.arms import Arm, Rates, arms, steps_of
from reproduction.temple.stories import STORIES
from reproduction.temple.trainings import Workspace, is_scored, phases_of
from reproduction.toyvl import TRAINED
from tools.store.files import read_json
from tools.training.recipe import parse
from tools.training.report import read_log
from tools.training.stages import checkpoints, read_note

PACKAGES = ("torch", "transformers", "ms-swift", "trl", "peft")
MADE_ON = ("machine", "versions")  # of results, and of each arm's entry
PREPARATION = ("render-", "shots-", "pairs-", "order-")  # how the names of such jobs begin


def collect(
    workspace: Workspace, chosen: Iterable[Arm], seeds: Sequence[int], rates: Rates, dataset: str
) -> Results:
    """Read what is there of some arms and seeds; a seed of an arm is there once all of it is."""
    seconds = job_seconds(workspace.logs)
    stories = workspace.data / dataset
    results: Results = {
        "stories": {name: asdict(settings) for name, settings in STORIES.items()},
        "rates": dict(rates),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "preparation": {job: seconds[job] for job in seconds if job.startswith(PREPARATION)},
        "asked": {},
        "bases": {},
        "arms": {},
    }
    for base in workspace.bases:
        path = workspace.base_scores(base, dataset)
        if is_scored(path, base.folder, stories):
            scores = read_scores(path)
            results["asked"] = questions_of(scores)
            trained = read_json(base.folder / TRAINED)
            results["bases"][base.name] = {"seed": base.seed, "trained": trained, **columns(scores)}
    for arm in chosen:
        if not {*arm.rates} <= {*rates}:
            continue
        runs = {}
        for seed in seeds:
            phases = phases_of(workspace, arm, seed, rates)
            if not all(
                phase.trained() and is_scored(phase.scores(dataset), phase.model(), stories)
                for phase in phases
            ):
                continue
            kept = [
                {
                    "recipe": phase.recipe,
                    "steps": [max(c.step for c in checkpoints(path)) for path in phase.folders],
                    "planned": steps_of(phase.recipe),
                    "log_p": [log_p for path in phase.folders if (log_p := log_p_of(path))],
                    **seconds.get(f"train-{phase.key}", NO_TIME),
                    **columns(read_scores(phase.scores(dataset))),
                }
                for phase in phases
            ]
            runs[str(seed)] = {"base": phases[0].base.name, "phases": kept}
        if runs:
            results["arms"][arm.name] = {
                "label": arm.label,
                "recipe": arm.phases(rates)[-1],
                "pairs": arm.pairs,
                "settings": dict(arm.settings),
                **{key: results[key] for key in MADE_ON},
                "seeds": runs,
            }
    return results


def still_valid(known: Results, workspace: Workspace, rates: Rates) -> dict[str, Results]:
    """Arm -> its entry in results that were written before, of those arms that would be trained in
    the same way now: stories, bases, recipe, steps and settings are the same. Versions of libraries
    and the machine are noted in each entry."""
    if known.get("stories") != {name: asdict(stories) for name, stories in STORIES.items()}:
        return {}
    trained = {base.name: read_json(base.folder / TRAINED) for base in workspace.bases}
    if any(trained.get(name) != base["trained"] for name, base in known["bases"].items()):
        return {}
    made_on = {key: known[key] for key in MADE_ON}
    return {
        arm.name: {**made_on, **entry}
        for arm in arms().values()
        if (entry := known["arms"].get(arm.name))
        and {*arm.rates} <= {*rates}
        and _is_of(entry, arm, rates)
    }


def _is_of(entry: Results, arm: Arm, rates: Rates) -> bool:
    phases = arm.phases(rates)
    same = (entry["recipe"], entry["pairs"]) == (phases[-1], arm.pairs)
    same &= entry["settings"] == arm.settings
    planned = [steps_of(phase) for phase in phases]
    runs = entry["seeds"].values()
    return same and all([p["planned"] for p in run["phases"]] == planned for run in runs)


def merged(results: Results, known: Results, valid: dict[str, Results]) -> Results:
    """Results, and beside them those arms, seeds and bases that were written before and that
    `still_valid` has let through; nothing of these where they were asked other questions."""
    if known.get("asked") != results["asked"]:
        return results
    entries = {**valid, **results["arms"]}
    for name, entry in valid.items():
        entries[name] = {**entries[name], "seeds": {**entry["seeds"], **entries[name]["seeds"]}}
    return {
        **results,
        "preparation": {**known["preparation"], **results["preparation"]},
        "bases": {**known["bases"], **results["bases"]},
        "arms": {name: entries[name] for name in arms() if name in entries},
    }


def log_p_of(folder: Path) -> dict[str, Any]:
    """By how much a stage has changed the log p of both sides of its pairs since its start, in the
    mean of its last tenth; nothing of a stage that has not learned from pairs with a reference.

    The rewards that swift logs are beta times that change, of the very pairs of a step; its `logps`
    at the beginning and at the end are those of other pairs. IPO's are of a token, DPO's of an
    answer.
    """
    settings = read_note(folder).get("made_with", {}).get("settings", {})
    log = read_log(folder)
    changes = {side: log.last(f"rewards/{side}") for side in ("chosen", "rejected")}
    if parse(folder.name).stages[-1].kind != "dpo" or not log.numbers("rewards/chosen"):
        return {}
    beta = float(settings["BETA"])
    log_p = {side: change / beta for side, change in changes.items() if change is not None}
    return {"stage": log.label, "loss": settings["LOSS_TYPE"], **log_p}
