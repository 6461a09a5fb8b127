"""When the shots and the clips of a video begin and end, in seconds."""

from typing import Any

from tools.store.jsonl import Record


def shot_spans(record: Record, cuts: str = "filtered_cuts") -> list[tuple[float, float]]:
    """(start, end) of a record's shots, seconds from the first frame.

    Records of the reference scripts have no times: there, frames are taken to come evenly.

    Args:
        cuts: which shots: `filtered_cuts`, those that stage 1 has kept, or `raw_cuts`, all.
    """
    times: Any = record.get("cut_times")
    if times:
        return [tuple(times[position]) for position, _, _ in record[cuts]]
    rate = record["fps"]
    return [(start / rate, (end + 1) / rate) for _, start, end in record[cuts]]


def clip_spans(record: Record) -> list[tuple[float, float]]:
    """(start, end) of the clips, seconds from the first frame."""
    shots = shot_spans(record)
    return [(shots[members[0]][0], shots[members[-1]][1]) for _, members in record["merged_groups"]]
