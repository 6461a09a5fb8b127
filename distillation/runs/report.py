"""The report of a suite: tables in Markdown, bars and curves, and the same as JSON."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distillation.runs.folder import EPOCHS, read_about
from tools.statistics import ALL, Interval, Scores, Spread, difference, intervals
from tools.store.files import read_json, replace_atomically, write_json

METRIC = "accuracy"
WIDTH, ROW, MARGIN, DPI = 8.0, 0.34, 1.2, 130  # inches; dots an inch
BLUE, GRAY = "#2864a0", "#8a8a8a"

Compared = tuple[str, Sequence[str], Sequence[tuple[str, str]], str]
"""A comparison's name, its arms, its claims (the first arm of each is the better one), a note."""


def verdict(effect: Interval) -> str:
    """What an interval of a difference says of the claim that it is above 0."""
    if effect.low > 0:
        return "supported"
    return "refuted" if effect.high < 0 else "undecided"


def write_report(
    folder: Path,
    dataset: str,
    split: str,
    compared: Sequence[Compared],
    runs: Mapping[str, Sequence[Path]],
) -> dict[str, Any]:
    """Write report.md, report.json and the figures into a folder; returns what the JSON holds.

    Args:
        runs: arm -> the folders of its students, a seed each, all tested on `split`.
    """
    scores = {arm: [_scores(run, split) for run in own] for arm, own in runs.items()}
    spreads = {arm: intervals(own) for arm, own in scores.items()}
    document: dict[str, Any] = {
        "dataset": dataset,
        "split": split,
        "arms": {arm: _arm(runs[arm], scores[arm], spreads[arm]) for arm in runs},
        "comparisons": {},
    }
    for name, arms, pairs, note in compared:
        claims = []
        for better, worse in pairs:
            paired = list(zip(scores[better], scores[worse], strict=False))
            effect = difference(paired)[METRIC][ALL]
            claims.append(
                {
                    "claim": f"{better} > {worse}",
                    "difference": asdict(effect),
                    "wins": sum(_accuracy(a) > _accuracy(b) for a, b in paired),
                    "verdict": verdict(effect),
                }
            )
        document["comparisons"][name] = {"note": note, "arms": list(arms), "claims": claims}
        _draw_bars({arm: spreads[arm][METRIC][ALL] for arm in arms}, folder / f"{name}.png")
    _draw_curves(runs, folder / "curves.png")
    write_json(folder / "report.json", document)
    with replace_atomically(folder / "report.md") as file:
        file.write("\n".join(_markdown(document)).encode())
    print(folder / "report.md")
    return document


def _scores(run: Path, split: str) -> Scores:
    scores: Scores = read_json(run / "scores" / f"{split}.json")
    return scores


def _accuracy(scores: Scores) -> float:
    counts = [video["counts"][METRIC] for video in scores["videos"]]
    return sum(right for right, _ in counts) / sum(asked for _, asked in counts)


def _arm(runs: Sequence[Path], scores: Sequence[Scores], spreads: Any) -> dict[str, Any]:
    """What is known of an arm."""
    chosen = read_about(runs[0])["chosen"]
    rows = [read_json(run / EPOCHS) for run in runs]
    best = [max(own, key=lambda row: row["val_accuracy"])["epoch"] for own in rows]
    return {
        "accuracy": asdict(spreads[METRIC][ALL]),
        "controls": {name: asdict(own[ALL]) for name, own in spreads.items() if name != METRIC},
        "seeds": [_accuracy(own) for own in scores],
        "chosen": chosen,
        "best_epochs": best,
        "epochs": len(rows[0]),
        "cpu_ms_a_question": 1e3 * sum(own["cpu_seconds"] for own in scores) / len(scores),
    }


