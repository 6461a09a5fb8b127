"""A stage of training as it stands on disk: how far it has come, and what it was made with.

tools/training/chain.py describes its folder. A checkpoint counts once its trainer_state.json, which
is written last, is whole.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from tools.errors import UserError
from tools.store.files import read_json, write_json

MERGED = "-merged"


class State(NamedTuple):
    """How far a stage has come."""

    kind: Literal["new", "partial", "trained", "merged"]
    # The checkpoint to go on from (partial), the last one (trained), or the merged model.
    path: Path | None = None


class Checkpoint(NamedTuple):
    """A whole checkpoint."""

    finished: bool
    step: int
    path: Path


def version_folders(folder: Path) -> list[Path]:
    """The runs of swift in a stage's folder, v0-<time>, v1-<time>, ..., in their order."""
    return sorted(folder.glob("v[0-9]*-*/"), key=lambda path: int(path.name[1:].split("-")[0]))


def checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """The whole checkpoints of a stage, run by run."""
    for run in version_folders(folder):
        for path in run.glob("checkpoint-*"):
            with suppress(OSError, ValueError, KeyError):  # torn, or a merged model
                step = int(path.name.removeprefix("checkpoint-"))
                state = orjson.loads((path / "trainer_state.json").read_bytes())
                yield Checkpoint(state["global_step"] >= state["max_steps"], step, path)


def find_state(folder: Path) -> State:
    """How far the stage in this folder has come."""
    whole = sorted(checkpoints(folder), key=lambda checkpoint: checkpoint[:2])  # later runs last
    unfinished = {checkpoint.path for checkpoint in whole if not checkpoint.finished}
    merged = [
        path
        for run in version_folders(folder)
        for path in run.glob(f"checkpoint-*{MERGED}")
        # A model that somebody merged in the middle of training is not the stage's.
        if path.with_name(path.name.removesuffix(MERGED)) not in unfinished
    ]
    if merged:
        return State("merged", merged[-1])
    if not whole:
        return State("new")
    return State("trained" if whole[-1].finished else "partial", whole[-1].path)


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None if it is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def read_note(folder: Path) -> dict[str, Any]:
    """What stage.json says; nothing where there is none yet."""
    return read_json(folder / "stage.json") or {}


def note(folder: Path, **fields: Any) -> None:
    """Add fields to what stage.json says."""
    write_json(folder / "stage.json", {"name": folder.name, **read_note(folder), **fields})


def check_made_with(folder: Path, settings: dict[str, str], rows: Path) -> None:
    """Raise a UserError that names what differs if a stage was made with other settings or rows."""
    made_with = read_note(folder).get("made_with")
    if not made_with:
        return
    before = made_with["settings"]
    differing = [
        f"{key}={before.get(key)!r}, now {settings.get(key)!r}"
        for key in {**before, **settings}
        if before.get(key) != settings.get(key)
    ]
    if made_with["rows"] != rows.name:
        differing.append(f"rows {made_with['rows']}, now {rows.name}")
    elif digest(rows) not in (None, made_with["sha256"]):
        differing.append(f"other content of {rows}")
    if differing:
        raise UserError(
            f"{folder} was trained with {'; '.join(differing)}: name another GROUP, or move that"
            " folder away"
        )


def note_run(
    folder: Path, rows: Path, settings: dict[str, str], machine: dict[str, str], command: list[str]
) -> None:
    """Note in stage.json that a run begins, and with what."""
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    run = {"started": started, "with": machine, "command": command}
    note(
        folder,
        made_with={"settings": settings, "rows": rows.name, "sha256": digest(rows)},
        runs=[*read_note(folder).get("runs", []), run],
    )
