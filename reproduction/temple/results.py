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
VERSIONS = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
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
        "versions": VERSIONS,
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
                "seeds": runs,
            }
    return results


def standing(known: Results, workspace: Workspace, rates: Rates) -> dict[str, Results]:
    """Arm -> its entry in results that were written before, of those arms that would be trained in
    the same way now: with the same stories, libraries, bases, recipe and settings."""
    made_with = {
        "stories": {name: asdict(own) for name, own in STORIES.items()},
        "versions": VERSIONS,
    }
    trained = {base.name: read_json(base.folder / TRAINED) for base in workspace.bases}
    if any(known.get(key) != value for key, value in made_with.items()):
        return {}
    if any(trained.get(name) != base["trained"] for name, base in known["bases"].items()):
        return {}
    return {
        arm.name: entry
        for arm in arms().values()
        if (entry := known["arms"].get(arm.name))
        and {*arm.rates} <= {*rates}
        and entry["recipe"] == arm.phases(rates)[-1]
        and (entry["pairs"], entry["settings"]) == (arm.pairs, arm.settings)
    }


def with_standing(results: Results, known: Results, kept: dict[str, Results]) -> Results:
    """Results, and beside them those arms and seeds of the results that were written before which
    `standing` has let through, where they were asked the same questions."""
    if known.get("asked") != results["asked"]:
        return results
    every = {**kept, **results["arms"]}
    for name, entry in kept.items():
        every[name] = {**entry, "seeds": {**entry["seeds"], **every[name]["seeds"]}}
    preparation = {**known["preparation"], **results["preparation"]}
    in_order = {name: every[name] for name in arms() if name in every}
    return {**results, "preparation": preparation, "arms": in_order}


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
