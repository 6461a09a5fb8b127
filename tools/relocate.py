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
from tools.video.recognition import mark_gone, write_listing


def relocate(dataset: Dataset, old: Path, new: Path) -> None:
    """Change the paths of a dataset's videos, and print how many there were.

    Args:
        old, new: absolute; a folder, or a single video.

    Raises:
        UserError: `new` is not there, or no video of the dataset was in `old`.
    """
    if not new.exists():
        raise UserError(f"{new}: no such folder or file")
    table = dataset.table("init")
    records = list(table.read())
    moved = 0
    for record in records:
        path = Path(record["video_path"])
        if path.is_relative_to(old):
            record["video_path"] = os.path.normpath(new / path.relative_to(old))
            moved += 1
    if not moved:
        example = f"; one is {records[0]['video_path']}" if records else ""
        raise UserError(f"{dataset.name} has no video in {old}{example}")
    gone, _ = mark_gone(records, present=())
    write_listing(table, records, gone)
    folder = dataset.video_dir()
    if folder and folder.is_relative_to(old):
        dataset.remember_video_dir(new / folder.relative_to(old))
    print(f"{moved} of {len(records)} videos of {dataset.name} are in {new} now")
    if gone:
        print(f"note: {len(gone)} are not there, such as {gone[0]['video_path']}")


def main(argv: Sequence[str] | None = None) -> None:
    """Change the paths of one dataset's videos."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("old", type=Path, metavar="OLD", help="where the videos were")
    parser.add_argument("new", type=Path, metavar="NEW", help="where they are now")
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    old, new = (
        Path(os.path.normpath(path.expanduser().absolute())) for path in (args.old, args.new)
    )
    with dataset.lock("init"):
        relocate(dataset, old, new)


if __name__ == "__main__":
    run_script(main)
