"""Say that the videos of a dataset are in another folder now.

    python -m tools.relocate mine /old/videos /new/videos

All stages look a video up in init.jsonl. Paths there that begin with the folder OLD begin with NEW
from now on, and so does the folder that preprocess.py remembers. What was made of the videos stays
valid, whichever stage made it: no fingerprint holds a path.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tools.cli import add_data_root, add_dataset, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record
from tools.video.recognition import is_gone, mark_gone, read_listing, write_listing


def relocate(dataset: Dataset, old: Path, new: Path) -> None:
    """Change the paths of a dataset's videos, and print how many there were. A video that is listed
    under its new path already keeps the id that it had under the old one.

    Args:
        old, new: absolute; a folder, or a single video, which may also go to a folder.

    Raises:
        UserError: no video of the dataset was in `old`, or none of them is in `new`.
    """
    if not new.exists():
        raise UserError(f"{new}: no such folder or file")
    records = list(read_listing(dataset))
    if new.is_dir() and any(Path(record["video_path"]) == old for record in records):
        new /= old.name

    def moves(path: Path) -> bool:
        # A second run of the same command finds in a subfolder what the first one moved there.
        moved_before = new.is_relative_to(old) and path.is_relative_to(new)
        return path.is_relative_to(old) and not moved_before

    moved = set()
    for record in records:
        path = Path(record["video_path"])
        if moves(path):
            record["video_path"] = os.path.normpath(new / path.relative_to(old))
            moved.add(record["video_id"])
    if not moved:
        example = f"; one is {records[0]['video_path']}" if records else ""
        outside = f" outside {new}" if new.is_relative_to(old) else ""
        raise UserError(f"{dataset.name} has no video in {old}{outside}{example}")
    paths = [record["video_path"] for record in records if record["video_id"] in moved]
    if not any(map(os.path.isfile, paths)):
        raise UserError(
            f"{new}: no video of {dataset.name} would be there, such as {paths[0]}; nothing was"
            " changed"
        )
    owners: dict[str, Record] = {}
    for record in sorted(
        records, key=lambda record: (record["video_id"] not in moved, is_gone(record))
    ):
        owners.setdefault(record["video_path"], record)
    present = {owner["video_id"] for path, owner in owners.items() if os.path.isfile(path)}
    gone = mark_gone(records, present)
    failed = [
        failure
        for shard in dataset.shards()
        for failure in shard.table("init").failed.read().values()
    ]
    write_listing(dataset, records, failed, gone)
    if folder := dataset.video_dir():
        folder = Path(os.path.abspath(folder))  # of datasets.yaml: relative to the data root
        if moves(folder):
            dataset.remember_video_dir(new / folder.relative_to(old))
    print(f"{len(moved)} of {len(records)} videos of {dataset.name} are in {new} now")
    twice = [record for record in gone if os.path.isfile(record["video_path"])]
    absent = [record for record in gone if not os.path.isfile(record["video_path"])]
    if absent:
        print(f"note: {len(absent)} are not there, such as {absent[0]['video_path']}")
    if twice:
        path, former = twice[0]["video_path"], twice[0]["video_id"]
        print(
            f"note: {len(twice)} count as gone, since another video has their path, such as {path}:"
            f" it is {owners[path]['video_id']}, not {former}"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Change the paths of one dataset's videos."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("old", type=Path, metavar="OLD", help="where the videos were")
    parser.add_argument("new", type=Path, metavar="NEW", help="where they are now")
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root, whole=True)
    old, new = (
        Path(os.path.normpath(path.expanduser().absolute())) for path in (args.old, args.new)
    )
    with dataset.lock("init"):
        relocate(dataset, old, new)


if __name__ == "__main__":
    run_script(main)
