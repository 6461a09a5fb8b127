"""What the reproduction runs: stories, pairs, trainings and scores, each part where it is missing.

Every command is one that a user could type; on a CPU models are trained and scored by a Python that
has imported ms-swift, torch and transformers already (`reproduction.warm_swift`).
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from reproduction.jobs import ENVIRONMENT, Runner, python
from reproduction.temple.arms import CHOSEN, LEVELS
from reproduction.temple.noise import noisy
from reproduction.temple.stories import STORIES, is_rendered
from reproduction.temple.trainings import Base, Training, Workspace, is_scored
from reproduction.warm_swift import warm_swift
from tools.pairs.perturbation import FINEST
from tools.store.dataset import REPOSITORY
from tools.training.recipe import ORDER, Stage

SETTINGS = {
    # What settings.sh sets by itself on a CPU, on a GPU too.
    "TORCH_DTYPE": "float32",
    "DEEPSPEED": "",
    "ATTN_IMPL": "sdpa",
    "VAL": "none",
    "WORKERS": "0",
    "PER_DEVICE_BATCH": "8",  # divides the batches of all recipes
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
        tasks: list[tuple[str, Callable[[], None]]] = []
        untrained = [phase for phases in arms for phase in phases if not phase.trained()]
        # Pairs come first: most arms wait for them.
        pairs = [
            (phase.pairs_base, phase.arm.pairs_dataset, phase.arm.noise)
            for phase in untrained
            if phase.needs_pairs
        ]
        for base, dataset, noise in dict.fromkeys(pairs):
            make = partial(self.make_pairs, base, dataset, noise)
            tasks.append((f"pairs of {dataset} by {noisy(base.name, noise)}", make))
        if not only_last:
            for base in dict.fromkeys(phases[0].base for phases in arms):
                tasks.append((f"base {base.name}", partial(self.score_base, base)))
        for phases in arms:
            name = f"{phases[0].arm.name} from seed {phases[0].seed}"
            tasks.append((name, partial(self.finish, phases, only_last)))
        return self.runner.each(tasks)

    def finish(self, phases: Sequence[Training], only_last: bool) -> None:
        """Train the phases of one arm from one seed, and score all of them or the last alone."""
        for phase in phases:
            self.train(phase)
            if phase is phases[-1] or not only_last:
                self.score(phase.key, phase.model(), phase.name, phase.scores(self.dataset))

    def render(self, name: str) -> None:
        """A dataset of stories."""
        stories, folder = STORIES[name], self.workspace.data / name
        if is_rendered(folder, stories):
            return
        command = python(
            "toyworld", "--videos", stories.videos, "--events", stories.events,
            "--seed", stories.seed, "--workers", 1, "--out", folder,
        )  # fmt: skip
        if stories.begins_with:
            self.render(stories.begins_with)
            command += ["--begin_with", str(self.workspace.data / stories.begins_with)]
        self.runner.job(f"render-{name}", [command])

    def make_pairs(self, base: Base, dataset: str, noise: int = 0) -> None:
        """Stages 1 to 4 with a base as the model; each goes on where it was stopped.

        The level r1 is there for arms that want it; the paper's four are `LEVELS`.

        Args:
            noise: percent of the clip captions that are wrong.
        """
        root = ["--data_root", self.workspace.data]
        name = noisy(base.name, noise)
        model = ["--model", base.folder, "--model_name", name]
        model += ["--device", self.workspace.device, *root]
        levels = [name, *LEVELS, FINEST, "--dataset", dataset, "--per_level", *root]
        folder = self.workspace.exp / "pairs" / dataset
        distinct = folder / "distinct"
        if noise:
            self.make_pairs(base, dataset)
            right = ["--dataset", dataset, "--model", base.name, "--seed", base.seed, *root]
            captions = python("reproduction.temple.noise", *right, "--percent", noise)
        else:
            self.render(dataset)
            shots = python(
                "preprocess.py", dataset, 1, "--video_dir", self.workspace.data / dataset / "video",
                "--embedder", "color", "--shot_detector", "adaptive", "--device", "cpu", *root,
            )  # fmt: skip
            self.runner.job(f"shots-{dataset}", [shots])
            captions = python("generate_meta_data.py", 1, "--dataset", dataset, *model)
        commands = [
            captions,
            python("generate_dpo_data.py", dataset, 1, "--fine", *model),
            python("convert_to_swift.py", *levels, "--output", folder / "all"),
            python("convert_to_swift.py", *levels, "--output", distinct, "--distinct_levels"),
        ]
        self.runner.job(f"pairs-{dataset}-{name}", commands)

    def make_order_rows(self, base: Base, dataset: str) -> Path:
        """Rows of GRPO with the reward `order`; returns their file."""
        path = self.workspace.exp / "pairs" / dataset / f"{base.name}_i0_{ORDER}.json"
        root = ["--data_root", self.workspace.data]
        words = [base.name, "--dataset", dataset, "--output", path, *root]
        self.runner.job(f"order-{dataset}-{base.name}", [python("tools.pairs.order_rows", *words)])
        return path

    def draw_rows(self, phase: Training, stage: Stage, path: Path, count: int) -> None:
        """The rows of a stage; a seed draws its own."""
        if path.is_file():
            return
        if phase.needs_pairs:
            self.make_pairs(phase.pairs_base, phase.arm.pairs_dataset, phase.arm.noise)
            folder = self.workspace.exp / "pairs" / phase.arm.pairs_dataset
            folder /= "distinct" if phase.arm.pairs == "distinct" else "all"
            levels = stage.levels or LEVELS
            files = [folder / f"{phase.pairs_model}_i0_r{level}.json" for level in levels]
            if stage.dataset == ORDER:
                files = [self.make_order_rows(phase.pairs_base, phase.arm.pairs_dataset)]
            source = ["--pairs", *files, *(["--chosen"] if stage.dataset == CHOSEN else [])]
            alike = [other for other in phase.stages if set(other.levels) == set(stage.levels)]
            if len(alike) > 1:  # stages of the same levels share one draw
                source += ["--part", f"{alike.index(stage) + 1}/{len(alike)}"]
        else:
            self.render(stage.dataset)
            source = ["--dataset", stage.dataset, "--data_root", self.workspace.data]
        words = [*source, "--n", count, "--seed", phase.seed, "--out", path]
        command = python("reproduction.temple.rows", *words)
        self.runner.job(f"rows-{phase.group}-{path.stem}", [command])

    def train(self, phase: Training) -> None:
        """Stage 5 up to a phase; run.sh skips phases that are finished."""
        for stage, (path, count) in zip(phase.stages, phase.rows.items(), strict=True):
            self.draw_rows(phase, stage, path, count)
        if phase.trained():
            return
        settings = {
            "GROUP": phase.group,
            "SEED": str(phase.seed),
            "MODEL": str(phase.base.folder),
            "DATA_MODEL": phase.pairs_base.name,
            "DATA_DIR": str(next(iter(phase.rows)).parent),
            "EXP_DIR": str(self.workspace.exp),
            "DEVICE": self.workspace.device,
            **SETTINGS,
            **phase.arm.settings,
        }
        if self.workspace.device == "cpu":
            settings["PATH"] = f"{self.warm_swift()}:{ENVIRONMENT['PATH']}"
        command = ["bash", str(REPOSITORY / "train_scripts" / "run.sh"), phase.recipe]
        self.runner.job(f"train-{phase.key}", [command], settings)

    def warm_swift(self) -> Path:
        """The folder of a program `swift` that has imported torch and transformers already."""
        return warm_swift({**os.environ, **ENVIRONMENT})

    def score_base(self, base: Base) -> None:
        """Score a base itself."""
        out = self.workspace.base_scores(base, self.dataset)
        self.score(base.name, base.folder, base.name, out)

    def score(self, key: str, model: Path, name: str, out: Path) -> None:
        """Score a model; `key` names the job."""
        self.render(self.dataset)
        if is_scored(out, model, self.workspace.data / self.dataset):
            return
        command = python(
            "evaluate_model.py", "toy", "--model", model, "--model_name", name,
            "--dataset", self.dataset, "--data_root", self.workspace.data,
            "--device", self.workspace.device, "--max_new_tokens", 256, "--out", out,
        )  # fmt: skip
        if self.workspace.device == "cpu":  # this swift runs Python files too
            command[0] = str(self.warm_swift() / "swift")
        self.runner.job(f"score-{self.dataset}-{key}", [command])
