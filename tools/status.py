"""How a dataset stands: for each step what is done, filtered, failed and left.

python -m tools.status mine
python -m tools.status              # a line for each dataset
python -m tools.status mine --json  # for programs
python -m tools.status mine --watch # on any machine, while runs go on: their rates and failures
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
from rich.box import SIMPLE
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table as Screen
from rich.text import Text

from tools.cli import add_data_root, add_dataset, amount, run_script, script_parser
from tools.errors import UserError
from tools.runner.counts import Counts, count, remembered, step_counts
from tools.runner.progress import RunState, runs_on
from tools.shots.settings import Settings
from tools.shots.steps import STEPS
from tools.store.dataset import Dataset, dataset_names, open_dataset
from tools.store.jsonl import Table


def steps_of(dataset: Dataset) -> Iterator[tuple[str, Table, Sequence[Table]]]:
    """Yield (name, what it reads, what it writes) of every step that may have left something."""
    for kind in STEPS:
        step = kind(dataset, Settings())
        writes = (dataset.videos(),) if step.name == "finalize" else step.writes
        yield step.name, step.reads, writes
    for extractor in dataset.flow_extractors():
        yield f"flow {extractor}", dataset.table("init"), (dataset.table(f"flow_{extractor}"),)
    yield from _text_video_steps(dataset)
    for what, split, name in dataset.question_tables():
        own = {
            "labels": f"frame_answers_{split}_{name}",
            "image_vectors": f"question_videos_{split}",
            "judged": f"choices_{split}",
        }
        asked = own.get(what, f"questions_{split}")
        made = dataset.table(f"{what}_{split}_{name}")
        yield f"{what} {split} {name}", dataset.table(asked), (made,)
    for model in dataset.caption_models():
        raw = dataset.table(f"raw_clip_captions_{model}")
        yield f"raw_captions {model}", dataset.videos(), (raw,)
        yield f"captions {model}", raw, (dataset.table(f"clip_captions_{model}"),)
    for model, iteration in dataset.response_runs():
        reads = dataset.table(f"clip_captions_{model}")
        names = dataset.response_configs(model, iteration)
        tables = [dataset.responses(model, name, iteration) for name in names]
        yield f"responses {model} iter_{iteration}", reads, tables


def _text_video_steps(dataset: Dataset) -> Iterator[tuple[str, Table, Sequence[Table]]]:
    """Those of text videos, of their vectors, and of captions by a model that has learnt them."""
    tideos = dataset.table("tideos")
    given = [dataset.table(name) for name in ("released_tideos", "toy_tideos")]
    for model in dataset.made_by("raw_tideos"):
        raw = dataset.table(f"raw_tideos_{model}")
        yield f"raw_tideos {model}", dataset.table("tideo_seeds"), (raw,)
        given.append(raw)
    if reads := [table for table in given if table.exists()]:
        yield "tideos", reads[-1], (tideos,)
    for clip in dataset.made_by("text_vectors"):
        vectors = dataset.table(f"text_vectors_{clip}")
        yield f"text_vectors {clip} (shards)", dataset.table("tideo_shards"), (vectors,)
    for name in dataset.made_by("video_captions"):
        captions = dataset.table(f"video_captions_{name}")
        split = captions.meta().get("params", {}).get("split")
        yield f"video_captions {name}", dataset.table(f"described_videos_{split}"), (captions,)


def funnel(dataset: Dataset) -> Iterator[tuple[str, Counts]]:
    """Yield (step, its counts), those of all shards added up, in the order of the pipeline."""
    yield from added_up(dict(funnel_of_one(shard)) for shard in dataset.shards()).items()


def added_up(funnels: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Step -> its counts in all of these."""
    steps: dict[str, Counts] = {}
    for name, counts in chain.from_iterable(steps_counts.items() for steps_counts in funnels):
        steps[name] = steps.get(name, Counts()) + counts
    return steps


