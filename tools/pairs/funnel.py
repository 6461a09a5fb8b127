"""What became of every pair: counts for each noise and magnitude, and how long the kept ones are.

In every row, the dropped and the kept pairs add up to those made.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich import box
from rich.table import Column
from rich.table import Table as Screen

from tools.pairs.rules import REASONS

# From this mean of chosen over rejected length on, a model can tell the sides apart by length.
LENGTH_CUE = 2.0


@dataclass
class Cell:
    """The pairs of one noise at one magnitude.

    Attributes:
        made: number of rejected rows.
        dropped: reason -> number.
        duplicate: good pairs with the same order of clips as a harder pair of the same video.
        kept, kept_val: pairs written, and those of them that went to the validation file.
        over_max_length: kept pairs estimated longer than training takes.
        sizes: three numbers for each kept pair: the lengths of chosen and rejected, characters, and
            the estimated length of the longer one with prompt and video, tokens.
    """

    noise: str
    magnitude: int
    made: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    duplicate: int = 0
    kept: int = 0
    kept_val: int = 0
    over_max_length: int = 0
    sizes: "array[int]" = field(default_factory=lambda: array("I"))

    def counts(self) -> dict[str, Any]:
        """The row of the funnel's JSON."""
        row = {name: value for name, value in vars(self).items() if name != "sizes"}
        return row | {"dropped": {reason: self.dropped[reason] for reason in REASONS}}


def _sizes(cells: Iterable[Cell]) -> np.ndarray:
    """The sizes of all kept pairs: (3, n) float, in the order of `Cell.sizes`."""
    return np.concatenate([np.array(cell.sizes, float) for cell in cells]).reshape(-1, 3).T


def lengths(cells: Sequence[Cell]) -> dict[str, dict[str, float]]:
    """noise -> lengths of its kept pairs in characters: means, medians, the mean of chosen over
    rejected, and the share of pairs whose chosen side is the longer one."""
    table = {}
    for noise in dict.fromkeys(cell.noise for cell in cells):
        chosen, rejected, _ = _sizes(cell for cell in cells if cell.noise == noise)
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


def length_cues(cells: Sequence[Cell]) -> Iterator[str]:
    """A line about each noise whose chosen side is much longer: DPO can learn length from its pairs
    instead of order."""
    for noise, row in lengths(cells).items():
        if row["ratio_mean"] >= LENGTH_CUE:
            yield (
                f"{noise}: chosen is {row['ratio_mean']:.1f} times as long on average, so that DPO"
                " can learn length instead of order; in training LD_ALPHA=0.5 halves the weight of"
                " the part by which a side is longer"
            )


def duplicates_line(cells: Sequence[Cell]) -> str:
    """What is left of the kept pairs without those that tell what a harder pair of the same video
    tells; empty if there are none."""
    kept = sum(cell.kept for cell in cells)
    twice = sum(cell.duplicate - cell.dropped["duplicate"] for cell in cells)
    if not twice:
        return ""
    return (
        f"{twice} of the {kept} kept pairs tell what a harder pair of the same video tells;"
        f" --distinct_levels keeps the other {kept - twice}"
    )


def tokens(cells: Iterable[Cell]) -> dict[str, float]:
    """Estimated tokens of the kept pairs: mean, median and maximum; empty if there are none."""
    *_, estimates = _sizes(cells)
    if not len(estimates):
        return {}
    return {
        "mean": round(float(estimates.mean()), 1),
        "median": float(np.median(estimates)),
        "max": int(estimates.max()),
    }


def counts_table(cells: list[Cell], title: str) -> Screen:
    """The funnel for the screen, without columns that count nothing."""
    columns = {
        "made": [cell.made for cell in cells],
        **{reason: [cell.dropped[reason] for cell in cells] for reason in REASONS},
        "kept": [cell.kept for cell in cells],
        "of them duplicate": [cell.duplicate - cell.dropped["duplicate"] for cell in cells],
        "of them for validation": [cell.kept_val for cell in cells],
        "of them too long": [cell.over_max_length for cell in cells],
    }
    shown = {name: n for name, n in columns.items() if any(n) or name in ("made", "kept")}
    screen = Screen(title=title, title_justify="left", show_footer=True, box=box.SIMPLE_HEAD)
    screen.add_column("pairs", footer="all", no_wrap=True)
    for name, numbers in shown.items():
        total, header = str(sum(numbers)), name.replace("_", " ")
        # Wide enough for its numbers and for the longest word of its title, on any screen.
        width = max(map(len, [total, *header.split()]))
        screen.add_column(header, footer=total, justify="right", min_width=width)
    for cell, *row in zip(cells, *shown.values(), strict=True):
        screen.add_row(f"{cell.noise} {cell.magnitude}", *map(str, row))
    return screen


def lengths_table(cells: list[Cell]) -> Screen:
    """The lengths for the screen: length is a cue that DPO learns."""
    headers = ("pairs", "chosen", "rejected", "chosen / rejected", "chosen is longer")
    screen = Screen(
        "noise",
        *(Column(header, justify="right") for header in headers),
        title="kept pairs, characters: mean (median)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for noise, row in lengths(cells).items():
        screen.add_row(
            noise,
            str(row["pairs"]),
            f"{row['chosen_mean']:.0f} ({row['chosen_median']:.0f})",
            f"{row['rejected_mean']:.0f} ({row['rejected_median']:.0f})",
            f"{row['ratio_mean']:.2f}",
            f"{row['chosen_longer']:.0%}",
        )
    return screen
