"""What is trained and scored: arms from seeds, phase by phase, and where all of it lies."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evaluation.scores import read_scores
from evaluation.toy.questions import Case, benchmark_digest, questions_about
from evaluation.toy.stories import read_stories
from inference.checkpoints import digest
from reproduction.temple.arms import SFT_DATASETS, Arm, Rates, last_phase, rows_of
from reproduction.temple.noise import noisy
from tools.errors import UserError
from tools.store.dataset import DATA_ROOT, REPOSITORY
from tools.training.recipe import Stage
from tools.training.stages import digest as file_digest
from tools.training.stages import find_state, read_note


@dataclass(frozen=True)
class Base:
    """A model that arms start from."""

    name: str
    folder: Path
    seed: int  # what reproduction.toyvl was given


VALIDATION_SEED = 100  # from which no result comes
BASES = (
    Base("toyvl", REPOSITORY / "inference" / "toyvl", 0),
    *(
        Base(f"toyvl_{n}", REPOSITORY / "reproduction" / "bases" / f"toyvl_{n}", n)
        for n in range(1, 5)
    ),
)


@dataclass(frozen=True)
class Workspace:
    """Where the reproduction works."""

    data: Path = DATA_ROOT  # holds the datasets' folders
    exp: Path = REPOSITORY / "exp" / "reproduction"  # pairs, rows, models, scores, logs

    bases: tuple[Base, ...] = BASES
    device: str = "cpu"  # that models train and answer on

    def base_of(self, seed: int) -> Base:
        """The base of a seed; the seed of validation shares the first one's."""
        return self.bases[0 if seed == VALIDATION_SEED else seed]

    def base_scores(self, base: Base, dataset: str) -> Path:
        """The score file of a base itself."""
        return self.exp / "scores" / dataset / f"{base.name}.json"

    @property
    def logs(self) -> Path:
        """What the jobs printed, and how long they took."""
        return self.exp / "logs"


@dataclass(frozen=True)
class Training:
    """One phase of one arm from one seed, and all phases before it: `recipe` ends with it."""

    workspace: Workspace
    arm: Arm
    seed: int
    recipe: str

    @property
    def base(self) -> Base:
        """The model that it starts from."""
        return self.workspace.base_of(self.seed)

    @property
    def pairs_base(self) -> Base:
        """The base whose pairs it trains on."""
        if self.arm.pairs != "other":
            return self.base
        bases = self.workspace.bases
        return bases[(bases.index(self.base) + 1) % len(bases)]

    @property
    def pairs_model(self) -> str:
        """The model that its pairs are named after: the base, with wrong captions another one."""
        return noisy(self.pairs_base.name, self.arm.noise)

    @property
    def group(self) -> str:
        """Its group of experiments. The main arms have one, and so the stages that they share; any
        other arm has its own, since its rows or settings may be its own."""
        own = "" if self.arm.main else f"_{self.arm.name}"
        return f"{self.base.name}_s{self.seed}{own}"

    @property
    def key(self) -> str:
        """What its jobs are called: unique for each stage, and a file's name."""
        return f"{self.group}-{self.recipe.partition('=')[2]}"

    @property
    def name(self) -> str:
        """What its score file calls it."""
        return f"{self.arm.name}.{self.recipe.count('=')}_s{self.seed}"

    @property
    def stages(self) -> list[Stage]:
        """The stages of its last phase."""
        return last_phase(self.recipe)

    @property
    def needs_pairs(self) -> bool:
        """Whether its last phase trains on pairs, or on their chosen texts."""
        return self.stages[0].dataset not in SFT_DATASETS

    @property
    def folders(self) -> list[Path]:
        """The folders of `stages`."""
        return [self.workspace.exp / self.group / "outputs" / stage.name for stage in self.stages]

    @property
    def rows(self) -> dict[Path, int]:
        """The file of rows of each of `stages`, and how many rows it needs."""
        folder = self.workspace.exp / "rows" / self.group
        files = [folder / stage.data_file(self.pairs_base.name) for stage in self.stages]
        return dict(zip(files, rows_of(self.recipe), strict=True))

    def model(self) -> Path:
        """The model that it ends in.

        Raises:
            UserError: it is not there yet.
        """
        state = find_state(self.folders[-1])
        if state.kind != "merged" or state.path is None:
            raise UserError(
                f"{self.folders[-1]} holds no merged model yet: python -m reproduction.temple.run"
                " trains it"
            )
        return state.path

    def trained(self) -> bool:
        """Whether its model is there, trained on the rows that are there with its settings."""
        for folder, rows in zip(self.folders, self.rows, strict=True):
            made = read_note(folder).get("made_with", {})
            noted = made.get("settings", {})
            settings = {name: value for name, value in self.arm.settings.items() if name in noted}
            is_as_wanted = settings.items() <= noted.items()
            is_as_wanted &= made.get("sha256") == file_digest(rows)
            if not is_as_wanted or find_state(folder).kind != "merged":
                return False
        return True

    def scores(self, dataset: str) -> Path:
        """Its score file."""
        return self.workspace.exp / self.group / "scores" / dataset / f"{self.recipe}.json"


def phases_of(workspace: Workspace, arm: Arm, seed: int, rates: Rates) -> list[Training]:
    """The phases of one arm from one seed, in their order."""
    return [Training(workspace, arm, seed, recipe) for recipe in arm.phases(rates)]


def is_scored(path: Path, model: Path, stories: Path) -> bool:
    """Whether a score file is whole, of this model, and of the questions about these stories."""
    try:
        scores = read_scores(path)
    except UserError:
        return False
    return scores["weights"] == digest(str(model)) and scores["benchmark"] == benchmark(stories)


@cache
def benchmark(stories: Path) -> str:
    """The digest of the questions about a dataset."""
    cases = [Case(story, questions_about(story)) for story in read_stories(stories)]
    return benchmark_digest(cases)
