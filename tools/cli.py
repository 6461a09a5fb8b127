"""What the scripts share: flags out of the fields of a dataclass, the dataset, and one clear line
for a mistake.

What a script needs only after its flags are parsed is imported there, so that `--help` is quick.
"""

import argparse
import math
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from tools.errors import UserError, did_you_mean
from tools.interruption import end_interrupted
from tools.store.dataset import DATA_ROOT

Settings = TypeVar("Settings")
Number = TypeVar("Number", int, float)


def absolute_path(text: str) -> Path:
    """An argparse type: a path that means the same in every process, wherever it runs."""
    return Path(os.path.abspath(text))


DATA_ROOT_FLAG: dict[str, Any] = {
    "type": absolute_path,
    "metavar": "DIR",
    "help": "folder that holds the datasets' folders (default: data/ in the repository)",
}
EXIT_MISTAKE = 2
EXIT_CLOSED = 141  # as of a program that SIGPIPE ends


class _OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with a command line in one line, without the usage of thirty flags."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].partition(" ")[0]
        hint = did_you_mean(unknown, self._option_string_actions)
        self.exit(EXIT_MISTAKE, f"error: {message}{hint} (--help explains all flags)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, f"{error.message}{hint}") from None


class _Manual(argparse.RawDescriptionHelpFormatter):
    """Leaves a docstring's lines as they are, and shows a number as N or X."""

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        if action.type in (int, positive, whole):
            return "N"
        return "X" if action.type in (float, amount, share) else action.dest.upper()


def script_parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser whose `--help` is the script's docstring and its flags."""
    return _OneLineParser(description=description, formatter_class=_Manual)


def add_foreign_flags(parser: argparse.ArgumentParser, instead: str, *flags: str) -> None:
    """Flags of other people's programs, which --help does not show: a line says what stands in
    their place."""

    class Foreign(argparse.Action):
        def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
            parser.error(f"{option} is of another program: here {instead}")

    for flag in flags:
        parser.add_argument(flag, action=Foreign, help=argparse.SUPPRESS)


def setting(default: Any, help: str, **words: Any) -> Any:
    """A field of a dataclass that is a flag too, and stands nowhere else; one whose default is
    MISSING is a positional argument.

    Args:
        help: what it is, its unit, and the meaning of its default; a default that is not mentioned
            is added.
        words: argparse's own `type` (default: `whole` for int, `amount` for float), `choices` and
            `metavar`; `group`, the title under which `--help` lists this field and the next ones.
    """
    return field(default=default, metadata={"help": help, **words})


def add_settings(parser: argparse.ArgumentParser, settings: type) -> None:
    """Add a flag for each field of a dataclass that `setting` made."""
    group: Any = parser
    for entry in fields(settings):
        if not entry.metadata:
            continue
        words = dict(entry.metadata)
        if title := words.pop("group", None):
            group = parser.add_argument_group(title)
        if entry.type is bool:
            words["action"] = "store_true"
        elif entry.type in (int, float):
            words.setdefault("type", whole if entry.type is int else amount)
        if entry.default is MISSING:
            group.add_argument(entry.name, **words)
            continue
        if "default" not in words["help"]:
            words["help"] += " (default: %(default)s)"
        group.add_argument(f"--{entry.name}", default=entry.default, **words)


def settings_from(args: argparse.Namespace, settings: type[Settings], **others: Any) -> Settings:
    """A dataclass out of the parsed flags of its fields' names, and what no flag gives."""
    names = {entry.name for entry in fields(settings)}  # type: ignore[arg-type]
    return settings(**{key: value for key, value in vars(args).items() if key in names}, **others)


def _number(
    convert: Callable[[str], Number], fits: Callable[[Number], bool], what: str
) -> Callable[[str], Number]:
    """An argparse type: the numbers that fit; `what` says in words which ones do."""

    def parse(text: str) -> Number:
        with suppress(ValueError):
            if fits(number := convert(text)):
                return number
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parse


positive = _number(int, lambda number: number >= 1, "a whole number of 1 or more")
whole = _number(int, lambda number: number >= 0, "a whole number of 0 or more")
amount = _number(float, lambda number: 0 < number < math.inf, "a number above 0")
share = _number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1")


def new_folder(text: str) -> Path:
    """An argparse type: a folder to write into, which is there or can be made."""
    path = Path(text)
    nearest = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not os.path.isdir(nearest):
        raise argparse.ArgumentTypeError(f"{nearest} is a file, not a folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{nearest} cannot be written to")
    return path


def new_file(text: str) -> Path:
    """An argparse type: a file to write, in a folder that is there or can be made."""
    path = Path(text)
    if os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{path} is a folder, not a file")
    new_folder(str(path.parent))
    return path


def add_dataset(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, *, optional: bool = False
) -> None:
    """Add the dataset: by the flag where the command line has it, else as a positional argument.

    Args:
        argv: the command line that will be parsed; None: the script's own.
        optional: none means all datasets.
    """
    words = sys.argv[1:] if argv is None else argv
    by_flag = any(word.split("=")[0] == "--dataset" for word in words)
    parser.add_argument(
        "--dataset" if by_flag else "dataset",
        nargs="?" if optional else None,
        help="name of the dataset, whose folder is data/<dataset>/; --dataset NAME does the same"
        + (" (default: all of them)" if optional else ""),
    )


def add_data_root(parser: argparse.ArgumentParser) -> None:
    """Add `--data_root`."""
    parser.add_argument("--data_root", default=DATA_ROOT, **DATA_ROOT_FLAG)


def add_shards(parser: argparse.ArgumentParser) -> None:
    """Add `--shards`."""
    parser.add_argument(
        "--shards",
        metavar="SHARDS",
        help="which shards of a sharded data set: 3a, 00-0f, or 00,07,10-1f (default: all of them,"
        " one after the other)",
    )


def _is_closed(stream: TextIO) -> bool:
    """Has whoever reads this output ended?"""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def run_script(main: Callable[[], None]) -> None:
    """Run a script: a user's mistake is one line and exit code 2, Ctrl-C one line and 130."""
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # Names of files are UTF-8, whatever the locale says; Python learns it only as it starts.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started the script, as `>&-` does
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    # Slurm and service managers end a run with SIGTERM: treat it as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A log file shows each step's line when the step ends, not when the run does.
    # Names of files may hold what the terminal's encoding does not.
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_MISTAKE)
    except BrokenPipeError:
        outputs = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
        if not outputs:
            raise  # it was another pipe
        for stream in outputs:  # whoever read it, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(EXIT_CLOSED)
    except KeyboardInterrupt:
        end_interrupted()
