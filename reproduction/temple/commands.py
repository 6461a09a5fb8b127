"""The commands of the reproduction: each is one that a user could type."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson

from reproduction.temple.arms import CHOSEN, LEVELS, MANY, PAIRS
from reproduction.temple.trainings import Base, Place, Training
from tools.pairs.perturbation import FINEST
from tools.store.dataset import REPOSITORY
from tools.training.recipe import Stage
from toyworld.stories import numbers_of_events, plan_story
from toyworld.truth import read_truth, truth

BATCH = 8  # rows at once: divides the batches of all recipes
ONE_THREAD = {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@dataclass(frozen=True)
class Stories:
    """A dataset of stories: what `python -m toyworld` is told."""

    videos: int
    events: str
    seed: int
    begins_with: str | None = None  # a dataset of its first videos


# Fine-tuning asks about videos of one event as well, which no pair is made of.
_MIXED = "1,1,1,1,3,4,5,6,7,8,9,10,11,12,13,14,15,16"
STORIES = {
    PAIRS: Stories(216, "8-16", 21),
    MANY: Stories(1080, "8-16", 21, PAIRS),
    "toysft": Stories(612, _MIXED, 22),
    "toysft-x4": Stories(2448, _MIXED, 22, "toysft"),
    "toytest": Stories(90, "4,8,16", 101),
    "toyval": Stories(45, "4,8,16", 102),
}


def python(script: str, *words: object) -> list[str]:
    """A script at the root, or a module."""
    first = [str(REPOSITORY / script)] if script.endswith(".py") else ["-m", script]
    return [sys.executable, *first, *map(str, words)]


def train_base(place: Place, base: Base) -> list[str]:
    """Another base, made as the first one was."""
    return python(
        "reproduction.toyvl", "--seed", base.seed, "--out", base.folder, "--workers", 1,
        "--stories", place.exp / f"stories_{base.seed}",
    )  # fmt: skip


def render(place: Place, name: str, first: str | None = None) -> list[str]:
    """A dataset of stories; `first` is one that is there and holds its first videos."""
    told = STORIES[name]
    return python(
        "toyworld", "--videos", told.videos, "--events", told.events,
        "--seed", told.seed, "--workers", 1, "--out", place.data / name,
        *(["--begin_with", place.data / first] if first else []),
    )  # fmt: skip


def is_rendered(place: Place, name: str) -> bool:
    """Whether a dataset is there, and is the one that is meant: its first and last story say so."""
    told = STORIES[name]
    try:
        lines = read_truth(place.data / name)
    except FileNotFoundError:
        return False
    if len(lines) != told.videos:
        return False
    counts = numbers_of_events(told.events)
    for number in (0, told.videos - 1):
        story = truth(plan_story(told.seed, number, counts[number % len(counts)]))
        if orjson.loads(orjson.dumps(story)) != lines[number]:
            return False
    return True


def find_shots(place: Place, dataset: str) -> list[str]:
    """Stage 1."""
    return python(
        "preprocess.py", dataset, 1, "--video_dir", place.data / dataset / "video",
        "--embedder", "color", "--shot_detector", "adaptive", "--device", "cpu",
        "--data_root", place.data,
    )  # fmt: skip


def make_pairs(place: Place, base: Base, dataset: str) -> list[list[str]]:
    """Stages 2 to 4 with a base as the model; each is resumable by itself.

    The level r1 is there for arms that want it; the paper's four are `LEVELS`.
    """
    model = ["--model", base.name if base.shipped else base.folder, "--device", "cpu"]
    root = ["--data_root", place.data]
    levels = [base.name, *LEVELS, FINEST, "--dataset", dataset, "--per_level", *root]
    converted = [
        python("convert_to_swift.py", *levels, "--output", pairs_folder(place, dataset, kind), *how)
        for kind, how in (("all", []), ("distinct", ["--distinct_levels"]))
    ]
    return [
        python("generate_meta_data.py", 1, "--dataset", dataset, *model, *root),
        python("generate_dpo_data.py", dataset, 1, "--fine", *model, *root),
        *converted,
    ]


def pairs_folder(place: Place, dataset: str, kind: str) -> Path:
    """Where stage 4 writes a dataset's pairs: all or distinct."""
    return place.exp / "pairs" / dataset / kind


def draw_rows(one: Training, stage: Stage, path: Path, count: int) -> list[str]:
    """The rows of a stage; a seed draws its own."""
    if stage.levels or stage.dataset == CHOSEN:
        kind = "distinct" if one.arm.pairs == "distinct" else "all"
        pairs = pairs_folder(one.place, one.arm.pairs_dataset, kind)
        levels = stage.levels or LEVELS
        files = [pairs / f"{one.pairs_base.name}_i0_r{level}.json" for level in levels]
        source = ["--pairs", *files, *([] if stage.levels else ["--chosen"])]
    else:
        source = ["--dataset", stage.dataset, "--data_root", one.place.data]
    return python(
        "reproduction.temple.rows", *source, "--n", count, "--seed", one.seed, "--out", path
    )


def train(one: Training) -> list[str]:
    """Stage 5, up to the training's phase; phases that are finished are skipped."""
    return ["bash", str(REPOSITORY / "train_scripts" / "run.sh"), one.phase]


def settings(one: Training) -> dict[str, str]:
    """The settings of a training that its recipe does not name."""
    return {
        **ONE_THREAD,
        "GROUP": one.group,
        "SEED": str(one.seed),
        "MODEL": str(one.base.folder),
        "DATA_MODEL": one.pairs_base.name,
        "DATA_DIR": str(next(iter(one.rows)).parent),
        "EXP_DIR": str(one.place.exp),
        "DEVICE": "cpu",
        "VAL": "none",
        "WORKERS": "0",
        "PER_DEVICE_BATCH": str(BATCH),
        "LOGGING_STEPS": "8",
        "REPORT_TO": "none",
        # Memory is no concern here, and everything would be computed twice.
        **one.arm.settings,
    }


def score(place: Place, model: Path, name: str, dataset: str, out: Path) -> list[str]:
    """Score a model."""
    return python(
        "evaluate_model.py", "toy", "--model", model, "--model_name", name, "--dataset", dataset,
        "--data_root", place.data, "--device", "cpu", "--max_new_tokens", 256, "--out", out,
    )  # fmt: skip
