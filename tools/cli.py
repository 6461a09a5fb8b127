"""What the scripts at the root share: the flags of the runner, and one clear line for a mistake."""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tools.errors import UserError
from tools.runner.run import Options
from tools.store.dataset import DATA_ROOT

EXIT_MISTAKE = 2
EXIT_INTERRUPTED = 130


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, without the usage of thirty flags."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_MISTAKE, f"error: {message} (--help explains all flags)\n")


class _Manual(argparse.RawDescriptionHelpFormatter):
    """Leaves a docstring's lines as they are, and shows a number as N or X."""

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return "N" if action.type is int else "X" if action.type is float else action.dest.upper()


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser whose `--help` is the script's docstring and its flags."""
    return _OneLineParser(description=description, formatter_class=_Manual)


def positive(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def whole(text: str) -> int:
    """An argparse type: a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def amount(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def new_folder(text: str) -> Path:
    """An argparse type: a folder to write into, which is there or can be made."""
    path = Path(text)
    there = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
    if not os.path.isdir(there):
        raise argparse.ArgumentTypeError(f"{there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{there} cannot be written to")
    return path


def new_file(text: str) -> Path:
    """An argparse type: a file to write, in a folder that is there or can be made."""
    path = Path(text)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{path} is a folder, not a file")
    new_folder(str(path.parent))
    return path


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Add `--data_root`."""
    parser.add_argument(
        "--data_root",
        type=Path,
        default=DATA_ROOT,
        metavar="DIR",
        help="folder that holds the datasets' folders (default: data/ in the repository)",
    )


def add_world_size(parser: argparse.ArgumentParser) -> None:
    """Add the positional `world_size`."""
    parser.add_argument(
        "world_size",
        type=positive,
        help="number of worker processes; rank r computes on GPU r modulo the GPUs there are, or on"
        " the CPU",
    )


def add_runner_flags(parser: argparse.ArgumentParser, steps: str) -> None:
    """Add the flags of every script that runs steps; `steps` names them, in order."""
    group = parser.add_argument_group("running")
    group.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where models compute; rank r takes GPU r modulo the GPUs there are"
        " (default auto: GPUs if torch can use one, else the CPU)",
    )
    group.add_argument(
        "--threads",
        type=positive,
        default=1,
        metavar="N",
        help="CPU threads a worker may use (default 1: use world_size to fill the machine)",
    )
    group.add_argument(
        "--limit",
        type=positive,
        metavar="N",
        help="only the first N videos in the order of their ids (default: all)",
    )
    group.add_argument(
        "--retry_failed",
        action="store_true",
        help="try the videos again that failed in earlier runs (default: leave them failed,"
        " except those whose worker died)",
    )
    group.add_argument(
        "--redo",
        metavar="STEP",
        help=f"delete the output of STEP and of all steps after it, then run: one of {steps}"
        " (default: keep what is done)",
    )
    add_data_root(group)  # type: ignore[arg-type]


def runner_options(args: argparse.Namespace) -> Options:
    """The runner's options out of parsed flags."""
    return Options(
        world_size=args.world_size,
        device=args.device,
        threads=args.threads,
        limit=args.limit,
        retry_failed=args.retry_failed,
        redo=args.redo,
    )


def run_script(main: Callable[[], None]) -> None:
    """Run a script: a user's mistake is one line and exit code 2, Ctrl-C one line and 130."""
    signal.signal(signal.SIGTERM, _terminate)
    # A log file shows each step's line when the step ends, not when the run does.
    # Names of files may hold what the terminal's encoding does not.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):  # A second one has nothing to add.
            signal.signal(number, signal.SIG_IGN)
        again = "the same command (without --redo)" if "--redo" in sys.argv else "the same command"
        print(f"\ninterrupted: all that was finished is kept; {again} goes on", file=sys.stderr)
        # Nothing is left to flush or join, and the interpreter's own end could take long.
        os._exit(EXIT_INTERRUPTED)


def _terminate(signum: int, frame: FrameType | None) -> None:
    """Slurm and service managers end a run with SIGTERM: treat it as Ctrl-C."""
    raise KeyboardInterrupt
