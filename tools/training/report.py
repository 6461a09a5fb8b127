"""What swift logged of a training, stage by stage: one picture and one table.

    python -m tools.training.report exp/GROUP                 # every stage of a group
    python -m tools.training.report exp/GROUP/outputs/NAME    # that stage and those before it

Writes training_report.png and training_report.tsv into the folder, or into --out. Loss, reward
margin and reward accuracy (the share of pairs whose chosen side gained more than the rejected one)
are shown on training pairs, and on held-out ones where the stage had some: on the pairs that a
model trains on, accuracy proves little.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Screen

from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.store.files import read_json, replace_atomically
from tools.training.recipe import parse
from tools.training.stages import find_state, version_folders

STEP = "global_step/max_steps"
# The panels: title, what swift calls it on training rows, and on held-out ones.
PANELS = (
    ("loss", "loss", "eval_loss"),
    ("reward margin", "rewards/margins", "eval_rewards/margins"),
    ("reward accuracy", "rewards/accuracies", "eval_rewards/accuracies"),
    ("learning rate", "learning_rate", None),
)
LAST_SHARE = 0.1  # of a stage's logged steps: what the table averages to its end
INCHES = (10, 9)
SCREEN_WIDTH = 110  # characters that the table takes


@dataclass
class Log:
    """What swift logged of one stage.

    Attributes:
        name, label: the stage's name, and its data: r4, r16+r8, sft60k.
        state: how far it has come (`tools.training.stages.State.kind`).
        rows, kept: how many rows its data has, and of them within the length that training takes;
            None where that was not counted.
        max_steps: how many steps it has.
        series: swift's name of a number -> (step, number) each, in order.
    """

    name: str
    label: str
    state: str
    rows: int | None = None
    kept: int | None = None
    max_steps: int = 0
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return max((points[-1][0] for points in self.series.values() if points), default=0)

    def first(self, key: str) -> float | None:
        """The first number of a series."""
        points = self.series.get(key)
        return points[0][1] if points else None

    def last(self, key: str) -> float | None:
        """The last number of a held-out series, the mean of the last tenth of another."""
        points = self.series.get(key)
        if not points:
            return None
        count = 1 if key.startswith("eval_") else max(1, round(len(points) * LAST_SHARE))
        return sum(number for _, number in points[-count:]) / count


def read_log(folder: Path) -> Log:
    """The log of the stage in a folder, over all runs of swift that it took."""
    made = read_json(folder / "stage.json") or {}
    stage = parse(folder.name).stages[-1]
    label = "+".join(f"r{level}" for level in stage.levels) or stage.dataset
    counts = made.get("rows", {})
    log = Log(folder.name, label, find_state(folder).kind, counts.get("rows"), counts.get("kept"))
    for run in version_folders(folder):
        for number, entry in enumerate(_entries(run / "logging.jsonl")):
            step, _, of = str(entry[STEP]).partition("/")
            if number == 0:
                # A run that went on from a checkpoint does again what was done after it.
                for points in log.series.values():
                    points[:] = [point for point in points if point[0] < int(step)]
            log.max_steps = int(of)
            for key, value in entry.items():
                if isinstance(value, int | float):
                    log.series.setdefault(key, []).append((int(step), float(value)))
    return log


def _entries(path: Path) -> Sequence[dict[str, float | str]]:
    """The lines that log a step; a run that was killed may have torn the last one."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with suppress(orjson.JSONDecodeError):
            entries.append(orjson.loads(line))
    return [entry for entry in entries if STEP in entry]


def stage_folders(path: Path) -> list[Path]:
    """The stages to report on, each before those that start from it.

    Raises:
        UserError: there are none.
    """
    outputs = path / "outputs" if (path / "outputs").is_dir() else path
    if version_folders(path):
        found = [
            folder
            for folder in path.parent.iterdir()
            if version_folders(folder) and _is_part(folder.name, path.name)
        ]
    elif outputs.is_dir():
        found = [folder for folder in outputs.iterdir() if version_folders(folder)]
    else:
        raise UserError(f"{path}: no such folder")
    if not found:
        raise UserError(f"{path}: no stage of a training in it, such as exp/GROUP/outputs/NAME")
    return sorted(found, key=lambda folder: [stage.name for stage in parse(folder.name).stages])