def _markdown(document: dict[str, Any]) -> Iterator[str]:
    yield f"# Students of {document['dataset']}, tested on {document['split']}"
    yield ""
    yield "Accuracy with its 95 % interval over seeds and videos; sd: over seeds."
    for name, comparison in document["comparisons"].items():
        yield from ("", f"## {name.capitalize()}", "", f"![Accuracy of each arm]({name}.png)", "")
        if comparison["note"]:
            yield from (comparison["note"], "")
        yield "| arm | seeds | accuracy | sd | learning rate, weight | best epochs |"
        yield "|---|---|---|---|---|---|"
        for arm in comparison["arms"]:
            own = document["arms"][arm]
            chosen = f"{own['chosen']['lr']:g}, {own['chosen']['weight']:g}"
            epochs = f"{', '.join(map(str, own['best_epochs']))} of {own['epochs']}"
            spread = own["accuracy"]
            sd = "" if spread["sd"] is None else f"{spread['sd']:.3f}"
            yield f"| {arm} | {spread['seeds']} | {_cell(spread)} | {sd} | {chosen} | {epochs} |"
        yield from ("", "| claim | difference | seeds that agree | verdict |", "|---|---|---|---|")
        for claim in comparison["claims"]:
            effect = claim["difference"]
            agree = f"{claim['wins']} of {effect['seeds']}"
            cell = _cell(effect, "+")
            yield f"| {claim['claim']} | {cell} | {agree} | {claim['verdict']} |"
        controlled = [arm for arm in comparison["arms"] if document["arms"][arm]["controls"]]
        if controlled:
            yield from ("", "The same students, shown less at test time:", "")
            yield from _control_table(controlled, document["arms"])
    yield from ("", "## Curves and cost", "", "![Validation accuracy by epoch](curves.png)", "")
    slowest = max(own["cpu_ms_a_question"] for own in document["arms"].values())
    yield (
        f"A student takes at most {slowest:.2f} ms of CPU a question from the cache of features."
        " CLIP comes on top of that, and where lines are read, so does the captioner that writes"
        " them; neither is in this number."
    )
    yield ""


def _control_table(arms: Sequence[str], known: dict[str, Any]) -> Iterator[str]:
    names = list(dict.fromkeys(name for arm in arms for name in known[arm]["controls"]))
    yield f"| arm | {' | '.join(name.replace('_', ' ') for name in names)} |"
    yield "|" + "---|" * (len(names) + 1)
    for arm in arms:
        own = known[arm]["controls"]
        cells = [f"{own[name]['value']:.3f}" if name in own else "" for name in names]
        yield f"| {arm} | {' | '.join(cells)} |"


def _cell(spread: dict[str, Any], sign: str = "") -> str:
    return f"{spread['value']:{sign}.3f} [{spread['low']:{sign}.3f}, {spread['high']:{sign}.3f}]"


def _draw_bars(spreads: Mapping[str, Spread], path: Path) -> None:
    """A row an arm, with its interval."""
    figure, panel = _panel(MARGIN + ROW * len(spreads))
    for row, spread in enumerate(spreads.values()):
        panel.barh(row, spread.value, color=BLUE, height=0.6)
        panel.plot([spread.low, spread.high], [row, row], color="black", linewidth=2)
        panel.annotate(
            f"{spread.value:.3f}",
            (spread.high, row),
            (6, 0),
            textcoords="offset points",
            va="center",
        )
    panel.set_yticks(range(len(spreads)), spreads)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.1)
    panel.set_xlabel("accuracy (line: 95 % over seeds and videos)")
    _save(figure, path)


def _draw_curves(runs: Mapping[str, Sequence[Path]], path: Path) -> None:
    """Validation accuracy by epoch, a curve a run, a colour an arm."""
    from matplotlib import colormaps

    figure, panel = _panel(5.0)
    colours = colormaps["tab20"]
    for number, (arm, own) in enumerate(runs.items()):
        for place, run in enumerate(own):
            rows = read_json(run / EPOCHS)
            panel.plot(
                [row["epoch"] for row in rows],
                [row["val_accuracy"] for row in rows],
                color=colours(number % 20),
                linewidth=1,
                label=arm if place == 0 else None,
            )
    panel.set_xlabel("epoch")
    panel.set_ylabel("accuracy on the validation questions")
    panel.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def _panel(height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.add_subplot()
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="x", color=GRAY, alpha=0.3)
    return figure, panel


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as file:
        figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
