"""Calling a script's main in the test's own process, as a user's shell would start it."""

import importlib
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import IO
from unittest.mock import patch

import pytest

from tools.cli import EXIT_MISTAKE
from tools.errors import UserError
from tools.store.dataset import REPOSITORY


@contextmanager
def redirected(name: str, descriptor: int) -> Iterator[IO[bytes]]:
    """A file that takes what this process and its children write to a standard stream."""
    original = os.dup(descriptor)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), descriptor)
        # Never closed: a library's logger may keep it.
        stream = open(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
        try:
            with patch.object(sys, name, stream):
                yield file
        finally:
            stream.flush()
            os.dup2(original, descriptor)
            os.close(original)


def content(file: IO[bytes]) -> str:
    """What is in a file, as `subprocess.run` gives it."""
    file.seek(0)
    return file.read().decode("utf-8", "backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


def exit_code(main: Callable[[list[str]], int | None], argv: list[str]) -> int:
    """Call a script's main; its exit code under the rules of `tools.cli.run_script`."""
    try:
        return main(argv) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1


def call_main(
    words: list[str], env: Mapping[str, str], cwd: str | Path
) -> subprocess.CompletedProcess[str]:
    """Call the main of a script or of `-m module` in this process; it leaves nothing changed."""
    if words[0] == "-m":
        _, name, *argv = words
        folder = str(REPOSITORY)
        if importlib.util.find_spec(name).submodule_search_locations:  # type: ignore[union-attr]
            name = f"{name}.__main__"
    else:
        folder, file = os.path.split(REPOSITORY / words[0])
        name, argv = file.removesuffix(".py"), words[1:]
    with (
        redirected("stdout", 1) as out,
        redirected("stderr", 2) as error,
        patch.dict(os.environ, env),
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        # Workers find modules where the script does, and start without what pytest runs as.
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
        monkeypatch.chdir(cwd)
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, "argv", [module.__file__, *argv])
        code = exit_code(module.main, argv)
        sys.stdout.flush()
        sys.stderr.flush()
        return subprocess.CompletedProcess(words, code, content(out), content(error))
