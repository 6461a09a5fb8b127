"""What the reproductions share whose independent unit is a seed: the command line, the run over the
seeds, and the report that follows from <method>.json."""

import argparse
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from threading import Lock
from typing import Any

from reproduction.claims import Claim, entries, write_claims
from reproduction.jobs import Runner
from reproduction.results import Results, as_scores, write_results
from reproduction.tables import page_with
from tools.cli import new_folder, positive, script_parser
from tools.errors import UserError
from tools.statistics import Spreads, intervals
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, replace_atomically

SEEDS = 5
RESULTS = REPOSITORY / "reproduction" / "results"


def run_parser(
    doc: str | None, method: str, arms: Collection[str]
) -> tuple[argparse.ArgumentParser, Any]:
    """The command line of a method's run.py, and the group of what stands instead of a whole run,
    of which --quick is one. Without `arms` all of them are always run."""
    parser = script_parser(doc)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--quick", action="store_true", help="one seed alone; results/ is left as it is"
    )
    if arms:
        parser.add_argument(
            "--all_arms", action="store_true", help="the arms that are not core too"
        )
        parser.add_argument(
            "--arms", nargs="+", metavar="NAME", choices=arms, help="these arms (default: the core)"
        )
    parser.add_argument(
        "--seeds",
        type=positive,
        choices=range(1, SEEDS + 1),
        default=SEEDS,
        metavar="N",
        help="the first N of them (default: %(default)s, all)",
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
        help="where results go (default: reproduction/results, or --exp while there are more there;"
        " with --quick a folder in --exp)",
    )
    parser.add_argument(
        "--exp",
        type=new_folder,
        default=REPOSITORY / "exp" / method,
        metavar="DIR",
        help=f"where videos, models and answers go (default: exp/{method})",
    )
    return parser, instead


def run_seeds(
    args: argparse.Namespace,
    runner: Runner,
    method: str,
    make: Callable[[int], None],
    collect: Callable[[], Results],
    write_report: Callable[[Path], None],
) -> None:
    """Make what each seed lacks, and report after each (`report`); exits with 1 if one failed.

    Raises:
        UserError: no seed is finished.
    """
    start = time.monotonic()
    reporting = Lock()
    finished = []

    def one(seed: int) -> None:
        make(seed)
        with reporting:
            report(args, method, collect(), write_report)
            finished.append(seed)

    seeds = range(1, 2 if args.quick else args.seeds + 1)
    failed = runner.each([(f"seed {seed}", partial(one, seed)) for seed in seeds])
    if not finished:
        raise UserError(f"no seed is finished: see {args.exp / 'logs'}")
    print(f"{(time.monotonic() - start) / 60:.0f} minutes")
    if args.quick:
        print("one seed proves nothing: it shows what the reproduction does, not what is true")
    if failed:
        print(f"not finished: {', '.join(failed)}; the same command tries again")
        sys.exit(1)


def report(
    args: argparse.Namespace, method: str, results: Results, write_report: Callable[[Path], None]
) -> None:
    """Write <method>.json and what follows from it into the folder that the flags name. Where
    reproduction/results/ has arms of more seeds, it stays as it is, and --exp gets them: a part of
    a run takes nothing away."""
    out = args.out or (args.exp / "quick" if args.quick else RESULTS)
    known = (read_json(out / f"{method}.json") or {}).get("arms", {}) if args.out is None else {}
    if lacking := [name for name in known if _seeds(known, name) - _seeds(results["arms"], name)]:
        print(
            f"{out} stays as it is: it has seeds of {', '.join(lacking[:3])}"
            f"{', ...' * (len(lacking) > 3)} that are not in {args.exp} (yet); --out replaces it"
        )
        out = args.exp
    write_results(out / f"{method}.json", results)
    write_report(out)


def _seeds(arms: Results, name: str) -> set[str]:
    return {*arms.get(name, {"seeds": ()})["seeds"]}


def spreads_of(results: Results) -> dict[str, Spreads]:
    """Arm -> intervals of its metrics over seeds, then videos."""
    return {
        name: intervals([as_scores(results, run["phases"][-1]) for run in arm["seeds"].values()])
        for name, arm in results["arms"].items()
    }


def made_on(results: Results) -> str:
    """The machine, the versions of libraries, and the CPU minutes of a seed."""
    jobs = results["seconds"].items()
    minutes = [seconds["cpu_s"] / 60 for job, seconds in jobs if job.startswith("seed-")]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    taken = f" A seed took {fmean(minutes):.0f} CPU minutes." if minutes else ""
    return f"{results['machine']}; {versions}.{taken}"


def write_seed_report(
    folder: Path,
    method: str,
    paper: str,
    claims: Sequence[Claim],
    tables: Callable[[Results, Sequence[dict[str, Any]]], str],
) -> None:
    """Write <method>.md and the claims in claims.json beside a folder's <method>.json; of RESULTS
    the tables in docs/reproduction_<method>.md too.

    Args:
        paper: what the method is called in the heading.
        tables: all tables in Markdown, of the results and the claims' entries.

    Raises:
        UserError: <method>.json is not there.
    """
    results = read_json(folder / f"{method}.json")
    if results is None:
        raise UserError(
            f"{folder} holds no {method}.json: python -m reproduction.{method}.run makes it"
        )
    rows = entries(method, results, claims)
    text = tables(results, rows)
    write_claims(folder / "claims.json", method, rows)
    page = REPOSITORY / "docs" / f"reproduction_{method}.md"
    heading = (
        f"# The toy reproduction of {paper}\n\nWritten by `python -m reproduction.{method}.report`"
        f" from `{method}.json`; docs/{page.name} says what the arms are.\n\n"
    )
    with replace_atomically(folder / f"{method}.md") as file:
        file.write(f"{heading}{text}\n".encode())
    if folder.resolve() == RESULTS:
        page.write_text(page_with(page.read_text(encoding="utf-8"), text), encoding="utf-8")
    for name in (f"{method}.json", f"{method}.md", "claims.json"):
        print(folder / name)


def report_folder(doc: str | None, method: str, argv: Sequence[str] | None) -> Path:
    """The folder that the command line of a method's report.py names."""
    parser = script_parser(doc)
    parser.add_argument(
        "folder",
        type=new_folder,
        nargs="?",
        default=RESULTS,
        help=f"holds {method}.json (default: reproduction/results/)",
    )
    folder: Path = parser.parse_args(argv).folder
    return folder
