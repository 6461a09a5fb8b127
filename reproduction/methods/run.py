"""All methods on the same questions: SFT, TEMPLE, frames by the bridge, TOPA, CaTeR's student.

    python -m reproduction.methods.run                 # five seeds
    python -m reproduction.methods.run --quick         # the one seed, fewer videos: no proof

Needs the models of `python -m reproduction.temple.run` in <runs>/reproduction; the models of TOPA
in <runs>/prealignment are used, and trained where they are missing. Renders stories, asks each
method about them with the commands that users type, trains the students, and writes methods.json,
methods.md, a figure and claims. Stop it as you like: the same command goes on.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from grounding.answer_settings import NFRAME
from reproduction.distillation.world import DATASET, data_of
from reproduction.jobs import Runner, python
from reproduction.methods.arms import BASE, FRAMES, TEACHER, VIDEO_LLMS
from reproduction.methods.cost import BRIDGE
from reproduction.methods.report import METHOD, write_report
from reproduction.methods.results import collect
from reproduction.methods.trial import key_of
from reproduction.methods.world import FRAMES as SHOWN
from reproduction.methods.world import commands
from reproduction.results import Results
from reproduction.seeds import report, run_parser, run_seeds
from reproduction.temple.arms import arms, read_rates
from reproduction.temple.run import RATES
from reproduction.temple.trainings import Workspace, phases_of
from tools.cli import new_folder, run_script
from tools.store.dataset import REPOSITORY
from tools.store.locks import sole_writer
from toyworld.questions import CHOICES


def models_of(seed: int, runs: Path) -> dict[str, Path]:
    """The folder of each video LLM of a seed: a base, and what was made of it.

    Raises:
        UserError: one is not trained yet.
    """
    workspace = Workspace(exp=runs / "reproduction")
    base = seed - 1
    known = {name: arm for name, arm in arms().items() if name in VIDEO_LLMS}
    rates = read_rates(RATES, known.values())
    trained = {
        name: phases_of(workspace, arm, base, rates)[-1].model() for name, arm in known.items()
    }
    return {BASE: workspace.base_of(base).folder, **trained}


def answers(exp: Path, key: str, models: Mapping[str, Path]) -> Iterator[list[str]]:
    """The commands that ask the video LLMs of a seed, and have one judge what students learn."""
    root = ["--data_root", data_of(exp).root.parent]
    for name, folder in models.items():
        words = ["--model", folder, "--model_name", f"{name}_{key}"]
        words += ["--protocol", "per_second", "--frames", 1]
        words += ["--controls"] if name == TEACHER else []
        fixed = ["--dataset", DATASET, "--split", CHOICES, *root]
        yield python("evaluate_model.py", "qa", *fixed, *words)
    teacher = models[TEACHER]
    for frames, (name, _) in FRAMES.items():
        words = ["--split", CHOICES, "--frames", frames, "--nframe", NFRAME]
        words += ["--sampler", BRIDGE] if frames == "grounded" else []
        words += ["--model", teacher, "--model_name", f"{TEACHER}_{key}"]
        yield python("grounding.answer", DATASET, 1, *words, "--name", f"{name}_{key}", *root)
    words = ["--teacher_name", teacher, "--name", f"{TEACHER}_{key}", "--num_video_frames", SHOWN]
    yield python("distillation.teach", DATASET, 1, *words, "--by", "text", "--allow_chance", *root)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    parser, _ = run_parser(__doc__, METHOD, ())
    parser.add_argument(
        "--runs",
        type=new_folder,
        default=REPOSITORY / "exp",
        metavar="DIR",
        help="holds the models of the other reproductions (default: exp)",
    )
    args = parser.parse_args(argv)
    size = "quick" if args.quick else "whole"
    exp = args.exp / "quick" if args.quick else args.exp
    seeds = range(1, 2 if args.quick else args.seeds + 1)
    models = {seed: models_of(seed, args.runs) for seed in seeds}
    footage = args.runs / "prealignment"
    with sole_writer(args.exp / "run"), sole_writer(footage / "run"):
        runner = Runner(exp / "logs", args.workers)
        fixed = ["--exp", exp, "--runs", args.runs]

        def make(seed: int) -> None:
            runner.job("world", list(commands(exp, size, args.workers)))
            runner.job("footage", [python("reproduction.prealignment.footage", footage)])
            key = key_of(data_of(exp), seed, models[seed])
            trial = python("reproduction.methods.trial", key, *fixed, "--size", size)
            runner.job(f"seed-{seed}", [*answers(exp, key, models[seed]), trial])

        def results() -> Results:
            keys = {seed: key_of(data_of(exp), seed, own) for seed, own in models.items()}
            return collect(exp, keys)

        run_seeds(args, runner, METHOD, make, results, write_report)
        if not (exp / "cost.json").is_file():  # measured with nothing beside it
            key = key_of(data_of(exp), 1, models[1])
            command = python("reproduction.methods.cost", key, *fixed)
            if runner.each([("cost", lambda: runner.job("cost", [command]))]):
                sys.exit(1)
            report(args, METHOD, results(), write_report)


if __name__ == "__main__":
    run_script(main)
