"""Rounds of self-generation: a trained model makes the pairs that it is trained on next.

    python -m tools.rounds mine 8 --model qwen25vl7b --rounds 3 \
        --phase lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2

In round k, from 0 on, the model of the round before (in round 0 --model itself) captions the clips,
joins the captions (--iter k) and is trained on its pairs: stages 2 to 5 by their own scripts, whose
settings are read from the environment as always. Then it is scored on held-out toy stories
(evaluate_model.py toy). The rounds end when one does not improve the held-out order: the interval
of 95 % of its difference to the best model so far, paired by video, is not above 0.

Everything lies in exp/rounds/<data set>-<name>; Ctrl-C stops, and the same command goes on.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cli import add_data_root, add_dataset, new_folder, positive, run_script, script_parser
from tools.errors import UserError
from tools.pairs.perturbation import MAGNITUDES
from tools.runner.devices import count_gpus
from tools.runner.options import Options
from tools.statistics import ALL, Interval, difference
from tools.store.dataset import REPOSITORY, open_dataset
from tools.store.files import read_json, write_json
from tools.store.locks import sole_writer
from tools.training.recipe import CHOSEN, OF_A_MODEL, ORDER, Stage, parse
from tools.training.stages import find_state

METRIC = "ordered"  # right pairs of events, of all pairs of a video's events
HELD_OUT = "toytest"


@dataclass(frozen=True)
class Rounds:
    """What is done in each round.

    Attributes:
        name: of the model, in the names of files.
        phase: of a recipe, such as lr5e-6_r32_a64_bs16_freeze_r16-r8.
        held_out: dataset of toy stories that models are scored on.
    """

    dataset: str
    model: str
    name: str
    phase: str
    world_size: int
    held_out: str
    device: str
    data_root: Path
    exp: Path

    def names(self, number: int) -> str:
        """What the model of a round's stages 2 and 3 is called: the base in round 0."""
        return f"{self.name}-round{number}" if number else self.name

    @property
    def recipe(self) -> str:
        """The recipe of a round's training."""
        return f"{self.name}={self.phase}"

    def model_of(self, number: int) -> str:
        """The model that a round begins with: that of the round before.

        Raises:
            UserError: the round before has left none.
        """
        if not number:
            return self.model
        state = find_state(self.exp / f"round{number - 1}" / "outputs" / self.recipe)
        if state.kind != "merged" or state.path is None:
            raise UserError(f"round {number - 1} has left no merged model in {self.exp}")
        return str(state.path)

    def scores_of(self, number: int) -> Path:
        """The score file of the model that a round begins with."""
        return self.exp / f"scores_{number}.json"

    def check(self) -> None:
        """Raise UserError where a round could not begin: stages 2 and 3 take long."""
        open_dataset(self.dataset, self.data_root)
        for stage in parse(self.recipe).stages:
            if not stage.levels and stage.dataset not in OF_A_MODEL:
                raise UserError(
                    f"--phase: {stage.dataset!r} is no data that a round makes; levels such as"
                    f" r16-r8-r4-r2, {CHOSEN} and {ORDER} are"
                )
        shown = subprocess.run(
            self.training,
            env={**_environment(), **self.settings(0), "DRY_RUN": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if shown.returncode:
            raise UserError(shown.stderr.strip().splitlines()[-1].removeprefix("error: "))

    @property
    def training(self) -> list[str]:
        """The command of stage 5."""
        return ["bash", str(REPOSITORY / "train_scripts" / "run.sh"), self.recipe]

    def settings(self, number: int) -> dict[str, str]:
        """The variables of a round's training."""
        model = self.model_of(number)
        on_cpu = self.device == "cpu" or (self.device == "auto" and not count_gpus())
        return {
            # The scripts know where a model of their own table is.
            **({"MODEL": model} if os.path.sep in model else {}),
            "DATA_MODEL": self.names(number),
            "DATA_ITER": str(number),
            "DATA_DIR": str(self.exp / "rows"),
            "EXP_DIR": str(self.exp),
            "GROUP": f"round{number}",
            **({"DEVICE": "cpu"} if on_cpu else {}),
        }

    def make(self, number: int) -> None:
        """Stages 2 to 5 of a round; each goes on where it was stopped."""
        model, name = self.model_of(number), self.names(number)
        root = ["--data_root", str(self.data_root)]
        asked = ["--model", model, "--model_name", name, "--device", self.device, *root]
        size = str(self.world_size)
        run("generate_meta_data.py", size, "--dataset", self.dataset, *asked)
        run("generate_dpo_data.py", self.dataset, size, "--iter", str(number), *asked)
        rows = self.exp / "rows"
        for stage in parse(self.recipe).stages:
            self.make_rows(stage, number, rows / stage.data_file(name, number), model)
        run_command(self.training, self.settings(number))

    def make_rows(self, stage: Stage, number: int, path: Path, model: str) -> None:
        """The rows that a stage of the training takes."""
        name, root = self.names(number), ["--data_root", str(self.data_root)]
        common = [name, "--dataset", self.dataset, "--iter", str(number), "--output", str(path)]
        if stage.levels:
            ratios = list(map(str, stage.levels))
            run("convert_to_swift.py", common[0], *ratios, *common[1:], *root)
        elif stage.dataset == CHOSEN:
            ratios = list(map(str, MAGNITUDES[::-1]))
            run("convert_to_swift.py", common[0], *ratios, *common[1:], "--sft", *root)
        else:
            asked = ["--model", model, "--model_name", name, "--device", self.device]
            run("-m", "inference.reversal", self.dataset, str(self.world_size), *asked, *root)
            run("-m", "tools.pairs.order_rows", *common, *root)

    def score(self, number: int) -> dict[str, Any]:
        """The scores of the model that a round begins with, made where they are not there."""
        path, model = self.scores_of(number), self.model_of(number)
        known = read_json(path)
        if known and (known["model"], known["dataset"]) == (model, self.held_out):
            made_from = [self.data_root / self.held_out / "truth.jsonl"]
            made_from += Path(model).glob("*.safetensors")
            if all(not file.exists() or _time(file) < _time(path) for file in made_from):
                return dict(known)
        run(
            *("evaluate_model.py", "toy", "--model", model, "--model_name", self.names(number)),
            *("--dataset", self.held_out, "--device", self.device, "--out", str(path)),
            *("--data_root", str(self.data_root)),
        )
        return dict(read_json(path))


def _time(path: Path) -> float:
    return path.stat().st_mtime


def run(*words: str) -> None:
    """Run a Python script, or a module, of the repository."""
    script, *rest = words
    first = [script] if script == "-m" else [str(REPOSITORY / script)]
    run_command([sys.executable, *first, *rest], {"PYTHONPATH": _python_path()})


def _environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path}


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))


