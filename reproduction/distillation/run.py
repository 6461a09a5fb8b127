"""The reproduction of CaTeR: every arm of every seed, on the package's own modules.

    python -m reproduction.distillation.run                 # the core arms of five seeds
    python -m reproduction.distillation.run --all_arms      # and the other modes, lines and labels
    python -m reproduction.distillation.run --quick         # the one seed, fewer videos: no proof

Renders the toy stories, has toyvl write their lines, trains one tiny CLIP, and then the students of
each seed. An arm without a learning rate in results/distillation_choices.json is tried first, with
a seed of its own, on validation questions. Writes distillation.json, distillation.md and claims.
Stop it as you like: the same command goes on. Everything between lies in exp/distillation; what a
seed printed, in exp/distillation/logs.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from reproduction.distillation.arms import ARMS, CORE
from reproduction.distillation.report import METHOD, write_report
from reproduction.distillation.results import CHOICES, collect
from reproduction.distillation.trial import CHOOSING, is_chosen
from reproduction.distillation.world import SIZES, commands
from reproduction.jobs import Runner, python
from reproduction.results import Results
from reproduction.seeds import SEEDS, run_parser, run_seeds
from tools.cli import run_script
from tools.errors import UserError
from tools.store.files import read_json
from tools.store.locks import sole_writer


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    args = run_parser(__doc__, METHOD, ARMS)[0].parse_args(argv)
    arms = args.arms or (ARMS if args.all_arms else CORE)
    size = "quick" if args.quick else "whole"
    exp = args.exp / "quick" if args.quick else args.exp
    with sole_writer(args.exp / "run"):
        runner = Runner(exp / "logs", args.workers)
        fixed = ["--exp", exp, "--size", size, "--arms"]

        def trial(name: str, seed: int, arms: Iterable[str]) -> None:
            if not (exp / "cost.json").is_file():  # the last that is made of the world
                runner.job("world", list(commands(exp, size, args.workers)))
            words = [seed, *fixed, *arms]
            runner.job(name, [python("reproduction.distillation.trial", *words)])

        def make(seed: int) -> None:
            trial(f"seed-{seed}", seed, arms)

        def results() -> Results:
            return collect(exp, range(1, SEEDS + 1), SIZES[size].test)

        known = read_json(CHOICES) or {}
        choose = [
            (job := f"choice-{name}", partial(trial, job, CHOOSING, [name]))
            for name in arms
            if not (args.quick or (name in known and is_chosen(known[name])))
        ]
        if failed := runner.each(choose):
            raise UserError(f"not finished: {', '.join(failed)}; the same command tries again")
        run_seeds(args, runner, METHOD, make, results, write_report)


if __name__ == "__main__":
    run_script(main)
