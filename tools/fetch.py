"""Fetch the videos of a known dataset from the Hugging Face hub.

    python -m tools.fetch lv178k_1_2m_ytb --n 1000      # into the folder that preprocess.py reads
    python -m tools.fetch lv178k_1_2m_ytb --to /big/videos

data/datasets.yaml says where a dataset's archives are. They are fetched one at a time: downloaded,
unpacked, and deleted, so that the disk holds one archive beside the videos. After an interruption
the same command goes on, in the middle of a download too. HF_ENDPOINT names another hub.
"""

import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tools.cli import add_data_root, add_dataset, new_folder, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.files import disk_errors_in_one_line, replace_atomically
from tools.store.locks import sole_writer
from tools.store.named import HubFolder, hub_folder, named_datasets
from tools.video.listing import EXTENSIONS, extension_of, find_videos

# In the folder of videos: the archive at hand, and a mark for each unpacked, all or in part.
WORK = ".fetch"
GB = 1e9


class Archives:
    """The archives of a dataset on the hub; raises UserError where the hub does not give them.

    Attributes:
        sizes: path in the repository -> bytes, in the order of the numbers in the names.
        licence: what the dataset's card names, or that it names none.
    """

    def __init__(self, source: HubFolder) -> None:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
        from huggingface_hub.hf_api import RepoFile

        self.source, self.hub = source, huggingface_hub.HfApi()
        self.errors = (HfHubHTTPError, HFValidationError, OSError)
        try:
            entries = self.hub.list_repo_tree(
                source.repository, source.folder, repo_type="dataset", expand=False
            )
            sizes = {
                entry.path: entry.size
                for entry in entries
                if isinstance(entry, RepoFile) and entry.path.endswith((".tar.gz", ".tar"))
            }
            card = self.hub.dataset_info(source.repository).card_data
        except self.errors as error:
            raise self._refused(error) from None
        if not sizes:
            raise UserError(
                f"{source.repository} at {self.hub.endpoint}: no .tar.gz or .tar in the folder"
                f" {source.folder}, which data/datasets.yaml names"
            )
        self.sizes = dict(sorted(sizes.items(), key=lambda item: _numbers(item[0])))
        self.licence = (card and card.get("license")) or "none named; read the card"

    def download(self, path: str, folder: Path) -> Path:
        """Download one archive, or what is left of it."""
        try:
            return Path(
                self.hub.hf_hub_download(
                    self.source.repository, path, repo_type="dataset", local_dir=folder
                )
            )
        except self.errors as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> UserError:
        reason = str(error).strip().splitlines()[0]
        return UserError(f"{self.source.repository} at {self.hub.endpoint}: {reason}")


def _numbers(path: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", os.path.basename(path))]


def unpack(archive: Path, folder: Path, most: int) -> int:
    """Unpack the videos of an archive, at most so many; returns how many there are now of it.

    Raises:
        UserError: the archive is damaged, or holds a path that leads out of the folder.
    """
    count = 0
    half_done = folder / WORK / "unpacking"
    try:
        with disk_errors_in_one_line(folder), tarfile.open(archive, "r|*") as members:
            for member in tqdm(members, desc=archive.name, unit="file", disable=None):
                if count == most:
                    break
                if not member.isfile() or extension_of(member.name) not in EXTENSIONS:
                    continue
                target = folder / member.name
                if not (target.exists() and target.stat().st_size == member.size):
                    members.extract(member, half_done, filter="data")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(half_done / member.name, target)
                count += 1
    except (tarfile.TarError, EOFError, zlib.error) as error:
        archive.unlink()
        raise UserError(
            f"{archive.name} is damaged ({error}), and was deleted: the same command fetches it"
            " again"
        ) from None
    finally:
        shutil.rmtree(half_done, ignore_errors=True)
    return count


def check_disk(folder: Path, sizes: Sequence[int]) -> None:
    """Raise UserError where the disk has no room for archives of these sizes in bytes, unpacked,
    and for the largest of them packed beside that; videos are compressed already."""
    needed, free = sum(sizes) + max(sizes, default=0), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder}: {free / GB:,.1f} GB free, {needed / GB:,.1f} GB needed: name another --to,"
            " or fewer videos with --n"
        )


def fetch(source: HubFolder, folder: Path, n: int | None) -> int:
    """Fetch the videos of a dataset, or its first n; returns how many are in the folder.

    Raises:
        UserError: the hub or the disk does not allow it, or another run is at it.
    """
    work = folder / WORK
    with disk_errors_in_one_line(work):
        work.mkdir(parents=True, exist_ok=True)
    with sole_writer(work / "archives"):
        archives = Archives(source)
        left = {
            path: size for path, size in archives.sizes.items() if not _mark(work, path).exists()
        }
        print(
            f"{source.repository}, {source.folder}: {len(archives.sizes)} archives,"
            f" {sum(archives.sizes.values()) / GB:,.1f} GB; licence: {archives.licence}"
            f" ({archives.hub.endpoint}/datasets/{source.repository})"
        )
        if n is None:
            check_disk(folder, list(left.values()))
        done = sum(_count(_mark(work, path)) for path in archives.sizes.keys() - left)
        for path, size in left.items():
            if n is not None and done + _count(_mark(work, path, "part")) >= n:
                break
            check_disk(folder, [size])
            archive = archives.download(path, work)
            most = -1 if n is None else n - done
            count = unpack(archive, folder, most)
            done += count
            with replace_atomically(_mark(work, path, "part" if count == most else "done")) as mark:
                mark.write(str(count).encode())
            archive.unlink()
    if not (videos := sum(1 for _ in find_videos(folder))):
        reason = f"delete {work} to fetch them again" if done else "the archives hold none"
        raise UserError(f"{folder} has no video: {reason}")
    return videos


def _mark(work: Path, path: str, how_far: str = "done") -> Path:
    """The file that says how many videos of an archive are unpacked: all it has where `how_far` is
    done, the first ones where it is part."""
    return work / f"{os.path.basename(path)}.{how_far}"


def _count(mark: Path) -> int:
    return int(mark.read_text()) if mark.exists() else 0


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch one dataset's videos."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument(
        "--to",
        type=new_folder,
        metavar="DIR",
        help="folder for the videos (default: data/<dataset>/video, which preprocess.py reads)",
    )
    parser.add_argument(
        "--n", type=positive, help="only the first N videos of the archives (default: all)"
    )
    add_data_root(parser)
    args = parser.parse_args(argv)
    folder = args.to or args.data_root / named_datasets().get(args.dataset, "")
    source = hub_folder(args.dataset)
    count = fetch(source, folder, args.n)
    where = f" --video_dir {folder}" if args.to else ""
    print(f"{count} videos in {folder}; next: python preprocess.py {args.dataset} 2{where}")


if __name__ == "__main__":
    run_script(main)