def run_command(command: Sequence[str], settings: Mapping[str, str]) -> None:
    """Run a command; raises UserError where it fails, after its own message."""
    print(f"\n$ {' '.join(command)}", flush=True)
    done = subprocess.run(command, env={**_environment(), **settings}, check=False)
    if done.returncode:
        raise UserError(f"the command above ended with status {done.returncode}")


def repeat(rounds: Rounds, count: int) -> dict[str, Any]:
    """Do rounds until one does not improve, at most so many; what each was worth, and the best.

    Returns:
        {"best": model, "rounds": [{"model", METRIC: {value, low, high}, "gain": {value, low, high}
        over the best before, null of the base}, ...]}, as rounds.json has it.
    """
    best, entries = rounds.score(0), []
    entries.append(_entry(best, None))
    for number in range(count):
        rounds.make(number)
        scores = rounds.score(number + 1)
        gain = difference([(scores, best)])[METRIC][ALL]
        entries.append(_entry(scores, gain))
        improved = gain.low > 0
        if improved:
            best = scores
        value = scores["scores"][METRIC][ALL]["value"]
        print(
            f"\nround {number}: {METRIC} {value:.3f}, over the best before {gain.value:+.3f}"
            f" [{gain.low:+.3f}, {gain.high:+.3f}]"
        )
        summary = {"best": best["model"], "metric": METRIC, "rounds": entries}
        write_json(rounds.exp / "rounds.json", summary)
        if not improved:
            print(f"the order of {rounds.held_out} has not improved: the rounds end here")
            break
    return summary


def _entry(scores: Mapping[str, Any], gain: Interval | None) -> dict[str, Any]:
    value = scores["scores"][METRIC][ALL]
    return {
        "model": scores["model"],
        METRIC: {name: value[name] for name in ("value", "low", "high")},
        "gain": gain and {"value": gain.value, "low": gain.low, "high": gain.high},
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Do the rounds."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("world_size", type=positive, help="worker processes of stages 2 and 3")
    parser.add_argument(
        "--model", required=True, help="the base: a name of models.yaml, or a folder"
    )
    parser.add_argument("--name", help="of the model in files (default: --model, or its folder's)")
    parser.add_argument("--phase", required=True, help="of a recipe: how each round trains")
    parser.add_argument("--rounds", type=positive, default=3, help="at most (default: %(default)s)")
    parser.add_argument(
        "--held_out",
        default=HELD_OUT,
        metavar="NAME",
        help="toy stories that models are scored on (default: %(default)s)",
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default=Options.device)
    parser.add_argument("--exp", type=new_folder, help="(default: exp/rounds/<data set>-<name>)")
    add_data_root(parser)
    args = parser.parse_args(argv)
    rounds = _rounds(args)
    rounds.check()
    with sole_writer(rounds.exp / "rounds.json"):
        summary = repeat(rounds, args.rounds)
    print(f"\nbest: {summary['best']}\n{rounds.exp / 'rounds.json'}")


def _rounds(args: argparse.Namespace) -> Rounds:
    model = os.path.abspath(args.model) if os.path.isdir(args.model) else args.model
    name = args.name or Path(model).name
    exp = args.exp or REPOSITORY / "exp" / "rounds" / f"{args.dataset}-{name}"
    return Rounds(
        args.dataset, model, name, args.phase, args.world_size, args.held_out, args.device,
        args.data_root, Path(os.path.abspath(exp)),
    )  # fmt: skip


if __name__ == "__main__":
    run_script(main)
