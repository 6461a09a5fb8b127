"""What `pip install -e .` (by `make setup`) gives: our packages in any folder, and no more."""

import os
import subprocess
import sys

import pytest


def python(folder, *words):
    """What Python prints in a folder, with nothing but the install to find modules by."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True
    )
    return done.stdout if done.returncode == 0 else done.stderr.splitlines()[-1]


VERSION = "from importlib.metadata import version; print(version('temple-toolkit'))"
pytestmark = pytest.mark.skipif(
    not python("/", "-c", VERSION)[0].isdecimal(),
    reason="this environment lacks the package: pip install -e .",
)


def test_modules_run_from_any_folder(tmp_path):
    assert "python -m tools.status mine" in python(tmp_path, "-m", "tools.status", "--help")


@pytest.mark.parametrize("marker", ["__init__.py", "README"])
def test_a_users_own_folders_of_our_names_win(tmp_path, marker):
    for name in ("tools", "data"):
        (tmp_path / name).mkdir()
        (tmp_path / name / marker).touch()
        (tmp_path / name / "own.py").write_text(f"print('the {name} of the user')")
    (tmp_path / "script.py").write_text("import tools.own, data.own, inference\nprint('ours')")
    printed = "the tools of the user\nthe data of the user\nours\n"
    assert python(tmp_path, "script.py") == printed
    assert python("/", tmp_path / "script.py") == printed


@pytest.mark.parametrize("name", ["data", "docs", "benchmarks", "preprocess", "train_scripts"])
def test_no_other_folder_of_the_repository_can_be_imported(tmp_path, name):
    assert python(tmp_path, "-c", f"import {name}") == (
        f"ModuleNotFoundError: No module named '{name}'"
    )
