"""The reproduction of TOPA: every arm of every seed, on the package's own modules.

    python -m reproduction.prealignment.run                 # the core arms of five seeds
    python -m reproduction.prealignment.run --all_arms      # and those that take the method apart
    python -m reproduction.prealignment.run --quick         # the core arms of one seed: no proof

Each seed trains its own CLIP and its own bridges, and renders its own test videos; the language
model, reproduction/bases/toylm, has read plain text alone. Writes prealignment.json,
prealignment.md and claims. Stop it as you like: the same command goes on. Everything between lies
in exp/prealignment; what a seed printed, in exp/prealignment/logs.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from threading import Lock

from reproduction.jobs import Runner, python
from reproduction.prealignment.arms import ARMS, CORE
from reproduction.prealignment.report import RESULTS, write_report
from reproduction.prealignment.results import collect
from reproduction.results import write_results
from tools.cli import new_folder, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.locks import sole_writer

SEEDS = 5


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one seed alone; results/ is left as it is"
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
        default=REPOSITORY / "exp" / "prealignment",
        metavar="DIR",
        help="where videos, models and answers go (default: exp/prealignment)",
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
        reporting = Lock()

        def one(seed: int) -> None:
            runner.job("footage", [python("reproduction.prealignment.footage", args.exp)])
            words = [seed, "--exp", args.exp, "--arms", *arms]
            runner.job(f"seed-{seed}", [python("reproduction.prealignment.trial", *words)])
            with reporting:
                write_results(out / "prealignment.json", collect(args.exp, range(1, SEEDS + 1)))
                write_report(out)

        failed = runner.each([(f"seed {seed}", partial(one, seed)) for seed in seeds])
    if not (out / "prealignment.json").is_file():
        raise UserError(f"no seed is finished: see {args.exp / 'logs'}")
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    if args.quick:
        print("one seed proves nothing: it shows what the reproduction does, not what is true")
    if failed:
        print(f"not finished: {', '.join(failed)}; the same command tries again")
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
