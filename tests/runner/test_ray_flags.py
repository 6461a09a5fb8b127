"""The flags of Ray where Ray is not installed, or not asked for; tests/on_ray has the clusters."""

import ast
import os
import sys
from types import SimpleNamespace

import pytest

from tests.test_layout import modules
from tools.runner.options import Options
from tools.runner.run import _engine


@pytest.fixture
def toy(run_script, tmp_path):
    """Run toy_steps.py with flags: (exit code, last line of stderr, files that were written)."""

    def run(*flags):
        words = ("tests/runner/toy_steps.py", "mine", 1, "--data_root", tmp_path, *flags)
        done = run_script(*words)
        return done.returncode, done.stderr.splitlines()[-1], list(tmp_path.rglob("*"))

    return run


def test_ray_that_is_not_installed_is_one_line(toy, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, "tools.runner.on_ray", raising=False)
    code, error, written = toy("--ray", "auto")
    assert (code, written) == (2, [])
    assert error.startswith("error: --ray needs Ray (")
    assert error.endswith("): pip install -r requirements-ray.txt")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (
            ("--ray", "somewhere"),
            "error: argument --ray: 'somewhere' is not auto, local or host:port (--help explains"
            " all flags)",
        ),
        (
            ("--gpus_per_worker", "0.5"),
            "error: --gpus_per_worker is for --ray: here, worker r computes on GPU r",
        ),
        (
            ("--ray", "auto", "--gpus_per_worker", "1.5"),
            "error: --gpus_per_worker 1.5: give a share below 1 or a whole number",
        ),
    ],
)
def test_flags_that_mean_nothing_are_one_line(toy, flags, error):
    assert toy(*flags) == (2, error, [])


def test_the_shards_of_one_process_share_the_token_of_a_local_cluster(monkeypatch, dataset):
    tokens = []
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "as before")  # so that it is put back
        monkeypatch.delenv(name)
    on_ray = SimpleNamespace(RayCluster=lambda *_: tokens.append(os.environ["RAY_AUTH_TOKEN"]))
    monkeypatch.setitem(sys.modules, "tools.runner.on_ray", on_ray)
    step = SimpleNamespace(reads=dataset.table("init"))
    for _ in range(2):
        _engine(Options(1, ray="local"), dataset, step, videos=None)
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64


def test_ray_is_imported_where_it_is_asked_for_and_nowhere_else():
    imports = {"ray": [], "tools.runner.on_ray": []}
    for name, file in modules().items():
        tree = ast.parse(file.read_bytes())
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for imported in names:
                key = "ray" if imported.split(".")[0] == "ray" else imported
                if key in imports:
                    imports[key].append((name, node in tree.body))
    assert {name for name, _ in imports["ray"]} == {"tools.runner.on_ray"}
    assert imports["tools.runner.on_ray"] == [("tools.runner.run", False)]
