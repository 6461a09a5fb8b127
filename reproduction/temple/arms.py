"""The arms of arms.yaml: recipes with their learning rates, and the rows that their stages take."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError
from tools.store.files import read_json
from tools.training.recipe import Stage, parse

ARMS_YAML = Path(__file__).with_name("arms.yaml")
RATE = r"\{(\w+)\}"  # in a recipe: the rate of this arm
LEVELS = (16, 8, 4, 2)  # the paper's
SFT_DATASETS = {"toysft": 1, "toysft-x4": 4}  # how many times steps.sft a phase on it takes
CHOSEN = "chosen"  # the data set of the chosen texts
GENERATIONS = 8  # answers to a video in GRPO
PAIRS = "toypairs"  # the stories that pairs are made of
MANY = "toypairs-x5"  # those and four times as many

Rates = Mapping[str, str]


@dataclass(frozen=True)
class Arm:
    """One way to train: an entry of arms.yaml, which explains its keys."""

    name: str
    label: str
    recipe: str
    main: bool = False
    trial: bool = False
    study: str | None = None
    pairs: str = "own"
    noise: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def pairs_dataset(self) -> str:
        """The stories that its pairs are made of."""
        return MANY if self.pairs == "many" else PAIRS

    @property
    def rates(self) -> list[str]:
        """The arms whose learning rates it takes."""
        return re.findall(RATE, self.recipe)

    def phases(self, rates: Rates) -> list[str]:
        """The recipes of the arm up to each of its phases, in their order; the last is whole."""
        recipe = re.sub(RATE, lambda arm: rates[arm[1]], self.recipe)
        model, *phases = recipe.split("=")
        return ["=".join([model, *phases[:count]]) for count in range(1, len(phases) + 1)]


@cache
def _yaml() -> dict[str, Any]:
    return yaml.safe_load(ARMS_YAML.read_text(encoding="utf-8"))


def arms() -> dict[str, Arm]:
    """All arms, in the file's order; an entry with several `noise` is one arm for each."""
    return {arm.name: arm for name, entry in _yaml()["arms"].items() for arm in _arms(name, entry)}


def _arms(name: str, entry: dict[str, Any]) -> Iterator[Arm]:
    if "noise" not in entry:
        yield Arm(name, **entry)
        return
    for percent in entry["noise"]:
        label = entry["label"].format(noise=percent)
        yield Arm(f"{name}_n{percent}", **{**entry, "label": label, "noise": percent})


def studies() -> dict[str, list[Arm]]:
    """Study -> its arms, and before them those that they are compared with."""
    known = arms()
    return {
        name: [
            *(known[other] for other in compared),
            *(arm for arm in known.values() if arm.study == name),
        ]
        for name, compared in _yaml()["studies"].items()
    }


def grids(study: str | None = None) -> dict[str, list[str]]:
    """arm -> the learning rates to try for it: of a study's arms, or of those of none."""
    known = arms()
    return {
        arm: [str(rate) for rate in rates]
        for arm, rates in _yaml()["rates"].items()
        if known[arm].study == study
    }


def rows_of(phase: str) -> list[int]:
    """How many rows each stage of a recipe's last phase takes: a batch for each step, of GRPO one
    for each GENERATIONS answers."""
    stages = last_phase(phase)
    return [
        steps * stage.batch // (GENERATIONS if stage.kind == "grpo" else 1)
        for steps, stage in zip(steps_of(phase), stages, strict=True)
    ]


def steps_of(phase: str) -> list[int]:
    """How many optimizer steps each stage of a recipe's last phase takes."""
    stages, wanted = last_phase(phase), _yaml()["steps"]
    if stages[0].dataset in SFT_DATASETS:
        return [wanted["sft"] * SFT_DATASETS[stages[0].dataset]]
    ends = [wanted["alignment"] * number // len(stages) for number in range(len(stages) + 1)]
    return [end - start for start, end in pairwise(ends)]


def last_phase(recipe: str) -> list[Stage]:
    """The stages of a recipe's last phase."""
    phases = recipe.count("=")
    return [stage for stage in parse(recipe).stages if stage.name.count("=") == phases]


def read_rates(path: Path, wanted: Iterable[Arm] = ()) -> dict[str, str]:
    """arm -> the rate that validation chose.

    Raises:
        UserError: none have been chosen, or not those of the wanted arms.
    """
    chosen = read_json(path)
    if not chosen:
        raise UserError(f"{path}: no learning rates yet; --choose_rates finds them")
    rates = {arm: entry["rate"] for arm, entry in chosen["rates"].items()}
    for arm in wanted:
        if missing := [name for name in arm.rates if name not in rates]:
            study = arms()[missing[0]].study
            raise UserError(
                f"{path} holds no learning rate of {missing[0]}: --choose_rates"
                f"{f' --study {study}' if study else ''} finds it"
            )
    return rates
