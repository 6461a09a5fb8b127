"""Which shard a video belongs to, and how people name shards."""

import hashlib
import re
from pathlib import Path

from tools.errors import UserError
from tools.store.jsonl import Table

MOST_DIGITS = 3
EXAMPLES = {1: "3, 0-7 or 0,2,8-f", 2: "3a, 00-0f or 00,07,10-1f", 3: "03a or 000-0ff,3c0"}


def hash_of(video_id: str) -> str:
    """Hex digits that spread videos evenly: those that end an id of ours, or a hash of another."""
    digits = video_id.rpartition("_")[2]
    ours = re.fullmatch("[0-9a-f]{12}", digits)
    return digits if ours else hashlib.sha1(video_id.encode()).hexdigest()[:12]


def shard_ranges(selection: str, dataset: str, digits: int) -> list[tuple[str, str]]:
    """(first, last) of each part of a selection of shards, such as 00,07,10-1f.

    Raises:
        UserError: it does not name shards of so many hex digits.
    """
    ranges = [(part.partition("-")[0], part.rpartition("-")[2]) for part in selection.split(",")]
    for first, last in ranges:
        ends = [re.fullmatch(f"[0-9a-f]{{{digits}}}", end) for end in (first, last)]
        if not all(ends) or first > last:
            raise UserError(
                f"--shards {selection}: the shards of {dataset} are named by {digits} hex digits,"
                f" such as {EXAMPLES[digits]}"
            )
    return ranges


def check_shards(root: Path, folder: Path, anno: Path, digits: int) -> None:
    """Raise UserError where the folder of a dataset is half sharded.

    Args:
        root, folder, anno: the dataset's folder, that of its shards, and that of the annotations of
            a dataset without shards.
        digits: how many hex digits name a shard; 0: the dataset has no shards.
    """
    names = sorted(entry.name for entry in folder.glob("[!.]*"))
    strange = [name for name in names if not re.fullmatch(f"[0-9a-f]{{{digits}}}", name)]
    if digits and anno.exists():
        wrong = f"{anno} is there beside {folder}"
    elif digits and strange:
        wrong = f"{folder / strange[0]} is no shard of {digits} hex digits"
    elif not digits and folder.exists():
        wrong = f"{folder} is there, but dataset.json names no shards"
    else:
        return
    raise UserError(f"{root} is half sharded: {wrong}; move one of the two away")


def check_owner(init: Table, shard: str, owner: str) -> None:
    """Raise UserError where a shard's first video belongs to another shard or dataset.

    Args:
        shard, owner: what the hash and the name in its videos' ids begin with.
    """
    for record in init.read():
        video_id = str(record["video_id"])
        if video_id.startswith(f"{owner}_") and hash_of(video_id).startswith(shard):
            return
        raise UserError(
            f"{init.path} holds videos that are not of {owner}/{shard}, such as {video_id}: move"
            " that folder to where it came from"
        )
