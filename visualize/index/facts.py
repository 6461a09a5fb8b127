"""What is known of a line of a dataset: what takes time to find out, and stays true of that line.

A response is cleaned and compared with the chosen one once. The row of KNOWN still holds when the
line moves, as when a stage merges the parts of a table.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from tools.pairs.perturbation import CLEAN
from tools.pairs.rules import Side, drop_reason, read_side, similarity
from tools.shots.spans import clip_spans
from tools.store.files import CorruptLine
from tools.store.jsonl import Record
from visualize.index.places import BadLine, parse_at

KNOWN = pa.schema(
    [
        ("key", pa.uint64()),
        ("text", pa.string()),
        ("reason", pa.string()),
        ("chosen_length", pa.int32()),
        ("rejected_length", pa.int32()),
        ("similarity", pa.float32()),
        ("clips", pa.int32()),
        ("clips_used", pa.int32()),
        ("same_order", pa.uint32()),
        ("name", pa.string()),
        ("filtered", pa.bool_()),
        ("shots", pa.int32()),
        ("clip_seconds", pa.list_(pa.float32())),
    ]
)
"""One row a line, and for a rejected response one a line and its chosen line; `key` stands for
table, video and the checksums of these lines (`visualize.index.tables`).

Of responses: `text` in lower case; of rejected ones also why convert drops the pair (`reason`, ''
if it does not), lengths in characters, `clips` of the video and `clips_used` of them in this
response, `same_order`, equal for equal selections (null where the row does not say). Of other
tables: the video's `name`, whether and why it was `filtered`, `shots` kept, seconds of each clip.
"""


def describe(
    root: Path, files: Sequence[str], lines: pa.RecordBatch
) -> tuple[pa.Table, list[BadLine]]:
    """Read lines and return their rows of KNOWN, and the lines that are no records.

    Args:
        root: the dataset's folder.
        files: paths relative to it, to which the numbers in `lines` refer.
        lines: rows of `visualize.index.tables.TODO`.
    """
    rows: list[dict[str, Any]] = []
    bad: list[BadLine] = []
    with ExitStack() as stack:

        @cache
        def opened(file: int) -> BinaryIO:
            return stack.enter_context(open(root / files[file], "rb"))

        def read(file: int, start: int, size: int) -> Record:
            line = os.pread(opened(file).fileno(), size, start)
            return parse_at(start, line, root / files[file])

        @lru_cache(1)
        def chosen_side(model: str, *place: int) -> Side | None:
            try:
                return read_side(read(*place), model)
            except CorruptLine:
                return None

        for key, model, noise, *places in zip(*lines.to_pydict().values(), strict=True):
            place, chosen_place = places[:3], places[3:]
            try:
                row = read(*place)
                if noise is None:
                    rows.append({"key": key, **_of_video(row)})
                    continue
                side = read_side(row, model)
                facts = {"key": key, "text": shown(side, row).lower()}
                if noise != CLEAN.noise:
                    chosen = None if None in chosen_place else chosen_side(model, *chosen_place)
                    facts |= _of_pair(noise, chosen, side, row)
                rows.append(facts)
            except FileNotFoundError:  # It has just been merged: the next renewal sees that.
                continue
            except CorruptLine as error:
                bad.append((files[place[0]], str(error)))
    return pa.Table.from_pylist(rows, KNOWN), bad


def shown(side: Side, row: Mapping[str, Any]) -> str:
    """The text of a side for people: what counts of the response, or all of it where nothing
    does."""
    return side.text or str(row.get("response") or "")


def _of_pair(noise: str, chosen: Side | None, rejected: Side, row: Record) -> dict[str, Any]:
    both = chosen and chosen.text and rejected.text
    clips = chosen.indices if chosen and chosen.indices else row.get("frame_indices") or ()
    return {
        "reason": drop_reason(noise, chosen, rejected) or "",
        "chosen_length": len(chosen.text) if chosen else None,
        "rejected_length": len(shown(rejected, row)),
        "similarity": similarity(chosen.text, rejected.text) if chosen and both else None,
        "clips": len(clips),
        "clips_used": len(rejected.indices),
        "same_order": zlib.crc32(str(rejected.indices).encode()) if rejected.indices else None,
    }


def _of_video(record: Record) -> dict[str, Any]:
    filtered = bool(record.get("filtered"))
    shots = record.get("filtered_cuts")
    spans = clip_spans(record) if "merged_groups" in record else None
    return {
        "name": record.get("video_name"),
        "filtered": filtered,
        "reason": (record.get("filter_reason") or "no reason recorded") if filtered else None,
        "shots": None if shots is None else len(shots),
        "clip_seconds": None if spans is None else [end - start for start, end in spans],
    }
