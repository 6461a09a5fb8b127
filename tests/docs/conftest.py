"""How the tests of the documentation read commands out of a page, and try them."""

import argparse
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tools.training.recipe import parse

REPOSITORY = Path(__file__).resolve().parents[2]
FENCED = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`([^`]+)`")
ASSIGNMENT = re.compile(r"\w+=\S*")
PYTHONS = ("python", "python3", ".venv/bin/python")
PROGRAMS = (*PYTHONS, "bash", "sbatch", "make", "streamlit", ".venv/bin/streamlit")
LEFT_OPEN = re.compile(r"\.\.\.|<.*>")  # what a reader fills in: such a line cannot be parsed


class Parsed(Exception):
    """A command line has been parsed, and nothing of it has run."""


def commands_in(text: str) -> Iterator[list[str]]:
    """The commands of a page in Markdown, as words: from its blocks and from code in its lines."""
    pieces = []
    for block in FENCED.findall(text):
        pieces += block.replace("\\\n", " ").splitlines()
    pieces += [" ".join(code.split()) for code in INLINE.findall(FENCED.sub("", text))]
    for piece in pieces:
        for command in piece.split("&&"):
            if not command.strip().startswith(PROGRAMS) and not ASSIGNMENT.match(command.strip()):
                continue
            words = shlex.split(command, comments=True)
            while words and ASSIGNMENT.fullmatch(words[0]):
                words.pop(0)
            if len(words) > 1 and words[0] in PROGRAMS:
                yield words


@pytest.fixture(scope="session", name="commands_in")
def commands_in_a_page() -> Callable[[str], Iterator[list[str]]]:
    """`commands_in`."""
    return commands_in


@pytest.fixture
def check_command(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Fail where a command names nothing that is here, or its own parser rejects its arguments."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_args_and_stop(*args: object) -> None:
        parse_args(*args)  # type: ignore[arg-type]
        raise Parsed

    def check_python(name: str, arguments: list[str]) -> None:
        spec = importlib.util.find_spec(name)
        assert spec, f"no module {name}"
        place = REPOSITORY / name.replace(".", "/")
        if not place.is_dir() and not place.with_suffix(".py").is_file():
            return  # venv, pip and the like
        if spec.submodule_search_locations:
            name += ".__main__"
        main = importlib.import_module(name).main
        module = sys.modules[main.__module__]
        if not arguments or "--help" in arguments or LEFT_OPEN.search(" ".join(arguments)):
            return  # a mention
        if hasattr(module, "parse_arguments"):
            module.parse_arguments(arguments)
            return
        with monkeypatch.context() as patch, pytest.raises(Parsed):
            patch.setattr(argparse.ArgumentParser, "parse_args", parse_args_and_stop)
            patch.setattr(sys, "argv", [name, *arguments])  # the benchmarks take no argv
            main()

    def check(words: list[str]) -> None:
        program, first, *others = words
        if program in PYTHONS and first == "-m":
            check_python(others[0], others[1:])
        elif program in PYTHONS and first != "-c":
            assert (REPOSITORY / first).is_file(), f"no file {first}"
            check_python(Path(first).stem, others)
        elif program == "make":
            targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
            assert [word for word in words[1:] if "=" not in word and word not in targets] == []
        elif program in ("bash", "sbatch"):
            script, *arguments = (word for word in words[1:] if not word.startswith("-"))
            assert subprocess.run(["bash", "-n", REPOSITORY / script]).returncode == 0
            if Path(script).name == "run.sh" and not LEFT_OPEN.search(" ".join(arguments)):
                parse(arguments[0])
        elif first == "run":  # streamlit
            assert (REPOSITORY / others[0]).is_file(), f"no file {others[0]}"

    monkeypatch.chdir(REPOSITORY)
    return check
