"""The videos of a folder, and their ids: the step `init`."""

import hashlib
import os
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

from tools.cli import setting
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.video.recognition import (
    content,
    is_gone,
    mark_gone,
    note_contents,
    noted_contents,
    owners_by_content,
    read_listing,
    write_contents,
    write_listing,
)

EXTENSIONS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".ts"}
# Of files that are videos too, which --more_extensions includes.
OTHER_EXTENSIONS = {
    *(".mpg", ".mpeg", ".m2v", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".mts", ".m2ts"),
    *(".vob", ".ogv", ".ogm", ".mxf", ".divx", ".rm", ".rmvb"),
}


@dataclass(frozen=True)
class Listing:
    """Which files of the folder are listed."""

    more_extensions: list[str] | None = setting(
        None,
        "extensions of video files besides mp4 mkv webm mov avi m4v ts, such as mpg wmv (default:"
        " none)",
        nargs="+",
        metavar="EXT",
        group="which files are listed",
    )
    find_copies: bool = setting(
        False,
        "compare files of equal size by their content, and list copies once (default: only links to"
        " one file are found)",
    )

    def extensions(self) -> set[str]:
        """Those of the files that are listed, in lower case, with the dot."""
        return EXTENSIONS | {f".{name.lower().lstrip('.')}" for name in self.more_extensions or ()}


def find_videos(
    folder: Path,
    extensions: Collection[str] = EXTENSIONS,
    prefix: str = "",
    above: tuple[str, ...] = (),
) -> Iterator[str]:
    """Yield the paths of all files under `folder` that have one of the extensions, relative to it,
    sorted a folder at a time.

    Symlinks are followed, to folders too, except to one that leads back into itself. Hidden files
    and folders are skipped, and so are folders that cannot be read.

    Args:
        prefix, above: of a subfolder, what its paths begin with, and the folders that it is in.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = sorted(os.scandir(folder), key=attrgetter("name"))
    except OSError as error:
        print(f"init: skipped folder {shown(str(folder))}: {error.strerror}")
        return
    for entry in entries:
        if (name := entry.name).startswith("."):
            continue
        # Of a symlink that leads to itself, the entry's own is_dir() raises an error.
        if not entry.is_file(follow_symlinks=False) and os.path.isdir(entry):
            deeper = f"{prefix}{name}/", (*above, real)
            yield from find_videos(folder / name, extensions, *deeper)
        elif extension_of(name) in extensions:
            yield prefix + name


def extension_of(name: str) -> str:
    """The extension of a file's name, in lower case, with its dot."""
    _, dot, letters = name.rpartition(".")
    return dot + letters.lower() if dot else ""


