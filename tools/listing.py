"""The videos of a folder, and their ids: the step `init`."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from tools.dataset import Dataset
from tools.errors import UserError
from tools.jsonl import Record

EXTENSIONS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".ts"}


def find_videos(folder: Path) -> Iterator[str]:
    """Yield the paths of all video files under `folder`, relative to it, sorted a folder at a time.

    Symlinks are followed, to folders too, except to one that leads back into itself. Hidden files
    and folders are passed over, and so are folders that cannot be read.
    """
    yield from _walk(folder, "", ())


def _walk(folder: Path, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        print(f"init: folder {folder} passed over: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from _walk(folder / entry.name, f"{prefix}{entry.name}/", (*above, real))
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield prefix + entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A symlink that leads to itself.
        return False


def video_id(dataset: str, name: str) -> str:
    """`<dataset>_` and the first 12 hex digits of the SHA-1 of the path relative to the folder."""
    return f"{dataset}_{hashlib.sha1(os.fsencode(name)).hexdigest()[:12]}"


def list_videos(dataset: Dataset, folder: Path) -> None:
    """Bring init.jsonl up to date with the folder: what is listed keeps its id, new videos follow.

    Raises:
        UserError: there is no such folder, no video in it, or two videos share an id.
    """
    if not folder.is_dir():
        raise UserError(f"video folder {folder}: no such folder; name one with --video_dir")
    table = dataset.table("init")
    known: dict[str, Record] = {}
    by_name: dict[str, Record] = {}
    for record in table.read():
        known[record["video_id"]] = record
        by_name[_name(record, folder)] = record
    changed = not table.exists() or bool(table.parts())
    new, skipped = 0, 0
    for name in find_videos(folder):
        try:
            name.encode()
        except UnicodeEncodeError:
            skipped += 1
            continue
        path = str(folder / name)
        if name in by_name:
            changed = changed or by_name[name]["video_path"] != path
            by_name[name]["video_path"] = path
            continue
        key = video_id(dataset.name, name)
        known[key] = {"video_id": key, "video_path": path, "video_name": name, "filtered": False}
        new, changed = new + 1, True
    if not known:
        kinds = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        raise UserError(f"video folder {folder}: no video in it ({kinds})")
    if changed:
        table.write(known.values())
        for part in table.parts():
            part.unlink()
    print(f"init: {len(known)} videos, {new} of them new, in {folder}")
    if skipped:
        print(f"init: {skipped} files passed over whose names are not UTF-8: rename them")


def _name(record: Record, folder: Path) -> str:
    """A listed video's path relative to the folder, also when the folder has moved since."""
    path = Path(record["video_path"])
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return str(record["video_name"])