def funnel_of_one(
    dataset: Dataset,
    running: Mapping[Path, Counts] = MappingProxyType({}),
    waiting: dict[Path, Counts] | None = None,
) -> Iterator[tuple[str, Counts]]:
    """The funnel of a dataset without shards, or of one shard.

    Args:
        running: the file of a table that is being made -> its step's counts, which its run knows.
        waiting: the file of a table that is made of one of those next -> its step's counts at the
            first look, which are added here: what grows is not read at each look.
    """
    waiting = {} if waiting is None else waiting
    init = dataset.table("init")
    if (counts := remembered(init, [init])) is not None:
        yield "init", counts
    elif init.exists():
        index, failures = init.index(), init.failed.read()
        yield "init", count(index.places.keys() | failures, index, failures)
    for name, reads, writes in steps_of(dataset):
        if known := [running[table.path] for table in writes if table.path in running]:
            yield name, known[0]
        elif given := running.get(reads.path):
            path = writes[0].path
            counts = waiting[path] = waiting.get(path) or step_counts(reads, writes)
            ended = counts.total - counts.remaining
            yield name, replace(counts, remaining=max(0, len(writes) * given.done - ended))
        elif reads.exists():
            yield name, step_counts(reads, writes)


def reasons(counts: Counts) -> Iterator[str]:
    """Why records were filtered or failed, most frequent first."""
    for reason, number in counts.filtered.most_common():
        yield f"{number} {reason}"
    for error, number in counts.failed.most_common():
        yield f"{number} failed: {error}"


def show(dataset: Dataset, console: Console) -> None:
    """Print the funnel as a table."""
    screen = Screen(box=SIMPLE, padding=(0, 1), pad_edge=False, collapse_padding=True)
    screen.add_column("step")
    for column in ("given", "done", "filtered", "failed", "remaining"):
        screen.add_column(column, justify="right")
    screen.add_column("why", overflow="fold")
    steps = dict(funnel(dataset))
    for name, counts in steps.items():
        filtered, failed = counts.filtered.total(), counts.failed.total()
        numbers = (counts.total, counts.done, filtered, failed, counts.remaining)
        screen.add_row(name, *map(str, numbers), "\n".join(reasons(counts)))
    console.print(f"{dataset.title}: {dataset.root}", soft_wrap=True, highlight=False, markup=False)
    console.print(screen)
    console.print(_balance_line(steps), highlight=False)


def balance(steps: dict[str, Counts]) -> dict[str, int]:
    """Where every listed video is, after stage 1; the last four numbers add up to the first."""
    stage = [steps[name] for name in ("init", *(step.name for step in STEPS)) if name in steps]
    listed = stage[0].total if stage else 0
    filtered = sum(counts.filtered.total() for counts in stage)
    failed = sum(counts.failed.total() for counts in stage)
    kept = steps["finalize"].done if "finalize" in steps else 0
    left = listed - kept - filtered - failed
    return {"videos": listed, "kept": kept, "filtered": filtered, "failed": failed, "left": left}


def _balance_line(steps: dict[str, Counts]) -> str:
    videos, *parts = balance(steps).items()
    if not videos[1]:
        return "no videos listed yet: run preprocess.py"
    return f"{videos[1]} videos = {' + '.join(f'{number} {name}' for name, number in parts)}"


def as_json(dataset: Dataset) -> dict[str, Any]:
    """All that `show` prints."""
    steps = dict(funnel(dataset))
    rows = [{"step": name, "given": counts.total, **vars(counts)} for name, counts in steps.items()]
    return {
        "dataset": dataset.title,
        "folder": str(dataset.root),
        **balance(steps),
        "steps": rows,
    }


