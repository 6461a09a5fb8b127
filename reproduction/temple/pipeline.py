"""What the reproduction runs: stories, pairs, trainings and scores, each part where it is missing.

Every command is one that a user could type.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reproduction.jobs import Runner, Task, python
from reproduction.temple.arms import CHOSEN, LEVELS, SFT_DATASETS
from reproduction.temple.stories import STORIES, is_rendered
from reproduction.temple.trainings import Base, Training, Workspace, is_scored
from reproduction.toyvl import TRAINED
from tools.pairs.perturbation import FINEST
from tools.store.dataset import REPOSITORY
from tools.training.recipe import Stage

BATCH = 8  # rows at once: divides the batches of all recipes
SETTINGS = {
    "DEVICE": "cpu",
    "VAL": "none",
    "WORKERS": "0",
    "PER_DEVICE_BATCH": str(BATCH),
    "LOGGING_STEPS": "8",
    "REPORT_TO": "none",
}


class Pipeline:
    """The parts of a reproduction in one workspace.

    A part makes what it needs first. Parts that several arms share are made once, whichever arm
    comes first.
    """

    def __init__(self, workspace: Workspace, runner: Runner, dataset: str) -> None:
        """Args: dataset: the stories that models are scored on."""
        self.workspace = workspace
        self.runner = runner
        self.dataset = dataset

    def run(self, arms: Sequence[Sequence[Training]], only_last: bool = False) -> list[str]:
        """Train and score models, each arm phase by phase; returns the names of what failed.

        Args:
            arms: the phases of each arm from each seed.
            only_last: score the last phase of each alone, and not the bases.
        """
        missing = [one for phases in arms for one in phases if not one.trained()]
        # Pairs come first: most arms wait for them, and the second base is trained for them.
        pairs = dict.fromkeys(
            (one.pairs_base, one.arm.pairs_dataset)
            for one in missing
            if one.stages[0].dataset not in SFT_DATASETS
        )
        tasks: list[Task] = [
            (f"pairs of {dataset} by {base.name}", partial(self.make_pairs, base, dataset))
            for base, dataset in pairs
        ]
        if not only_last:
            for base in dict.fromkeys(phases[0].base for phases in arms):
                tasks.append((f"base {base.name}", partial(self.score_base, base)))
        for phases in arms:
            name = f"{phases[0].arm.name} from seed {phases[0].seed}"
            scored = phases[-1:] if only_last else phases
            tasks.append((name, partial(self.finish, phases, scored)))
        return self.runner.each(tasks)

    def finish(self, phases: Sequence[Training], scored: Sequence[Training]) -> None:
        """Train the phases of one arm from one seed, and score some of them."""
        for one in phases:
            self.train(one)
            if one in scored:
                self.score(one)

    def render(self, name: str) -> None:
        """A dataset of stories."""
        if is_rendered(self.workspace.data / name, STORIES[name]):
            return
        stories = STORIES[name]
        command = python(
            "toyworld", "--videos", stories.videos, "--events", stories.events,
            "--seed", stories.seed, "--workers", 1, "--out", self.workspace.data / name,
        )  # fmt: skip
        if stories.begins_with:
            self.render(stories.begins_with)
            command += ["--begin_with", str(self.workspace.data / stories.begins_with)]
        self.runner.job(f"render-{name}", [command])

    def train_base(self, base: Base) -> None:
        """The second base, made as the shipped one was."""
        if not base.shipped and not (base.folder / TRAINED).is_file():
            command = python(
                "reproduction.toyvl", "--seed", base.seed, "--out", base.folder, "--workers", 1,
                "--stories", self.workspace.exp / f"stories_{base.seed}",
            )  # fmt: skip
            self.runner.job(f"base-{base.name}", [command])

    def make_pairs(self, base: Base, dataset: str) -> None:
        """Stages 1 to 4 with a base as the model; each goes on where it was stopped.

        The level r1 is there for arms that want it; the paper's four are `LEVELS`.
        """
        root = ["--data_root", self.workspace.data]
        model = ["--model", base.name if base.shipped else base.folder, "--device", "cpu", *root]
        levels = [base.name, *LEVELS, FINEST, "--dataset", dataset, "--per_level", *root]
        self.train_base(base)
        self.render(dataset)
        shots = python(
            "preprocess.py", dataset, 1, "--video_dir", self.workspace.data / dataset / "video",
            "--embedder", "color", "--shot_detector", "adaptive", "--device", "cpu", *root,
        )  # fmt: skip
        self.runner.job(f"shots-{dataset}", [shots])
        folder = self.workspace.pairs(dataset, "all")
        distinct = self.workspace.pairs(dataset, "distinct")
        commands = [
            python("generate_meta_data.py", 1, "--dataset", dataset, *model),
            python("generate_dpo_data.py", dataset, 1, "--fine", *model),
            python("convert_to_swift.py", *levels, "--output", folder),
            python("convert_to_swift.py", *levels, "--output", distinct, "--distinct_levels"),
        ]
        self.runner.job(f"pairs-{dataset}-{base.name}", commands)

    def draw_rows(self, one: Training, stage: Stage, path: Path, count: int) -> None:
        """The rows of a stage; a seed draws its own."""
        if path.is_file():
            return
        if stage.dataset in SFT_DATASETS:
            self.render(stage.dataset)
            source = ["--dataset", stage.dataset, "--data_root", self.workspace.data]
        else:
            self.make_pairs(one.pairs_base, one.arm.pairs_dataset)
            kind = "distinct" if one.arm.pairs == "distinct" else "all"
            folder = self.workspace.pairs(one.arm.pairs_dataset, kind)
            levels = stage.levels or LEVELS
            files = [folder / f"{one.pairs_base.name}_i0_r{level}.json" for level in levels]
            source = ["--pairs", *files, *(["--chosen"] if stage.dataset == CHOSEN else [])]
        words = [*source, "--n", count, "--seed", one.seed, "--out", path]
        command = python("reproduction.temple.rows", *words)
        self.runner.job(f"rows-{one.group}-{path.stem}", [command])

    def train(self, one: Training) -> None:
        """Stage 5, up to the training's phase; run.sh skips phases that are finished."""
        self.train_base(one.base)
        for stage, (path, count) in zip(one.stages, one.rows.items(), strict=True):
            self.draw_rows(one, stage, path, count)
        if one.trained():
            return
        settings = {
            "GROUP": one.group,
            "SEED": str(one.seed),
            "MODEL": str(one.base.folder),
            "DATA_MODEL": one.pairs_base.name,
            "DATA_DIR": str(next(iter(one.rows)).parent),
            "EXP_DIR": str(self.workspace.exp),
            **SETTINGS,
            **one.arm.settings,
        }
        command = ["bash", str(REPOSITORY / "train_scripts" / "run.sh"), one.phase]
        self.runner.job(f"train-{one.key}", [command], settings)

    def score(self, one: Training) -> None:
        """Score the model of a training."""
        out = one.scores(self.dataset)
        self._score(f"score-{self.dataset}-{one.key}", one.model(), one.name, out)

    def score_base(self, base: Base) -> None:
        """Score a base itself."""
        self.train_base(base)
        out = self.workspace.base_scores(base, self.dataset)
        self._score(f"score-{self.dataset}-{base.name}", base.folder, base.name, out)

    def _score(self, job: str, model: Path, name: str, out: Path) -> None:
        self.render(self.dataset)
        if is_scored(out, model, self.workspace.data / self.dataset):
            return
        command = python(
            "evaluate_model.py", "toy", "--model", model, "--model_name", name,
            "--dataset", self.dataset, "--data_root", self.workspace.data, "--device", "cpu",
            "--max_new_tokens", 256, "--out", out,
        )  # fmt: skip
        self.runner.job(job, [command])
