"""The video folder of a data set of questions: which file a published name means, and how long that
lasts."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from qa.readers.rows import Draft, Rejected
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import disk_errors_in_one_line
from tools.video.listing import (
    EXTENSIONS,
    OTHER_EXTENSIONS,
    Listing,
    extension_of,
    find_videos,
    list_videos,
    video_id,
)

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# What published names of videos may end in; the file may be in another container.
VIDEO_ENDINGS = EXTENSIONS | OTHER_EXTENSIONS | {".gif"}


class Videos:
    """The videos of a data set; its init.jsonl is brought up to date with the folder, as stage 1
    does it, and the folder is remembered.

    Args:
        folder: that the videos lie in; None: the one that is remembered.
        may_lack: there need be no folder; each video is missing then.
    """

    def __init__(
        self, dataset: Dataset, folder: Path | None, listing: Listing, may_lack: bool
    ) -> None:
        self.dataset = dataset
        with disk_errors_in_one_line(dataset.root):
            known = folder or dataset.video_dir()
        self.folder = Path(os.path.normpath(known.expanduser().absolute())) if known else None
        self._listing = listing
        self._may_lack = may_lack
        self._lengths: dict[str, float | None] = {}

    @cached_property
    def _ids(self) -> dict[str, str]:
        """Path of each video file, relative to the folder -> video_id."""
        if self.folder is None and self._may_lack:
            return {}
        with self.dataset.lock("init"):
            ids = {}
            # Of a folder of pictures alone stage 1 has nothing to list.
            if next(find_videos(self._root, self._listing.extensions()), None):
                ids = list_videos(self.dataset, self._root, self._listing)
            self.dataset.remember_video_dir(self._root)
        return ids

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return _stems(self._ids)

    @cached_property
    def _picture_folders(self) -> dict[str, list[str]]:
        """Last part of the path of each folder of pictures -> such paths."""
        folders = defaultdict(list)
        for path in picture_folders(self._root) if self.folder else ():
            folders[os.path.basename(path)].append(path)
        return folders

    def find(self, draft: Draft) -> tuple[str, str, str]:
        """What a draft is about: (path relative to the folder, video_id, medium).

        Raises:
            Rejected: there is no such file, or several are meant.
        """
        ids = self._ids
        names = [self._relative(name) for name in draft.videos]
        for name in names if draft.media == "video" else ():
            paths = [path for path in self._by_stem.get(_stem(name), ()) if _is_meant(path, name)]
            if paths:
                path = self._only(paths, name)
                return path, ids[path], "video"
        for name in names if "frames" in draft.context else ():
            ending = f"/{name}"
            folders = self._picture_folders.get(os.path.basename(name), ())
            if paths := [path for path in folders if f"/{path}".endswith(ending)]:
                path = self._only(paths, name)
                return path, video_id(self.dataset.name, path), "frames"
        if draft.media == "image":
            path = names[0]
            if self.folder and (self.folder / path).is_file():
                return path, video_id(self.dataset.name, path), "image"
        raise Rejected("missing_video", f"no file in the folder is {' or '.join(draft.videos)}")

    def _relative(self, name: str) -> str:
        """A published name as a path relative to the folder."""
        name = os.path.normpath(name)
        return name.removeprefix(f"{self.folder}/") if os.path.isabs(name) else name

    @property
    def _root(self) -> Path:
        if self.folder is None:
            raise UserError("these questions are about videos: name their folder with --video_dir")
        if not self.folder.is_dir():
            raise UserError(f"--video_dir {self.folder}: no such folder")
        return self.folder

    def _only(self, paths: Sequence[str], name: str) -> str:
        """The one file that is meant: the path itself, else the only one that ends so."""
        exact = [path for path in paths if name in (path, os.path.splitext(path)[0])]
        of_all = {self._ids.get(path, path) for path in paths}
        if len(exact) == 1 or len(of_all) == 1:
            return (exact or list(paths))[0]
        raise Rejected("ambiguous_video", f"{name} may be {' or '.join(paths)}")

    def length(self, path: str, fps: float | None) -> float | None:
        """Seconds that a video lasts, as its header says; of a folder of pictures (fps a second),
        as their number says. None where the header does not say.

        Raises:
            Rejected: it cannot be opened.
        """
        from tools.video.decode import VideoError, length_in_header

        if path not in self._lengths:
            try:
                self._lengths[path] = (
                    _count_pictures(self._root / path) / fps
                    if fps
                    else length_in_header(self._root / path)
                )
            except VideoError as error:
                raise Rejected("unreadable_video", f"{path}: {error}") from None
        return self._lengths[path]


def _stem(name: str) -> str:
    """The last part of a path, without the extension of a video."""
    base = os.path.basename(name)
    return os.path.splitext(base)[0] if extension_of(base) in VIDEO_ENDINGS else base


def _stems(names: dict[str, str]) -> dict[str, list[str]]:
    by_stem = defaultdict(list)
    for name in names:
        by_stem[_stem(name)].append(name)
    return by_stem


def _is_meant(path: str, name: str) -> bool:
    """Whether a path is a published name, or ends in it; the container may be another one."""
    if extension_of(name) in VIDEO_ENDINGS:
        if f"/{path}".endswith(f"/{name}"):
            return True
        name = os.path.splitext(name)[0]
    return f"/{os.path.splitext(path)[0]}".endswith(f"/{name}")


def picture_folders(folder: Path, prefix: str = "") -> Iterator[str]:
    """Yield the paths of the folders under `folder` that begin with pictures, relative to it. What
    lies in them is not looked at further: each may hold thousands of files."""
    deeper = []
    with os.scandir(folder / prefix) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if extension_of(entry.name) in PICTURES:
                if prefix:
                    yield prefix
                return
            if entry.is_dir():
                deeper.append(entry.name)
    for name in sorted(deeper):
        yield from picture_folders(folder, f"{prefix}/{name}" if prefix else name)


def _count_pictures(folder: Path) -> int:
    return sum(extension_of(name) in PICTURES for name in os.listdir(folder))
