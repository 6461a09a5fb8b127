"""The reproduction of TOPA: every arm of every seed, on the package's own modules.

    python -m reproduction.prealignment.run                 # the core arms of five seeds
    python -m reproduction.prealignment.run --all_arms      # and those that take the method apart
    python -m reproduction.prealignment.run --quick         # the core arms of one seed: no proof

Each seed trains its own CLIP and its own bridges, and renders its own test videos; the language
model, reproduction/bases/toylm, has read plain text alone. Writes prealignment.json,
prealignment.md and claims. Stop it as you like: the same command goes on. Everything between lies
in exp/prealignment; what a seed printed, in exp/prealignment/logs.
"""

from collections.abc import Sequence

from reproduction.jobs import Runner, python
from reproduction.prealignment.arms import ARMS, CORE
from reproduction.prealignment.report import METHOD, write_report
from reproduction.prealignment.results import collect
from reproduction.results import Results
from reproduction.seeds import SEEDS, run_parser, run_seeds
from tools.cli import run_script
from tools.store.locks import sole_writer


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    args = run_parser(__doc__, METHOD, ARMS)[0].parse_args(argv)
    arms = args.arms or (ARMS if args.all_arms else CORE)
    with sole_writer(args.exp / "run"):
        runner = Runner(args.exp / "logs", args.workers)

        def make(seed: int) -> None:
            runner.job("footage", [python("reproduction.prealignment.footage", args.exp)])
            words = [seed, "--exp", args.exp, "--arms", *arms]
            runner.job(f"seed-{seed}", [python("reproduction.prealignment.trial", *words)])

        def results() -> Results:
            return collect(args.exp, range(1, SEEDS + 1))

        run_seeds(args, runner, METHOD, make, results, write_report)


if __name__ == "__main__":
    run_script(main)
