"""What became of every pair: counts for each noise and magnitude, and how long the kept ones are.

made = all that was dropped + kept, in every row.
"""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich import box
from rich.table import Table as Screen

from tools.pairs.rules import REASONS

SIDES = ("chosen", "rejected")
# What is counted of the kept pairs, as the screen says it.
PARTS = {
    "duplicate": "of them duplicate",
    "kept_val": "of them for validation",
    "over_max_length": "of them too long",
}


@dataclass
class Cell:
    """The pairs of one noise at one magnitude.

    Attributes:
        made: number of rejected rows.
        dropped: reason -> number.
        duplicate: good pairs with the same order of clips as a harder pair of the same video.
        kept, kept_val: pairs written, and those of them that went to the validation file.
        over_max_length: kept pairs estimated longer than training takes.
        chosen, rejected: lengths of the two sides of each kept pair, characters.
        tokens: estimated length of each kept pair's longer side with prompt and video, tokens.
    """

    noise: str
    magnitude: int
    made: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    duplicate: int = 0
    kept: int = 0
    kept_val: int = 0
    over_max_length: int = 0
    chosen: "array[int]" = field(default_factory=lambda: array("I"))
    rejected: "array[int]" = field(default_factory=lambda: array("I"))
    tokens: "array[int]" = field(default_factory=lambda: array("I"))

    def counts(self) -> dict[str, Any]:
        """The row of the funnel's JSON."""
        row = {name: value for name, value in vars(self).items() if not isinstance(value, array)}
        return row | {"dropped": {reason: self.dropped[reason] for reason in REASONS}}


def lengths(cells: Iterable[Cell]) -> dict[str, dict[str, float]]:
    """noise -> lengths of its kept pairs in characters: means, medians, the mean of chosen over
    rejected, and the share of pairs whose chosen side is the longer one."""
    by_noise: dict[str, list[Cell]] = {}
    for cell in cells:
        by_noise.setdefault(cell.noise, []).append(cell)
    table = {}
    for noise, group in by_noise.items():
        chosen, rejected = (
            np.concatenate([np.array(getattr(cell, side), float) for cell in group])
            for side in SIDES
        )
        if not len(chosen):
            continue
        table[noise] = {
            "pairs": len(chosen),
            "chosen_mean": round(float(chosen.mean()), 1),
            "chosen_median": float(np.median(chosen)),
            "rejected_mean": round(float(rejected.mean()), 1),
            "rejected_median": float(np.median(rejected)),
            "ratio_mean": round(float((chosen / rejected).mean()), 4),
            "chosen_longer": round(float((chosen > rejected).mean()), 4),
        }
    return table


def tokens(cells: Iterable[Cell]) -> dict[str, float]:
    """Estimated tokens of the kept pairs: mean, median and maximum; empty if there are none."""
    all_tokens = np.concatenate([np.array(cell.tokens, float) for cell in cells])
    if not len(all_tokens):
        return {}
    return {
        "mean": round(float(all_tokens.mean()), 1),
        "median": float(np.median(all_tokens)),
        "max": int(all_tokens.max()),
    }


def counts_table(cells: list[Cell], title: str) -> Screen:
    """The funnel for the screen; reasons that dropped nothing have no column."""
    reasons = [reason for reason in REASONS if any(cell.dropped[reason] for cell in cells)]
    # With --distinct_levels "duplicate" is among the reasons, else duplicates are kept.
    parts = [
        name for name in PARTS if name not in reasons and any(getattr(cell, name) for cell in cells)
    ]
    screen = Screen(title=title, title_justify="left", show_footer=True, box=box.SIMPLE_HEAD)
    screen.add_column("pairs", footer="all", no_wrap=True)
    columns = ["made", *reasons, "kept", *parts]
    rows = [
        [cell.dropped[column] if column in reasons else getattr(cell, column) for column in columns]
        for cell in cells
    ]
    for column, values in zip(columns, zip(*rows, strict=True), strict=True):
        total = str(sum(values))
        title = PARTS[column] if column in parts else column.replace("_", " ")
        # Wide enough for its numbers and for the longest word of its title, on any screen.
        least = max(map(len, [total, *title.split()]))
        screen.add_column(title, footer=total, justify="right", min_width=least)
    for cell, row in zip(cells, rows, strict=True):
        screen.add_row(f"{cell.noise} {cell.magnitude}", *map(str, row))
    return screen


def lengths_table(cells: list[Cell]) -> Screen:
    """The lengths for the screen: length is a cue that DPO learns."""
    screen = Screen(
        title="kept pairs, characters: mean (median)", title_justify="left", box=box.SIMPLE_HEAD
    )
    screen.add_column("noise")
    for column in ("pairs", "chosen", "rejected", "chosen / rejected", "chosen is longer"):
        screen.add_column(column, justify="right")
    for noise, row in lengths(cells).items():
        screen.add_row(
            noise,
            str(row["pairs"]),
            *(f"{row[f'{side}_mean']:.0f} ({row[f'{side}_median']:.0f})" for side in SIDES),
            f"{row['ratio_mean']:.2f}",
            f"{row['chosen_longer']:.0%}",
        )
    return screen