class Watch:
    """Looks at a dataset again and again. Of shards in which no run works, only the times of change
    of their folders are looked at."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._before: dict[Path, tuple[list[int], dict[str, Counts]]] = {}
        self._running: set[Path] = set()
        self._waiting: dict[Path, Counts] = {}  # see `funnel_of_one`
        self._names: dict[Path, str] = {}  # a table's file -> its step as the funnel names it

    def screen(self, now: float) -> Group:
        """The funnel with the rates of the runs, and a line about each run."""
        states = list(runs_on(self.dataset))
        runs = [(self._name(shard, run), run) for shard, run in states]
        at_work = [(name, run) for name, run in runs if not run.end(now)]
        running = {
            shard.root / path: run.counts
            for shard, run in states
            if not run.end(now)
            for path in run.writes
        }
        if self._running != set(running):
            self._running = set(running)
            self._waiting.clear()
        steps = added_up(self._funnel(shard, running) for shard in self.dataset.shards())
        table = Screen(box=SIMPLE, padding=(0, 1), pad_edge=False, collapse_padding=True)
        table.add_column("step")
        for column in ("done", "filtered", "failed", "left", "a second", "time left", "workers"):
            table.add_column(column, justify="right")
        table.add_column("nodes")
        table.add_column("why", overflow="fold")
        for name, counts in steps.items():
            own = [run for step, run in at_work if step == name]
            rate = sum(run.rate for run in own)
            nodes = sum((Counter(run.nodes) for run in own), Counter[str]())
            numbers = counts.done, counts.filtered.total(), counts.failed.total(), counts.remaining
            table.add_row(
                name,
                *map(str, numbers),
                f"{rate:.3g}" if own else "",
                f"{timedelta(seconds=round(counts.remaining / rate))}" if rate else "",
                str(nodes.total()) if own else "",
                " ".join(sorted(nodes)),
                "\n".join(reasons(counts)),
            )
        lines = [f"{self.dataset.title}: {self.dataset.root}", _balance_line(steps)]
        for name, run in runs:
            began = f"{datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}"
            who = f"{name}: pid {run.pid} on {run.host}, {run.engine}, {run.world_size} workers"
            lines.append(f"{who}, since {began}{f': it {run.end(now)}' if run.end(now) else ''}")
        return Group(table, *(Text(line) for line in lines))

    def _name(self, shard: Dataset, run: RunState) -> str:
        made = shard.root / run.writes[0]
        for name, _, writes in () if made in self._names else steps_of(shard):
            self._names |= {table.path: name for table in writes}
        return self._names.get(made, run.step)

    def _funnel(self, shard: Dataset, running: Mapping[Path, Counts]) -> dict[str, Counts]:
        if any(path.is_relative_to(shard.root) for path in running):
            self._before.pop(shard.root, None)
            return dict(funnel_of_one(shard, running, self._waiting))
        changed = [folder.stat().st_mtime_ns for folder in shard.table_folders()]
        if self._before.get(shard.root, ([], {}))[0] != changed:
            self._before[shard.root] = changed, dict(funnel_of_one(shard))
        return self._before[shard.root][1]


def watch(dataset: Dataset, seconds: float) -> None:
    """Show how a dataset stands until Ctrl-C."""
    view = Watch(dataset)
    with suppress(KeyboardInterrupt), Live(auto_refresh=False) as live:
        while True:
            live.update(view.screen(time.time()), refresh=True)
            time.sleep(seconds)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the funnel of one dataset, or a line about each."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv, optional=True)
    parser.add_argument(
        "--watch",
        nargs="?",
        type=amount,
        const=2.0,
        metavar="SECONDS",
        help="show one dataset again and again, every so many seconds (2), with the rate, the time"
        " left, the workers and the nodes of each run (default: show it once)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON (default: a table)")
    add_data_root(parser)
    args = parser.parse_args(argv)
    names = [args.dataset] if args.dataset else dataset_names(args.data_root)
    if not names:
        raise UserError(f"no dataset in {args.data_root}: preprocess.py makes the first")
    if args.watch and (not args.dataset or args.json):
        raise UserError("--watch shows one dataset: name it, and leave --json out")
    shown: list[dict[str, Any]] = []
    faults: list[UserError] = []  # of some datasets, which must not hide the others
    for name in names:
        try:
            dataset = open_dataset(name, args.data_root, whole=True)
            if args.watch:
                watch(dataset, args.watch)
            elif args.json:
                shown.append(as_json(dataset))
            elif args.dataset:
                show(dataset, Console())
            else:
                print(f"{dataset.name}: {_balance_line(dict(funnel(dataset)))}")
        except UserError as error:
            faults.append(error)
    if shown:
        value = shown[0] if args.dataset else shown
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    for fault in faults[1:]:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        raise faults[0]


if __name__ == "__main__":
    run_script(main)
