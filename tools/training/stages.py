"""A stage of training as it stands on disk: how far it has come, and what it was made with.

Its folder holds what swift writes, v<k>-<time>/checkpoint-<n>, the merged model beside its
checkpoint as checkpoint-<n>-merged, and stage.json. A checkpoint counts once its
trainer_state.json, which is written last, is whole.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from tools.errors import UserError
from tools.store.files import read_json, write_json

VERSION_FOLDER = re.compile(r"v(\d+)-.*")
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
MERGED = "-merged"


@dataclass(frozen=True)
class State:
    """How far a stage has come.

    Attributes:
        kind: new (nothing to go on from), partial (`path` is the checkpoint to go on from),
            trained (`path` is the last checkpoint), merged (`path` is the merged model).
        path: None for new.
    """

    kind: Literal["new", "partial", "trained", "merged"]
    path: Path | None = None


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A whole checkpoint; the later one is the larger."""

    finished: bool
    step: int
    version: int
    path: Path


def version_folders(folder: Path) -> list[Path]:
    """The runs of swift in a stage's folder, v0-<time>, v1-<time>, ..., in their order."""
    numbered = [
        (int(found[1]), path)
        for path in folder.glob("v*-*")
        if (found := VERSION_FOLDER.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(numbered)]


def checkpoints(folder: Path) -> Iterator[Checkpoint]:
    """The whole checkpoints of a stage."""
    for version, run in enumerate(version_folders(folder)):
        for path in run.iterdir():
            number = CHECKPOINT.fullmatch(path.name)
            if not number:
                continue
            try:
                state = orjson.loads((path / "trainer_state.json").read_bytes())
                finished = state["global_step"] >= state["max_steps"]
            except (OSError, ValueError, KeyError):
                continue
            yield Checkpoint(finished, int(number[1]), version, path)


def find_state(folder: Path) -> State:
    """How far the stage in this folder has come."""
    found = sorted(checkpoints(folder))
    unfinished = {checkpoint.path for checkpoint in found if not checkpoint.finished}
    merged = [
        path
        for run in version_folders(folder)
        for path in run.glob(f"checkpoint-*{MERGED}")
        # A model that somebody merged in the middle of training is not the stage's.
        if path.with_name(path.name.removesuffix(MERGED)) not in unfinished
    ]
    if merged:
        return State("merged", merged[-1])
    if not found:
        return State("new")
    return State("trained" if found[-1].finished else "partial", found[-1].path)


def digest(path: Path) -> str | None:
    """SHA-256 of a file in hexadecimal; None if it is not there."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def check_made_with(folder: Path, settings: dict[str, str], rows: Path) -> None:
    """Was the work in this folder made with these settings, on these rows?

    Raises:
        UserError: it was not; the line names what differs.
    """
    known = (read_json(folder / "stage.json") or {}).get("made_with")
    if not known:
        return
    differing = [
        f"{key}={known['settings'].get(key)!r}, now {settings.get(key)!r}"
        for key in {**known["settings"], **settings}
        if known["settings"].get(key) != settings.get(key)
    ]
    now = digest(rows)
    if known["rows"] != rows.name:
        differing.append(f"rows {known['rows']}, now {rows.name}")
    elif now and known["sha256"] != now:
        differing.append(f"other content of {rows}")
    if differing:
        raise UserError(
            f"{folder} was trained with {'; '.join(differing)}: name another GROUP, or move that"
            " folder away"
        )


def note(folder: Path, **fields: Any) -> None:
    """Add fields to what stage.json says."""
    path = folder / "stage.json"
    write_json(path, {**(read_json(path) or {"name": folder.name}), **fields})


def note_run(
    folder: Path,
    rows: Path,
    settings: dict[str, str],
    machine: dict[str, str],
    command: list[str],
) -> None:
    """Write down that a run begins, and with what."""
    runs = (read_json(folder / "stage.json") or {}).get("runs", [])
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    note(
        folder,
        made_with={"settings": settings, "rows": rows.name, "sha256": digest(rows)},
        runs=[*runs, {"started": started, "with": machine, "command": command}],
    )
