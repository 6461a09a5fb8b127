"""The Makefile: what becomes of an environment that is there, and what commands see."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.store.dataset import REPOSITORY

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
INSTALLED = "uv pip install --python {}/bin/python -r requirements.txt -e ."


@pytest.fixture
def checkout(tmp_path):
    """The files that make reads, and in `bin` a uv that prints what it is to install."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text('#!/bin/sh\necho "uv $*"\n')
    uv.chmod(0o755)
    return tmp_path


@pytest.fixture
def setup(checkout):
    """Run `make setup`; (exit code, what it printed, without make's own last line)."""

    def run(*words):
        path = f"{checkout / 'bin'}:/usr/bin:/bin"
        done = subprocess.run(
            ["make", "setup", f"PYTHON={sys.executable}", "NEEDED_GB=0", *words],
            cwd=checkout,
            env={"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = [line for line in done.stdout.splitlines() if not line.startswith("make: ")]
        return done.returncode, lines

    return run


def environment(folder: Path) -> Path:
    """An environment that somebody has made and built something into."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (folder / "flash_attn").touch()
    return folder


def test_a_linked_environment_is_updated_in_place_when_the_packages_change(checkout, setup):
    own = environment(checkout / "own")
    (checkout / ".venv").symlink_to(own)
    installed = (0, ["installing requirements.txt into .venv", INSTALLED.format(".venv")])
    assert setup() == installed
    assert setup() == (0, [])
    (checkout / "requirements.txt").touch()  # as a clone or a checkout does
    assert setup() == (0, [])
    with (checkout / "requirements.txt").open("a") as file:
        file.write("# one more\n")
    assert setup() == installed
    assert (checkout / ".venv").is_symlink()
    assert (own / "flash_attn").exists()


def test_another_environment_can_be_named(checkout, setup):
    own = environment(checkout / "own")
    assert setup(f"VENV={own}") == (
        0,
        [f"installing requirements.txt into {own}", INSTALLED.format(own)],
    )
    assert not (checkout / ".venv").exists()


def test_what_is_no_folder_is_one_line(checkout, setup):
    (checkout / "file").touch()
    code, [line] = setup("VENV=file")
    assert (code, "mkdir" in line, "file" in line) == (2, True, True)
    code, [line] = setup("VENV=my env")
    assert code == 2
    assert line.endswith(" *** VENV=my env: name one folder, without spaces.  Stop.")


def test_what_python_has_compiled_is_kept_though_an_image_forbids_it(checkout):
    done = subprocess.run(
        ["make", "--eval", "seen: ; @env", "seen"],
        cwd=checkout,
        env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    variables = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert "PYTHONUNBUFFERED" in variables
    assert "PYTHONDONTWRITEBYTECODE" not in variables
