"""The videos of a folder, and their ids: the step `init`."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import Record

EXTENSIONS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".ts"}


def find_videos(folder: Path, prefix: str = "", above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the paths of all video files under `folder`, relative to it, sorted a folder at a time.

    Symlinks are followed, to folders too, except to one that leads back into itself. Hidden files
    and folders are skipped, and so are folders that cannot be read.

    Args:
        prefix, above: of a subfolder, what its paths begin with, and the folders that it is in.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        print(f"init: skipped folder {shown(str(folder))}: {error.strerror}")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        # Of a symlink that leads to itself, the entry's own is_dir() raises an error.
        if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
            yield from find_videos(folder / entry.name, f"{prefix}{entry.name}/", (*above, real))
        elif os.path.splitext(entry.name)[1].lower() in EXTENSIONS:
            yield prefix + entry.name


def shown(name: str) -> str:
    """A path for people: bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def video_id(dataset: str, name: str) -> str:
    """`<dataset>_` and the first 12 hex digits of the SHA-1 of the path relative to the folder."""
    return f"{dataset}_{hashlib.sha1(os.fsencode(name)).hexdigest()[:12]}"


def list_videos(dataset: Dataset, folder: Path) -> None:
    """Bring init.jsonl up to date with the folder: what is listed keeps its id, new videos follow.

    A name that is not UTF-8 has no place in JSON: it goes to init.failed.jsonl.

    Raises:
        UserError: there is no such folder, its path is not UTF-8, no video is in it, or two videos
            share an id or a name.
    """
    if not folder.is_dir():
        raise UserError(f"video folder {folder}: no such folder; name one with --video_dir")
    if shown(str(folder)) != str(folder):
        raise UserError(f"video folder {shown(str(folder))}: its path is not UTF-8: rename it")
    table = dataset.table("init")
    known = {record["video_id"]: record for record in table.read()}
    above = os.path.join(folder, "")
    find = _finder(dataset, above, known.values())
    changed = not table.exists() or bool(table.parts())
    new = moved = 0
    failed = []
    for name in find_videos(folder):
        key, path = video_id(dataset.name, name), above + name
        if shown(name) != name:
            error = f"VideoError: name is not UTF-8: rename {shown(name)}"
            failed.append({"video_id": key, "step": "init", "error": error, "attempts": 1})
        elif record := find(name):
            if record["video_path"] != path:
                _refuse_another_video(record["video_path"], path)
                record["video_path"], moved = path, moved + 1
        elif key in known:
            raise UserError(
                f"{path} would get the id of {known[key]['video_path']}, {key}: rename one of them"
            )
        else:
            record = {"video_id": key, "video_path": path, "video_name": name, "filtered": False}
            known[key], new = record, new + 1
    table.failed.write(failed)
    if not known:
        kinds = " ".join(sorted(extension[1:] for extension in EXTENSIONS))
        unusable = f" but {len(failed)} whose names are not UTF-8" if failed else ""
        raise UserError(f"video folder {folder}: no video in it{unusable} ({kinds})")
    if changed or new or moved:
        table.write(known.values())
        for part in table.parts():
            part.unlink()
    print(f"init: {len(known)} videos, {new} of them new, in {folder}")
    if moved:
        print(f"init: {moved} videos have moved; what was made from them stays valid")
    if failed:
        print(f"init: {len(failed)} failed: their names are not UTF-8 ({table.failed.path})")


def _refuse_another_video(old: str, new: str) -> None:
    """A file may take over a record only if the one listed is gone, or is the same file."""
    if os.path.exists(old) and os.path.exists(new) and not os.path.samefile(old, new):
        raise UserError(
            f"{new} has the name of {old}, which is listed and still there: two folders that hold"
            " the same names are two datasets"
        )


def _finder(
    dataset: Dataset, above: str, records: Iterable[Record]
) -> Callable[[str], Record | None]:
    """A function that finds the record of a file, by its path relative to the folder `above`.

    Names count, also after the folder has moved. The reference numbers videos, and its names and
    paths need not start at the folder: there the end of the path counts.
    """
    by_name: dict[str, Record] = {}
    numbered: dict[str, list[Record]] = {}
    for record in records:
        path, name = str(record["video_path"]), str(record["video_name"])
        if path.startswith(above):
            by_name[path.removeprefix(above)] = record
        elif record["video_id"] == video_id(dataset.name, name):
            by_name[name] = record
        else:
            numbered.setdefault(os.path.basename(path), []).append(record)

    def find(name: str) -> Record | None:
        if name in by_name:
            return by_name[name]
        same_file = numbered.get(os.path.basename(name), [])
        for record in same_file:
            if f"/{record['video_path']}".endswith(f"/{name}"):
                same_file.remove(record)
                return record
        return None

    return find