def shown(name: str) -> str:
    """A path for people: bytes that are not UTF-8 as backslash escapes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def video_id(ids: str, name: str) -> str:
    """`<ids>_` (`Dataset.ids`) and the hash of the path relative to the folder."""
    return f"{ids}_{hash_of_name(name)}"


def hash_of_name(name: str) -> str:
    """The first 12 hex digits of the SHA-1 of a path."""
    return hashlib.sha1(os.fsencode(name)).hexdigest()[:12]


def list_videos(dataset: Dataset, folder: Path, listing: Listing = Listing()) -> dict[str, str]:
    """Bring init.jsonl up to date with the folder: what is listed keeps its id, new videos follow.

    A file that is there under several names is listed once. A file that was renamed or moved within
    the folder keeps its record; a video that is gone is filtered until it is back. A name that is
    not UTF-8 has no place in JSON: it goes to init.failed.jsonl.

    Returns:
        The video_id of each file, by its path relative to the folder, also of one that is listed
        under another name.

    Raises:
        UserError: there is no such folder, its path is not UTF-8, no video is in it, or two videos
            share an id or a name.
    """
    if not folder.is_dir():
        raise UserError(
            f"video folder {folder}: no such folder; name one with --video_dir, or say where it has"
            f" gone: python -m tools.relocate {dataset.name} {folder} NEW"
        )
    if shown(str(folder)) != str(folder):
        raise UserError(f"video folder {shown(str(folder))}: its path is not UTF-8: rename it")
    known = {record["video_id"]: record for record in read_listing(dataset)}
    ids = dataset.ids
    above = os.path.join(folder, "")
    find = _finder(dataset, above, known.values())
    new = moved = 0
    failed = []
    names = list(find_videos(folder, listing.extensions() | OTHER_EXTENSIONS))
    skipped = Counter(map(extension_of, names))
    for extension in listing.extensions():
        del skipped[extension]
    names = [name for name in names if extension_of(name) not in skipped]
    records = {name: find(name) for name in names}
    listed = {name for name in names if records[name]}
    same = same_files(folder, names, listed, listing.find_copies)
    noted = noted_contents(dataset)
    on_disk = {record["video_id"] for record in records.values() if record}
    owned = {above + name: record for name, record in records.items() if record}
    lost = {
        key: record
        for key, record in known.items()
        if key not in on_disk
        and (record["video_path"] in owned or not os.path.lexists(record["video_path"]))
    }
    strangers = [
        above + name
        for name in names
        if not records[name] and name not in same and shown(name) == name
    ]
    renamed, rewritten = owners_by_content(noted, owned, lost, strangers)
    records |= {path.removeprefix(above): owner for path, owner in renamed.items()}
    # Listed videos come first, so that their new paths are known where a new one wants their id.
    for name in sorted(names, key=lambda name: records[name] is None):
        key, path = video_id(ids, name), above + name
        record = records[name]
        if shown(name) != name:
            error = f"VideoError: name is not UTF-8: rename {shown(name)}"
            failed.append({"video_id": key, "step": "init", "error": error, "attempts": 1})
        elif record:
            if record["video_path"] != path:
                if path not in renamed:
                    _refuse_another_video(record["video_path"], path)
                record["video_path"], moved = path, moved + 1
        elif name in same:
            continue
        elif key in known:
            raise UserError(
                f"{path} would get the id of {known[key]['video_path']}, {key}: rename one of them"
            )
        else:
            record = {"video_id": key, "video_path": path, "video_name": name, "filtered": False}
            known[key], records[name], new = record, record, new + 1
    of_others = skipped_line(skipped)
    if not known:
        kinds = " ".join(sorted(extension[1:] for extension in listing.extensions()))
        unusable = f" but {len(failed)} whose names are not UTF-8" if failed else ""
        hint = f"; {of_others}" if of_others else ""
        raise UserError(f"video folder {folder}: no video in it{unusable} ({kinds}){hint}")
    present = {record["video_id"] for record in records.values() if record}
    gone = mark_gone(known.values(), present)
    write_listing(dataset, known.values(), failed, gone)
    for path, owner in rewritten.items():
        with suppress(OSError):
            noted[owner["video_id"]] = content(path)
    if rewritten:
        write_contents(dataset, noted)
    note_contents(dataset, noted, known.values())
    print(f"init: {len(known)} videos, {new} of them new, in {folder}")
    if moved:
        print(f"init: {moved} videos have moved; what was made from them stays valid")
    for path, owner in islice(((path, owner) for path, owner in renamed.items() if owner), 3):
        print(f"init: {path} is {owner['video_name']}, by its content; it keeps its id")
    if rewritten:
        print(
            f"init: {len(rewritten)} files have other content than before, such as"
            f" {next(iter(rewritten))}; they keep their ids, but what was made from them"
            f" is of the old content: python preprocess.py {dataset.name} 1 --redo scene makes it"
            " again"
        )
    if gone:
        print(
            f"init: {len(gone)} of them gone, such as {gone[0]['video_path']}; what was made from"
            " them is kept, and does not count until they are back; if they are elsewhere: python"
            f" -m tools.relocate {dataset.name} OLD NEW"
        )
        if unknown := sum(record["video_id"] not in noted for record in gone):
            files = dataset.shard_of(gone[0]["video_id"]).table("files").path
            print(
                f"init: {unknown} of those cannot be recognised under a new name: {files} does not"
                " have their content"
            )
    if failed:
        where = dataset.shard_of(str(failed[0]["video_id"])).table("init").failed.path
        print(f"init: {len(failed)} failed: their names are not UTF-8 ({where})")
    if of_others:
        print(f"init: {of_others}")
    if same:
        name, own = next(iter(same.items()))
        stay = len(same.keys() & listed)
        print(
            f"init: {len(same) - stay} files left out, because they are listed under another name,"
            f" such as {shown(name)}, which is {shown(own)}"
            + (f"; {stay} more were listed before and stay" if stay else "")
        )
    by_name = {name: records[name] or records[same.get(name, name)] for name in names}
    return {name: record["video_id"] for name, record in by_name.items() if record}


def skipped_line(extensions: Counter[str]) -> str:
    """What to say of files with other extensions: how many there are, and what includes them."""
    if not extensions:
        return ""
    kinds = ", ".join(f"{count} {extension}" for extension, count in sorted(extensions.items()))
    flag = " ".join(extension[1:] for extension in sorted(extensions))
    return f"{kinds} skipped; --more_extensions {flag} includes them"


def same_files(
    folder: Path, names: Iterable[str], listed: Collection[str], find_copies: bool
) -> dict[str, str]:
    """name -> another name of the same file, of all names but one for each file: the one that is
    listed already, else the first that is no link.

    Args:
        names: relative to the folder.
        find_copies: files of the same content are the same, too.
    """
    groups: dict[Any, list[str]] = defaultdict(list)
    sizes: dict[Any, int] = {}
    for name in names:
        with suppress(OSError):  # a link that leads nowhere
            info = os.stat(folder / name)
            groups[info.st_dev, info.st_ino].append(name)
            if info.st_size and stat.S_ISREG(info.st_mode):
                sizes[info.st_dev, info.st_ino] = info.st_size
    if find_copies:
        repeated = {size for size, count in Counter(sizes.values()).items() if count > 1}
        for key in [key for key, size in sizes.items() if size in repeated]:
            with suppress(OSError), open(folder / groups[key][0], "rb") as file:
                groups[hashlib.file_digest(file, "sha256").digest()] += groups.pop(key)
    real = os.path.realpath(folder)

    def rank(name: str) -> tuple[bool, bool, bool]:
        is_link = os.path.realpath(folder / name) != os.path.join(real, name)
        return shown(name) != name, name not in listed, is_link

    same: dict[str, str] = {}
    for group in groups.values():
        if len(group) > 1:
            own = min(group, key=rank)
            same |= {name: own for name in group if name != own}
    return same


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
    ids = dataset.ids
    # Another video may have taken the path of one that is gone.
    for record in sorted(records, key=is_gone):
        path, name = str(record["video_path"]), str(record["video_name"])
        if path.startswith(above):
            by_name.setdefault(path.removeprefix(above), record)
        elif record["video_id"] == video_id(ids, name):
            by_name.setdefault(name, record)
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
