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
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Lock

from reproduction.grounding.arms import ARMS, BRIDGES, CORE, LENGTHS, WINDOWS
from reproduction.grounding.report import RESULTS, write_report
from reproduction.grounding.results import collect, read_rows
from reproduction.jobs import Runner, python
from reproduction.results import write_results
from tools.cli import new_folder, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, write_json
from tools.store.locks import sole_writer

SEEDS = 5
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
    parser = script_parser(__doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--quick", action="store_true", help="one seed alone; results/ is left as it is"
    )
    instead.add_argument(
        "--choose_window",
        action="store_true",
        help="try the windows on films of a seed of their own, and write the best",
    )
    parser.add_argument("--all_arms", action="store_true", help="the arms that are not core too")
    parser.add_argument(
        "--arms", nargs="+", metavar="NAME", choices=ARMS, help="these arms (default: the core)"
    )
    parser.add_argument(
        "--seeds", type=positive, default=SEEDS, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=2,
        help="seeds at once, one thread each (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="where results go (default: reproduction/results; with --quick a folder in --exp)",
    )
    parser.add_argument(
        "--exp",
        type=new_folder,
        default=REPOSITORY / "exp" / "grounding",
        metavar="DIR",
        help="where stories, models and answers go (default: exp/grounding)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    args = parse_arguments(argv)
    start = time.monotonic()
    out = args.out or (args.exp / "quick" if args.quick else RESULTS)
    arms = args.arms or (ARMS if args.all_arms else CORE)
    seeds = range(1, 2 if args.quick else args.seeds + 1)
    with sole_writer(args.exp / "run"):
        runner = Runner(args.exp / "logs", args.workers)
        if args.choose_window:
            choose_window(runner, args.exp)
            return
        window = read_json(WINDOW)["window"]
        reporting = Lock()

        def one(seed: int) -> None:
            words = [seed, "--exp", args.exp, "--window", window, "--arms", *arms]
            runner.job(f"seed-{seed}", [python("reproduction.grounding.trial", *words)])
            with reporting:
                results = collect(args.exp, range(1, SEEDS + 1), window)
                write_results(out / "grounding.json", results)
                write_report(out)

        failed = runner.each([(f"seed {seed}", partial(one, seed)) for seed in seeds])
    if not (out / "grounding.json").is_file():
        raise UserError(f"no seed is finished: see {args.exp / 'logs'}")
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    if args.quick:
        print("one seed proves nothing: it shows what the reproduction does, not what is true")
    if failed:
        print(f"not finished: {', '.join(failed)}; the same command tries again")
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
