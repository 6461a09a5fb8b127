"""The reproduction of VideoTGB: every arm of every seed, on the repository's own modules.

    python -m reproduction.grounding.run                    # the core arms of five seeds
    python -m reproduction.grounding.run --all_arms         # and those that take the method apart
    python -m reproduction.grounding.run --quick            # the core arms of one seed: no proof
    python -m reproduction.grounding.run --choose_window    # the window, on validation films

Each seed renders its own stories, trains its own image model, labels its own films by it and trains
its own bridges on films of 8 shots; questions are about films of 8 to 128. Writes grounding.json,
grounding.md and claims. Stop it as you like: the same command goes on. Everything between lies in
exp/grounding; what a seed printed, in exp/grounding/logs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from reproduction.grounding.arms import ARMS, BRIDGES, CORE, LENGTHS, WINDOWS
from reproduction.grounding.report import METHOD, write_report
from reproduction.grounding.results import collect, read_rows
from reproduction.jobs import Runner, python
from reproduction.results import Results
from reproduction.seeds import RESULTS, SEEDS, run_parser, run_seeds
from tools.cli import run_script
from tools.store.files import read_json, write_json
from tools.store.locks import sole_writer

VALIDATION = 0  # the seed of the films on which the window is chosen
WINDOW = RESULTS / "grounding_window.json"


def choose_window(runner: Runner, exp: Path) -> None:
    """Train a bridge with each window on a seed of its own, and write the window of the most right
    answers about films of all lengths."""
    words = [VALIDATION, "--exp", exp, "--window", 0, "--arms", *WINDOWS]
    runner.job("windows", [python("reproduction.grounding.trial", *words)])
    rows = read_rows(exp / f"seed_{VALIDATION}")
    shares = {name: {str(n): fmean(rows[name, n]["right"]) for n in LENGTHS} for name in WINDOWS}
    best = max(WINDOWS, key=lambda name: sum(shares[name].values()))
    write_json(WINDOW, {"window": BRIDGES[best].config["window"], "validation": shares})
    print(WINDOW)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser, instead = run_parser(__doc__, METHOD, ARMS)
    instead.add_argument(
        "--choose_window",
        action="store_true",
        help="try the windows on films of a seed of their own, and write the best",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    args = parse_arguments(argv)
    arms = args.arms or (ARMS if args.all_arms else CORE)
    with sole_writer(args.exp / "run"):
        runner = Runner(args.exp / "logs", args.workers)
        if args.choose_window:
            choose_window(runner, args.exp)
            return
        window = read_json(WINDOW)["window"]

        def make(seed: int) -> None:
            words = [seed, "--exp", args.exp, "--window", window, "--arms", *arms]
            runner.job(f"seed-{seed}", [python("reproduction.grounding.trial", *words)])

        def results() -> Results:
            return collect(args.exp, range(1, SEEDS + 1), window)

        run_seeds(args, runner, METHOD, make, results, write_report)


if __name__ == "__main__":
    run_script(main)
