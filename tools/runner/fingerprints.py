"""How a step's tables were made: parameters, versions and input, in `<name>.meta.json`.

A run that would add to a table with other parameters stops before it begins: nothing mixes
silently. A table that is rebuilt counts its builds, so that what was made from an earlier build is
known to be out of date, also where the parameters are the same.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import orjson

from tools.errors import UserError
from tools.runner.step import Step
from tools.store.dataset import Dataset
from tools.store.files import write_json
from tools.store.jsonl import Table
from tools.store.origin import LIBRARIES, differences, out_of_date


def fingerprint(step: Step) -> dict[str, Any]:
    """What shapes a step's output: parameters, versions and the fingerprint of what it reads."""
    document = {
        "step": step.name,
        "build": step.writes[0].meta().get("build", 1),
        "params": step.params(),
        "versions": {**step.versions(), "revision": str(step.revision)},
        "input": {step.reads.name: step.reads.meta().get("fingerprint")},
    }
    digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return {"fingerprint": digest[:16], **document}


def check_fingerprint(step: Step) -> None:
    """Stop with a UserError where the step's tables were made with other parameters; show other
    libraries.

    `sign` looks at the input's fingerprint when the step's turn has come: the step before it may
    have to write its own first.
    """
    now = fingerprint(step)
    notes = {}
    for table in step.writes:
        made = table.meta()
        if "step" not in made:
            continue
        differing = differences(made, now)
        _refuse_settings(differing, table.path.name, f"rebuild with --redo {step.name}")
        for name, (before, after) in differing.items():
            if before and after:
                notes[name] = f"was made with {name} {before}, this run has {name} {after}"
    for note in notes.values():
        print(f"note: {step.name} {note}")


def check_shards(steps: Iterable[Step], dataset: Dataset) -> None:
    """Stop with a UserError where the steps' tables of another shard were made with other
    parameters: shards are one data set. The first shard that has a table stands for all."""
    if not dataset.shard:
        return
    others = [s for s in Dataset(dataset.name, dataset.home).shards() if s != dataset]
    for step in steps:
        now = fingerprint(step)
        for table in step.writes:
            inside = table.path.relative_to(dataset.root)
            for shard in others:
                made = Table(shard.root / inside).meta()
                if "step" in made:
                    what = f"{table.path.name} of {shard.title}"
                    rebuild = f"rebuild all shards with --redo {step.name}"
                    _refuse_settings(differences(made, now), what, rebuild)
                    break


def _refuse_settings(differing: dict[str, tuple[Any, Any]], what: str, rebuild: str) -> None:
    """Raise UserError where more than libraries differ between a table and this run."""
    settings = {name: pair for name, pair in differing.items() if name not in LIBRARIES}
    if not settings:
        return
    # What nobody gave follows from what somebody did.
    given = {name: pair for name, pair in settings.items() if None not in pair} or settings
    then, this = (
        ", ".join(f"{name}={pair[side]!s:.60}" for name, pair in given.items()) for side in (0, 1)
    )
    raise UserError(
        f"{what} was made with {then}, this run has {this}: give the old"
        f" value{'s' if len(given) > 1 else ''}, or {rebuild}"
    )


def sign(step: Step) -> None:
    """Leave the fingerprint beside the step's tables; raise UserError where they were made from
    another input."""
    now = fingerprint(step)
    for table in step.writes:
        made = table.meta()
        if not made and table.exists():
            print(f"{table.path.name}: made by other scripts (no fingerprint), kept as it is")
            write_json(table.meta_path, now | {"note": "holds records made by other scripts"})
        elif "step" not in made:
            table.clear()
            write_json(table.meta_path, now)
        elif made["input"] != now["input"]:
            raise out_of_date(table, step.reads, step.name)


def forget(table: Table) -> None:
    """Delete a table's records for another build; `sign` completes what a kill leaves half done."""
    write_json(table.meta_path, {"build": table.meta().get("build", 1) + 1})
    table.clear()
