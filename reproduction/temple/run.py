"""The reproduction: every arm from every seed, through the toolkit's own scripts.

    python -m reproduction.temple.run                    # the main arms, from every base
    python -m reproduction.temple.run --quick            # the main arms, from one base: no proof
    python -m reproduction.temple.run --all_arms         # and those that take arms apart
    python -m reproduction.temple.run --study noise      # the arms of a study of ours
    python -m reproduction.temple.run --choose_rates     # the learning rates, on validation stories
    python -m reproduction.temple.run --choose_rates --study losses   # those of a study's arms
    python -m reproduction.temple.run --validate --arms fine mixed    # a look at arms, on the same

Renders stories, makes pairs with each base, trains the arms of arms.yaml with
train_scripts/run.sh, scores every model after each of its phases on held-out stories, and writes
reproduction.json, reproduction.md and two plots. Arms that results/ has of the same stories, models
and recipes stay in it; a study does not train again what it compares with there.
Stop it as you like: the same command goes on. Everything between lies in exp/reproduction; what a
job printed, in exp/reproduction/logs.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from evaluation.toy.stories import HELD_OUT
from reproduction.jobs import Runner
from reproduction.results import write_results
from reproduction.temple.arms import PAIRS, Arm, arms, grids, read_rates, studies
from reproduction.temple.pipeline import Pipeline
from reproduction.temple.rates import choose, compare
from reproduction.temple.report import RESULTS, write_report
from reproduction.temple.results import collect, merged, still_valid
from reproduction.temple.trainings import BASES, Workspace, phases_of
from tools.cli import add_data_root, new_folder, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, write_json
from tools.store.locks import sole_writer
from tools.training.stages import digest

RATES = RESULTS / "learning_rates.json"


def check_bases(workspace: Workspace) -> None:
    """Check that the bases are those that the work in `workspace` began with.

    Raises:
        UserError: a base has changed, or is missing.
    """
    path = workspace.exp / "bases.json"
    known = read_json(path) or {}
    for base in workspace.bases:
        now = digest(base.folder / "model.safetensors")
        if now is None:
            raise UserError(
                f"{base.folder} holds no model: python -m reproduction.toyvl --seed {base.seed}"
                f" --out {base.folder} makes it"
            )
        if known.setdefault(base.name, now) != now:
            raise UserError(
                f"{base.folder} has changed since {workspace.exp} was begun: move {workspace.exp}"
                f" and {workspace.data / PAIRS}* away"
            )
    write_json(path, known)


def wanted_arms(args: argparse.Namespace) -> list[Arm]:
    """The arms that the flags ask for.

    Raises:
        UserError: there is no such arm.
    """
    known = arms()
    for name in args.arms or ():
        if name not in known:
            raise UserError(f"no arm {name!r} in arms.yaml; there are: {', '.join(known)}")
    if args.arms:
        return [known[name] for name in args.arms]
    if args.study:
        return studies()[args.study]
    others = [arm.name for arm in known.values() if arm.trial or arm.study]
    return [arm for arm in known.values() if arm.main or (args.all_arms and arm.name not in others)]


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--quick", action="store_true", help="one base alone; results/ is left as it is"
    )
    instead.add_argument(
        "--choose_rates",
        action="store_true",
        help=f"try the learning rates of arms.yaml on other stories, from a seed of their own, and"
        f" write {RATES.relative_to(REPOSITORY)}",
    )
    instead.add_argument(
        "--validate",
        action="store_true",
        help="score arms on those other stories, from that seed, and write validation.json",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all_arms", action="store_true", help="the arms that are not main too")
    which.add_argument(
        "--study", choices=studies(), help="a study beyond the paper, and what it compares with"
    )
    which.add_argument(
        "--arms", nargs="+", metavar="NAME", help="these arms of arms.yaml (default: the main ones)"
    )
    parser.add_argument(
        "--seeds",
        type=positive,
        choices=range(1, len(BASES) + 1),
        default=len(BASES),
        metavar="N",
        help="from the first N bases, each with a seed of its own (default: %(default)s, all)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=2,
        help="jobs at once, one thread each (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="where results go (default: results/; with --quick a folder in --exp, with --validate"
        " --exp itself)",
    )
    parser.add_argument(
        "--exp",
        type=new_folder,
        default=Workspace.exp,
        metavar="DIR",
        help="where pairs, rows, models, scores and logs go (default: exp/reproduction)",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default=Workspace.device,
        help="what models train and answer on; on a GPU all jobs share it (default: %(default)s)",
    )
    add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is left to do, and report."""
    args = parse_arguments(argv)
    start = time.monotonic()
    chosen = wanted_arms(args)
    workspace = Workspace(args.data_root, args.exp, device=args.device)
    out = args.out or (workspace.exp / "quick" if args.quick else RESULTS)
    with sole_writer(workspace.exp / "run"):
        check_bases(workspace)
        runner = Runner(workspace.logs, args.workers)
        if args.choose_rates:
            if not grids(args.study):
                raise UserError(f"--study {args.study} has no learning rates of its own to choose")
            choose(workspace, runner, grids(args.study), RATES)
            return
        rates = read_rates(RATES, chosen)
        if args.validate:
            path = (args.out or workspace.exp) / "validation.json"
            compare(workspace, runner, chosen, rates, path)
            return
        seeds = range(1 if args.quick else args.seeds)
        known = ({} if args.quick else read_json(out / "reproduction.json")) or {}
        valid = still_valid(known, workspace, rates)
        if args.study:
            every_seed = {*map(str, seeds)}
            done = {name for name, entry in valid.items() if entry["seeds"].keys() >= every_seed}
            chosen = [arm for arm in chosen if arm.study or arm.name not in done]
        print(f"{len(chosen)} arms, seeds {', '.join(map(str, seeds))}")
        wanted = [phases_of(workspace, arm, seed, rates) for seed in seeds for arm in chosen]
        failed = Pipeline(workspace, runner, HELD_OUT).run(wanted)
        if failed:
            print(f"not finished: {', '.join(failed)}; the same command tries again")
        results = collect(workspace, arms().values(), seeds, rates, HELD_OUT)
        results = merged(results, known, valid)
    if not results["arms"]:
        raise UserError(f"no arm is finished: see {workspace.logs}")
    if outdated := known.get("arms", {}).keys() - results["arms"].keys():
        names = ", ".join(sorted(outdated))
        print(f"no longer in {out}, since they would be trained or asked otherwise: {names}")
    write_results(out / "reproduction.json", results)
    write_report(out)
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    if args.quick:
        print("one base proves nothing: it shows what the reproduction does, not what is true")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    run_script(main)
