"""Figures of a reproduction: a score of each arm from each base, and what a first phase costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reproduction.results import DAMAGED, Summary
from tools.statistics import ALL
from tools.store.files import replace_atomically

WIDTH = 8.0  # inches; the documentation shows it at about 110 dots an inch
ROW = 0.36  # inches an arm
MARGIN = 1.1  # inches above and below the arms
DPI = 130
BLUE, ORANGE, GRAY = "#2864a0", "#d1701c", "#8a8a8a"
CHANCE = 0.5
EMPHASIZED = ("temple", "sft_x4", "chosen_sft")  # TEMPLE, and the controls that it must beat


def draw_order(arms: Sequence[Summary], path: Path) -> None:
    """A row an arm: the share of pairs of events in order with its interval; a dot a base."""
    figure, panel = _panels(arms)
    for row, arm in enumerate(arms):
        order = arm.final["ordered"][ALL]
        panel.plot([order.low, order.high], [row, row], color="black", linewidth=2, zorder=2)
        panel.plot([order.value], [row], "|", color="black", markersize=13, zorder=3)
        for at, value in enumerate(arm.ordered):
            lifted = row + 0.16 + 0.07 * (at % 3)
            panel.plot([value], [lifted], "o", color=BLUE, markersize=4, alpha=0.85)
        right = max(order.high, *arm.ordered)
        panel.annotate(
            f"{order.value:.3f}", (right, row), (6, 0), textcoords="offset points", va="center"
        )
    for tick, arm in zip(panel.get_yticklabels(), arms, strict=True):
        tick.set_fontweight("bold" if arm.name in EMPHASIZED else "normal")
    panel.margins(x=0.08)
    panel.axvline(CHANCE, color=GRAY, linewidth=1, linestyle=":", zorder=1)
    panel.text(
        CHANCE,
        -0.75,
        "all events, in a random order",
        color=GRAY,
        ha="center",
        va="bottom",
        fontsize=8,
    )
    panel.set_xlabel("pairs of events in the right order (bar: 95 % over bases and videos)")
    panel.plot([], [], "o", color=BLUE, markersize=4, label="one base")
    _save(figure, path, 1)


def draw_damage(arms: Sequence[Summary], path: Path) -> None:
    """Recall and clip accuracy of each arm after its first phase (hollow) and at the end (full)."""
    figure, *panels = _panels(arms, columns=2)
    titles = ("events recalled", "clip captions right")
    for panel, metric, title in zip(panels, DAMAGED, titles, strict=True):
        for row, arm in enumerate(arms):
            first, last = arm.first[metric][ALL], arm.final[metric][ALL]
            dots = [(first, row - 0.13, ORANGE, "white"), (last, row + 0.13, BLUE, BLUE)]
            if first == last:  # an arm of one phase
                dots = [(last, row, BLUE, BLUE)]
            for spread, height, colour, fill in dots:
                panel.plot([spread.low, spread.high], [height] * 2, color=colour, linewidth=1.5)
                panel.plot([spread.value], [height], "o", color=colour, markerfacecolor=fill)
        panel.set_title(title, fontsize=10)
        panel.set_xlim(right=1.02)
    panels[1].set_yticklabels([])
    hollow = {"color": ORANGE, "markerfacecolor": "white"}
    panels[0].plot([], [], "o", label="after its first phase", **hollow)
    panels[0].plot([], [], "o", label="at the end", color=BLUE)
    _save(figure, path, 2)


def _panels(arms: Sequence[Summary], columns: int = 1) -> Any:
    """A figure, and its panels with a labelled row an arm."""
    # Imported here: slow, and --help needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, MARGIN + ROW * len(arms)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for panel in panels:
        panel.set_yticks(range(len(arms)), [arm.label for arm in arms])
        panel.set_ylim(len(arms) - 0.4, -0.8)
        panel.grid(axis="x", color="0.9")
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    return figure, *panels


def _save(figure: Any, path: Path, legend_columns: int) -> None:
    figure.legend(loc="outside lower center", ncols=legend_columns, fontsize=8, frameon=False)
    with replace_atomically(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
