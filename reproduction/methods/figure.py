"""One figure: what each method answers right, beside what an answer costs."""

from pathlib import Path
from typing import Any

from reproduction.figures import BLUE, DPI, GRAY, ORANGE
from reproduction.methods.arms import ARMS, CHANCE
from reproduction.results import Results
from tools.statistics import ALL, Spreads
from tools.store.files import replace_atomically

SIZE = (8.0, 4.6)  # inches
ROW = 0.18  # between the two dots of a row, in rows


def draw(results: Results, spreads: dict[str, Spreads], path: Path) -> None:
    """A row for each arm: the share of right answers about content and about order with their
    intervals, chance as a line, and CPU milliseconds a question."""
    # Imported here: slow, and --help needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in results["arms"] if name != CHANCE]
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    right, cost = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for metric, colour, lift in (("content", BLUE, -ROW), ("order", ORANGE, ROW)):
        for row, name in enumerate(names):
            spread = spreads[name][metric][ALL]
            right.plot([spread.low, spread.high], [row + lift] * 2, color=colour, linewidth=1.5)
            right.plot([spread.value], [row + lift], "o", color=colour, markersize=5)
        if CHANCE in spreads:
            chance = spreads[CHANCE][metric][ALL].value
            right.axvline(chance, color=colour, linestyle=":", linewidth=1)
        right.plot([], [], "o", color=colour, label=f"questions about {metric}")
    right.plot([], [], ":", color=GRAY, label="chance")
    right.set_xlim(0, 1)
    right.set_xlabel("right answers (bar: 95 % over seeds and videos)")
    for row, name in enumerate(names):
        if seconds := results["cost"].get(ARMS[name].cost):
            cost.barh([row], [1000 * seconds], height=0.5, color=GRAY)
            cost.annotate(
                f"{1000 * seconds:.0f}",
                (1000 * seconds, row),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
    cost.set_xlabel("CPU ms\na question")
    cost.margins(x=0.3)
    right.set_yticks(range(len(names)), [results["arms"][name]["label"] for name in names])
    right.set_ylim(len(names) - 0.4, -0.6)
    for panel in (right, cost):
        panel.grid(axis="x", color="0.9")
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    with replace_atomically(path) as file:
        figure.savefig(file, format="png", dpi=DPI)
