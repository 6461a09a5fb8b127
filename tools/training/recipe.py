"""The name of an experiment is its recipe: which model trains on what, in which order, and how.

    python -m tools.training.recipe "qwen25vl7b=lr5e-6_r32_a64_bs16_r16-r8=lr1e-4_r32_a32_bs8_mine"

    name   = model=phase=phase...
    phase  = lr<learning rate>_r<LoRA rank>_a<LoRA alpha>_bs<global batch>[_freeze][_simpo]_<data>
    data   = levels such as r16-r8-r4-r2 (DPO, one stage a level, in the order written), a mixed
             level such as r16+r8 (one stage on the pairs of both), a data set's name such as
             sft60k (SFT), chosen (SFT on what convert_to_swift.py --sft wrote), or order (GRPO on
             what tools.pairs.order_rows wrote)

`freeze` leaves the vision tower unchanged; `simpo` trains on levels by SimPO in the place of DPO.
A stage's name is the experiment's up to that stage, so that experiments with a common beginning
have its stages in common.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import NamedTuple

from tools.cli import run_script, script_parser
from tools.errors import UserError
from tools.pairs.perturbation import LEVELS

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
DATASET = re.compile(r"[A-Za-z][A-Za-z0-9.-]*")
# LLaVA-Video-178K's part for fine-tuning, as tools.training.sft_data names it.
SFT_SHARE = re.compile(r"sft(\d+k?)")
# The fields in front of the data, in their order: how they are written, their meaning, an example.
FIELDS = (
    (r"lr(\d+(?:\.\d+)?(?:e-?\d+)?)", "the learning rate", "lr5e-6"),
    (r"r([1-9]\d*)", "the LoRA rank", "r32"),
    (r"a([1-9]\d*)", "the LoRA alpha", "a64"),
    (r"bs([1-9]\d*)", "the global batch size", "bs16"),
)
FREEZE = "freeze"
SIMPO = "simpo"
WORDS = (FREEZE, SIMPO)  # that may follow the fields, in this order
CHOSEN = "chosen"  # the data that are the chosen sides of the pairs
ORDER = "order"  # the data that GRPO takes, with rewards for order
OF_A_MODEL = (CHOSEN, ORDER)  # data that a model has made, as levels are
FILE_NAME_BYTES = 255  # the longest name of a folder that common file systems take


@dataclass(frozen=True)
class Stage:
    """One training: a model goes in, a merged checkpoint comes out."""

    name: str  # the experiment's name up to this stage; names its folder
    levels: tuple[int, ...]  # magnitudes of the pairs that it trains on; empty: of a data set
    dataset: str  # name of a stage's data set where these are no levels
    lr: str  # learning rate, as written
    rank: int  # of LoRA
    alpha: int  # of LoRA
    batch: int  # rows an optimizer step takes on all GPUs together
    freeze: bool  # leave the vision tower unchanged
    simpo: bool = False  # learn from pairs by SimPO

    @property
    def kind(self) -> str:
        """How it learns, which names its script: dpo, simpo, sft or grpo."""
        if self.levels:
            return "simpo" if self.simpo else "dpo"
        return "grpo" if self.dataset == ORDER else "sft"

    def data_file(self, data_model: str, iteration: int = 0) -> str:
        """Name of the file of rows that it trains on: what `data_model` wrote, or a data set."""
        if self.levels:
            return f"{data_model}_i{iteration}_r{'-'.join(map(str, self.levels))}.json"
        if self.dataset in OF_A_MODEL:
            return f"{data_model}_i{iteration}_{self.dataset}.json"
        share = SFT_SHARE.fullmatch(self.dataset)
        return f"llava-video-sft-{share[1]}.json" if share else f"{self.dataset}.json"


class Recipe(NamedTuple):
    """The base model's name, and what is done to it."""

    model: str
    stages: tuple[Stage, ...]


