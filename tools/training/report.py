"""What swift logged of a training, stage by stage: one picture and one table.

    python -m tools.training.report exp/GROUP                 # every stage of a group
    python -m tools.training.report exp/GROUP/outputs/NAME    # that stage and those before it

Writes training_report.png and training_report.tsv into the folder, or into --out. Loss, reward
margin and reward accuracy (the share of pairs whose chosen side gained more than the rejected one)
are shown on training pairs, and on held-out ones where the stage had some: on the pairs that a
model trains on, accuracy proves little. The log p of both sides tell whether the margin came from
likelier chosen answers or from less likely rejected ones: of whole answers for DPO and IPO, of a
token for SimPO. The file has them at the beginning and the end of each stage, the screen has not.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Screen

from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.store.files import replace_atomically
from tools.training.recipe import parse
from tools.training.stages import find_state, read_note, version_folders

STEP = "global_step/max_steps"
Lines = tuple[tuple[str, str, str, str], ...]


def _training_and_held_out(key: str) -> Lines:
    return (key, "-", "tab:blue", "training"), (f"eval_{key}", "o", "tab:orange", "held out")


# The panels by their titles: swift's name of each number, its line's style and colour, its label.
PANELS: dict[str, Lines] = {
    "loss": _training_and_held_out("loss"),
    "reward margin": _training_and_held_out("rewards/margins"),
    "reward accuracy": _training_and_held_out("rewards/accuracies"),
    "log p": (
        ("logps/chosen", "-", "tab:blue", "chosen"),
        ("logps/rejected", "--", "tab:blue", "rejected"),
    ),
    "learning rate": _training_and_held_out("learning_rate"),
}
SIDES = ("chosen", "rejected")
SHARE = 0.1  # of a stage's logged steps: what the table averages at its beginning and its end
INCHES = (10, 11)
SCREEN_WIDTH = 110  # characters that the table takes


@dataclass
class Log:
    """What swift logged of one stage."""

    label: str  # its data: r4, r16+r8, sft60k
    state: str  # how far it has come (`tools.training.stages.State.kind`)
    rows: int | None  # how many its data has; None: not counted
    kept: int | None  # rows within the length that training takes; None: not counted
    steps: int = 0  # the last step that was logged
    max_steps: int = 0
    # swift's name of a number -> (step, number) each, in order
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def numbers(self, key: str) -> list[float]:
        """The numbers of a series, without their steps."""
        return [number for _, number in self.series.get(key, ())]

    def first(self, key: str) -> float | None:
        """The mean of the first tenth of a series."""
        return _mean(self.numbers(key)[: self._tenth(key)])

    def last(self, key: str) -> float | None:
        """The last number of a held-out series, the mean of the last tenth of another."""
        return _mean(self.numbers(key)[-self._tenth(key) :])

    def _tenth(self, key: str) -> int:
        numbers = self.numbers(key)
        return 1 if key.startswith("eval_") else max(1, round(len(numbers) * SHARE))


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None


def read_log(folder: Path) -> Log:
    """The log of the stage in a folder, over all runs of swift that it took."""
    stage = parse(folder.name).stages[-1]
    label = "+".join(f"r{level}" for level in stage.levels) or stage.dataset
    counts = read_note(folder).get("rows", {})
    log = Log(label, find_state(folder).kind, counts.get("rows"), counts.get("kept"))
    for run in version_folders(folder):
        for number, entry in enumerate(_entries(run / "logging.jsonl")):
            log.steps, log.max_steps = map(int, str(entry[STEP]).split("/"))
            if number == 0:
                # A run that went on from a checkpoint does again what was done after it.
                for points in log.series.values():
                    points[:] = [point for point in points if point[0] < log.steps]
            for key, value in entry.items():
                if isinstance(value, int | float):
                    log.series.setdefault(key, []).append((log.steps, float(value)))
    return log


def _entries(path: Path) -> Iterator[dict[str, float | str]]:
    """The lines that log a step; a run that was killed may have torn the last one."""
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(orjson.JSONDecodeError):
            entry = orjson.loads(line)
            if STEP in entry:
                yield entry


def stage_folders(path: Path) -> list[Path]:
    """The stages to report on, each before those that start from it; raises UserError if there are
    none."""
    outputs = path / "outputs" if (path / "outputs").is_dir() else path
    if version_folders(path):
        folders = [path.with_name(stage.name) for stage in parse(path.name).stages]
    elif outputs.is_dir():
        folders = list(outputs.iterdir())
    else:
        raise UserError(f"{path}: no such folder")
    folders = [folder for folder in folders if version_folders(folder)]
    if not folders:
        raise UserError(f"{path}: no stage of a training in it, such as exp/GROUP/outputs/NAME")
    return sorted(folders, key=lambda folder: [stage.name for stage in parse(folder.name).stages])


def table_row(log: Log) -> dict[str, str]:
    """What the table says of a stage, by column; what is not there is empty."""
    values = {
        "stage": log.label,
        "state": log.state,
        "rows": log.rows,
        "kept": log.kept,
        "steps": log.steps,
        "of": log.max_steps,
        "loss_first": next(iter(log.numbers("loss")), None),
        "loss_last": log.last("loss"),
        "margin": log.last("rewards/margins"),
        "accuracy": log.last("rewards/accuracies"),
        "held_out_loss": log.last("eval_loss"),
        "held_out_margin": log.last("eval_rewards/margins"),
        "held_out_accuracy": log.last("eval_rewards/accuracies"),
        "peak_lr": max(log.numbers("learning_rate"), default=None),
    } | {
        f"{side}_log_p_{end}": mean(f"logps/{side}")
        for side in SIDES
        for end, mean in (("first", log.first), ("last", log.last))
    }
    return {
        column: "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        for column, value in values.items()
    }


def draw(logs: Sequence[Log], path: Path) -> None:
    """A panel for each of PANELS, the stages one after the other."""
    # Imported here: slow, and --help needs none of it.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    panels = figure.subplots(len(PANELS), 1, sharex=True)
    start = 0
    for log in logs:
        for panel, lines in zip(panels, PANELS.values(), strict=True):
            for name, style, color, label in lines:
                if name in log.series:
                    steps = [start + step for step, _ in log.series[name]]
                    panel.plot(steps, log.numbers(name), style, color=color, label=label, ms=5)
            panel.axvline(start, color="0.8", linewidth=0.8, zorder=0)
        panels[0].annotate(log.label, (start, 1.02), xycoords=("data", "axes fraction"), fontsize=9)
        start += max(log.max_steps, log.steps)
    for panel, title in zip(panels, PANELS, strict=True):
        panel.set_ylabel(title)
    panels[2].set_ylim(-0.05, 1.05)
    panels[-1].set_xlabel("optimizer steps, the stages one after the other")
    for panel in (panels[0], panels[3]):
        lines, labels = panel.get_legend_handles_labels()
        by_label = dict(zip(labels, lines, strict=True))
        if by_label:
            panel.legend(by_label.values(), by_label.keys(), loc="best", fontsize=8)
    with replace_atomically(path) as file:
        FigureCanvasAgg(figure).print_png(file)


def main(argv: Sequence[str] | None = None) -> None:
    """Draw and print."""
    parser = script_parser(__doc__)
    parser.add_argument("folder", type=Path, help="of a group, or of one of its stages")
    parser.add_argument(
        "--out", type=new_folder, metavar="DIR", help="where to write (default: the folder itself)"
    )
    args = parser.parse_args(argv)
    logs = [read_log(folder) for folder in stage_folders(args.folder)]
    rows = [table_row(log) for log in logs]
    picture, table = (
        (args.out or args.folder) / f"training_report.{end}" for end in ("png", "tsv")
    )
    draw(logs, picture)
    with replace_atomically(table) as file:
        for line in (list(rows[0]), *(list(row.values()) for row in rows)):
            file.write(("\t".join(line) + "\n").encode())
    screen = Screen(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    shown = [column for column in rows[0] if "_log_p_" not in column]
    for column in shown:
        header = column.replace("_", "\n").replace("held\nout", "held-out")
        screen.add_column(header, justify="left" if column in ("stage", "state") else "right")
    for row in rows:
        screen.add_row(*(row[column] for column in shown))
    Console(width=max(SCREEN_WIDTH, Console().width)).print(screen)
    print(picture, table, sep="\n")


if __name__ == "__main__":
    run_script(main)
