"""How a dataset stands: for each step what is done, filtered, failed and left.

python -m tools.status mine
"""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Screen

from tools.cli import add_data_root, add_dataset, run_script, script_parser
from tools.runner.counts import Counts, count, step_counts
from tools.shots.settings import Settings
from tools.shots.steps import STEPS
from tools.store.dataset import Dataset, open_dataset
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
        others = {
            "labels": f"frame_answers_{split}_{name}",
            "image_vectors": f"question_videos_{split}",
        }
        asked = others.get(what, f"questions_{split}")
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
    """Yield (step, its counts), in the order of the pipeline."""
    init = dataset.table("init")
    if init.exists():
        index, failures = init.index(), init.failed.read()
        yield "init", count(index.places.keys() | failures, index, failures)
    for name, reads, writes in steps_of(dataset):
        if reads.exists():
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
    console.print(f"{dataset.name}: {dataset.root}", soft_wrap=True, highlight=False, markup=False)
    console.print(screen)
    console.print(_balance(steps), highlight=False)


def _balance(steps: dict[str, Counts]) -> str:
    """Where every listed video is, after stage 1; the four numbers add up to the first."""
    stage = [steps[name] for name in ("init", *(step.name for step in STEPS)) if name in steps]
    if not stage:
        return "no videos listed yet: run preprocess.py"
    listed = stage[0].total
    filtered = sum(counts.filtered.total() for counts in stage)
    failed = sum(counts.failed.total() for counts in stage)
    kept = steps["finalize"].done if "finalize" in steps else 0
    left = listed - kept - filtered - failed
    return f"{listed} videos = {kept} kept + {filtered} filtered + {failed} failed + {left} left"


def main(argv: Sequence[str] | None = None) -> None:
    """Print the funnel of one dataset."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_data_root(parser)
    args = parser.parse_args(argv)
    show(open_dataset(args.dataset, args.data_root), Console())


if __name__ == "__main__":
    run_script(main)