def _is_part(name: str, whole: str) -> bool:
    return name in [stage.name for stage in parse(whole).stages]


AVERAGED = (
    "loss", "rewards/margins", "rewards/accuracies", "eval_loss", "eval_rewards/margins",
    "eval_rewards/accuracies",
)  # fmt: skip
COLUMNS = (
    "stage", "state", "rows", "kept", "steps", "of", "loss_first", "loss_last", "margin",
    "accuracy", "held_out_loss", "held_out_margin", "held_out_accuracy", "peak_lr",
)  # fmt: skip


def table(logs: Sequence[Log]) -> list[list[str]]:
    """A line of COLUMNS a stage; what is not there is empty."""
    lines = []
    for log in logs:
        rates = [number for _, number in log.series.get("learning_rate", ())]
        numbers = [log.first("loss"), *map(log.last, AVERAGED), max(rates, default=None)]
        counts = (log.rows, log.kept, log.steps, log.max_steps)
        words = ("" if count is None else str(count) for count in counts)
        shares = ("" if number is None else f"{number:.4g}" for number in numbers)
        lines.append([log.label, log.state, *words, *shares])
    return lines


def draw(logs: Sequence[Log], path: Path) -> None:
    """A panel for each of PANELS, the stages one after the other."""
    # Imported here: slow, and --help needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    start = 0
    for log in logs:
        for panel, (_, train, held_out) in zip(panels, PANELS, strict=True):
            for key, style, name in ((train, "-", "training"), (held_out, "o", "held out")):
                if points := log.series.get(key or "", []):
                    steps, numbers = [start + step for step, _ in points], [n for _, n in points]
                    color = "tab:blue" if style == "-" else "tab:orange"
                    panel.plot(steps, numbers, style, color=color, label=name, markersize=5)
            panel.axvline(start, color="0.8", linewidth=0.8, zorder=0)
        above = {"xycoords": ("data", "axes fraction"), "fontsize": 9}
        panels[0].annotate(log.label, (start, 1.02), **above)
        start += max(log.max_steps, log.steps)
    for panel, (title, *_) in zip(panels, PANELS, strict=True):
        panel.set_ylabel(title)
    panels[2].set_ylim(-0.05, 1.05)
    panels[-1].set_xlabel("optimizer steps, the stages one after the other")
    lines, labels = panels[0].get_legend_handles_labels()
    named = dict(zip(labels, lines, strict=True))
    panels[0].legend(named.values(), named.keys(), loc="best", fontsize=8)
    with replace_atomically(path) as file:
        canvas.print_png(file)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw and print."""
    parser = script_parser(__doc__)
    parser.add_argument("folder", type=Path, help="of a group, or of one of its stages")
    parser.add_argument(
        "--out", type=new_folder, metavar="DIR", help="where to write (default: the folder itself)"
    )
    args: argparse.Namespace = parser.parse_args(argv)
    logs = [read_log(folder) for folder in stage_folders(args.folder)]
    lines = table(logs)
    out = args.out or args.folder
    draw(logs, out / "training_report.png")
    with replace_atomically(out / "training_report.tsv") as file:
        file.write("".join("\t".join(line) + "\n" for line in [COLUMNS, *lines]).encode())
    screen = Screen(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for column in COLUMNS:
        header = column.replace("_", "\n").replace("held\nout", "held-out")
        screen.add_column(header, justify="left" if column in ("stage", "state") else "right")
    for line in lines:
        screen.add_row(*line)
    Console(width=max(SCREEN_WIDTH, Console().width)).print(screen)
    print(out / "training_report.png")
    print(out / "training_report.tsv")


if __name__ == "__main__":
    run_script(main)
