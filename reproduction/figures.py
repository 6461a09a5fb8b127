"""Figures of a reproduction: a score of each arm with its seeds, and what a first phase costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.statistics import ALL, Spread, Spreads
from tools.store.files import replace_atomically

WIDTH = 8.0  # inches; the documentation shows it at about 110 dots an inch
ROW = 0.36  # inches an arm
MARGIN = 1.1  # inches above and below the arms
DPI = 130
BLUE, ORANGE, GRAY = "#2864a0", "#d1701c", "#8a8a8a"
DOT_COLOURS = (BLUE, ORANGE)
CHANCE = 0.5
EMPHASIZED = ("temple", "sft_x4", "chosen_sft")  # TEMPLE, and the controls that it must beat


def draw_order(
    arms: Sequence[tuple[str, str, Spreads]],
    seeds: Mapping[str, Sequence[tuple[str, float]]],
    path: Path,
) -> None:
    """A row an arm: order accuracy with its interval, each seed a dot, coloured by its base.

    Args:
        arms: (name, label, spreads) from top to bottom.
        seeds: name -> (base, order accuracy) of each seed.
    """
    figure, panel = _panel(len(arms))
    bases = list(dict.fromkeys(base for dots in seeds.values() for base, _ in dots))
    colours = dict(zip(bases, DOT_COLOURS, strict=False))
    for row, (name, _, spreads) in enumerate(arms):
        one = spreads["order"][ALL]
        panel.plot([one.low, one.high], [row, row], color="black", linewidth=2, zorder=2)
        panel.plot([one.value], [row], "|", color="black", markersize=13, zorder=3)
        for at, (base, value) in enumerate(seeds[name]):
            lifted = row + 0.16 + 0.07 * (at % 3)
            panel.plot([value], [lifted], "o", color=colours[base], markersize=4, alpha=0.85)
        right = max(one.high, *(value for _, value in seeds[name]))
        panel.annotate(
            f"{one.value:.3f}", (right, row), (6, 0), textcoords="offset points", va="center"
        )
    panel.margins(x=0.08)
    panel.axvline(CHANCE, color=GRAY, linewidth=1, linestyle=":", zorder=1)
    panel.text(CHANCE, -0.75, "chance", color=GRAY, ha="center", va="bottom", fontsize=8)
    _label_rows(panel, [(name, label) for name, label, _ in arms])
    panel.set_xlabel("pairs of events told in the right order (bar: 95 % over seeds and videos)")
    for base, colour in colours.items():
        panel.plot([], [], "o", color=colour, markersize=4, label=f"seeds from {base}")
    figure.legend(loc="outside lower center", ncols=len(bases), fontsize=8, frameon=False)
    _save(figure, path)


def draw_damage(arms: Sequence[tuple[str, Mapping[str, Sequence[Spread]]]], path: Path) -> None:
    """Recall and clip accuracy of each arm after its first phase (hollow) and at the end (full).

    Args:
        arms: (label, {"recall" and "clip": spreads after the first phase and at the end}) from top
            to bottom.
    """
    figure, *panels = _panel(len(arms), columns=2)
    titles = {"recall": "events recalled", "clip": "clip captions right"}
    for panel, (metric, title) in zip(panels, titles.items(), strict=True):
        for row, (_, spreads) in enumerate(arms):
            first, last = spreads[metric]
            dots = [(first, row - 0.13, ORANGE, "white"), (last, row + 0.13, BLUE, BLUE)]
            if first == last:  # an arm of one phase
                dots = [(last, row, BLUE, BLUE)]
            for one, height, colour, fill in dots:
                panel.plot([one.low, one.high], [height, height], color=colour, linewidth=1.5)
                panel.plot([one.value], [height], "o", color=colour, markerfacecolor=fill)
        panel.set_title(title, fontsize=10)
        _label_rows(panel, [("", label) for label, _ in arms])
        panel.set_xlim(right=1.02)
    panels[1].set_yticklabels([])
    panels[0].plot(
        [], [], "o", color=ORANGE, markerfacecolor="white", label="after its first phase"
    )
    panels[0].plot([], [], "o", color=BLUE, label="at the end")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    _save(figure, path)


def _panel(rows: int, columns: int = 1) -> Any:
    # Imported here: slow, and --help needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, MARGIN + ROW * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    return figure, *panels


def _label_rows(panel: Any, arms: Sequence[tuple[str, str]]) -> None:
    panel.set_yticks(range(len(arms)), [label for _, label in arms])
    for tick, (name, _) in zip(panel.get_yticklabels(), arms, strict=True):
        tick.set_fontweight("bold" if name in EMPHASIZED else "normal")
    panel.set_ylim(len(arms) - 0.4, -0.8)
    panel.grid(axis="x", color="0.9")
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.tick_params(axis="y", length=0)


def _save(figure: Any, path: Path) -> None:
    with replace_atomically(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