def parse(name: str) -> Recipe:
    """Read an experiment's name; raises a UserError that points at the part that is wrong."""
    if name.endswith(".sh"):
        raise UserError(f"recipe {name!r}: leave out the .sh at its end")
    size = len(name.encode())
    if size > FILE_NAME_BYTES:
        raise UserError(
            f"recipe {name!r}: {size} bytes, and a folder's name may have {FILE_NAME_BYTES}"
        )
    model, *phases = name.split("=")
    if not MODEL.fullmatch(model):
        raise UserError(f"recipe {name!r}: {model!r} is no model's name, such as qwen25vl7b")
    if not phases:
        raise UserError(
            f"recipe {name!r}: no phase follows the model, such as"
            " =lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2"
        )
    stages: list[Stage] = []
    for number, phase in enumerate(phases, 1):
        where = f"phase {number} of the recipe, {phase!r}"
        stages += _stages("=".join([model, *phases[: number - 1]]), phase, where)
    return Recipe(model, tuple(stages))


def _stages(before: str, phase: str, where: str) -> Iterator[Stage]:
    """The stages of one phase, which comes after the experiment `before`."""
    # A data set's name has no underscore, so the parts can be counted.
    *parts, data = phase.split("_")
    values = []
    padded = parts + [""] * len(FIELDS)
    for (pattern, meaning, example), part in zip(FIELDS, padded, strict=False):
        if not part:
            raise UserError(f"{where}: {meaning} is missing, such as {example}, before {data!r}")
        value = re.fullmatch(pattern, part)
        if not value:
            raise UserError(f"{where}: expected {meaning}, such as {example}, found {part!r}")
        values.append(value[1])
    lr, rank, alpha, batch = values
    if not 0 < float(lr) < 1:
        raise UserError(f"{where}: a learning rate of {lr} is not between 0 and 1, such as 5e-6")
    rest = parts[len(FIELDS) :]
    if rest != [word for word in WORDS if word in rest]:
        raise UserError(
            f"{where}: {'_'.join(rest)!r} stands between the batch size and the data, where only"
            f" {FREEZE!r} and {SIMPO!r} may, each once and in this order"
        )
    front = f"{before}={phase.removesuffix(data)}"
    stage = partial(
        Stage,
        lr=lr,
        rank=int(rank),
        alpha=int(alpha),
        batch=int(batch),
        freeze=FREEZE in rest,
        simpo=SIMPO in rest,
    )
    if re.match(r"r\d", data):
        levels = data.split("-")
        for level, so_far in zip(levels, accumulate(levels, "{}-{}".format), strict=True):
            yield stage(front + so_far, _magnitudes(level, where), dataset="")
    elif SIMPO in rest:
        raise UserError(f"{where}: {SIMPO} learns from levels, such as r16-r8-r4-r2, not {data!r}")
    elif DATASET.fullmatch(data):
        yield stage(front + data, (), dataset=data)
    else:
        raise UserError(
            f"{where}: {data!r} is neither levels, such as r16-r8-r4-r2, nor the name of a"
            " data set, such as sft60k"
        )


def _magnitudes(level: str, where: str) -> tuple[int, ...]:
    """The magnitudes of a level: r16, or mixed r16+r8."""
    known = {f"r{magnitude}": magnitude for magnitude in LEVELS}
    names = level.split("+")
    for name in names:
        if name not in known:
            raise UserError(f"{where}: {name!r} is no level: {' '.join(known)}")
    if len(set(names)) < len(names):
        raise UserError(f"{where}: the mixed level {level!r} names a level twice")
    return tuple(known[name] for name in names)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the stages of a recipe."""
    parser = script_parser(__doc__)
    parser.add_argument("name", help="the experiment's name")
    recipe = parse(parser.parse_args(argv).name)
    for stage in recipe.stages:
        print(
            f"{stage.name}\n  {stage.kind.upper()} on {stage.data_file(recipe.model)}: learning"
            f" rate {stage.lr}, LoRA rank {stage.rank}, alpha {stage.alpha}, batch {stage.batch}"
            f"{', vision tower unchanged' if stage.freeze else ''}"
        )


if __name__ == "__main__":
    run_script(main)
