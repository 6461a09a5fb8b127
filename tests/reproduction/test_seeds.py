"""The run over seeds that reproductions share."""

import pytest

from reproduction import seeds
from reproduction.jobs import JobFailed, Runner
from reproduction.seeds import run_parser, run_seeds
from tools.errors import UserError
from tools.store.files import read_json, write_json


@pytest.fixture
def run(tmp_path):
    """Run the seeds of a method; returns (the seeds that were made, the folders of reports)."""
    made, reported = [], []

    def start(*words, fails=()):
        parser, _ = run_parser("What it is.", "method", ["a", "b"])
        args = parser.parse_args([*words, "--exp", str(tmp_path / "exp"), "--workers", "1"])

        def make(seed):
            if seed in fails:
                raise JobFailed(str(seed))
            made.append(seed)

        def collect():
            return {"arms": {"a": {"seeds": {str(seed): {} for seed in made}}}}

        runner = Runner(tmp_path / "logs", 1)
        run_seeds(args, runner, "method", make, collect, reported.append)
        return made, reported

    return start


def test_each_seed_is_made_and_reported(run, tmp_path):
    out = tmp_path / "out"
    assert run("--seeds", "3", "--out", str(out)) == ([1, 2, 3], [out] * 3)


def test_a_part_of_a_run_takes_nothing_away_from_the_results(run, tmp_path, monkeypatch, capsys):
    results, exp = tmp_path / "results", tmp_path / "exp"
    monkeypatch.setattr(seeds, "RESULTS", results)
    two = {"arms": {"a": {"seeds": {"1": {}, "2": {"of": "an earlier run"}}}}}
    results.mkdir()
    write_json(results / "method.json", two)
    _, folders = run("--seeds", "1")
    assert folders == [exp] and read_json(results / "method.json") == two
    assert f"{results} stays as it is: it has seeds of a that are not in {exp}" in (
        capsys.readouterr().out
    )
    _, folders = run("--seeds", "2")
    assert folders == [exp, exp, results]
    assert read_json(results / "method.json")["arms"]["a"]["seeds"] == {"1": {}, "2": {}}


def test_quick_makes_one_seed_and_leaves_the_results_alone(run, tmp_path, capsys):
    assert run("--quick") == ([1], [tmp_path / "exp" / "quick"])
    assert "one seed proves nothing" in capsys.readouterr().out


def test_a_seed_that_failed_is_named_and_the_others_are_made(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match="1"):
        run("--seeds", "2", "--out", str(tmp_path / "out"), fails=[1])
    assert "not finished: seed 1; the same command tries again" in capsys.readouterr().out


def test_no_finished_seed_is_one_line(run, tmp_path):
    with pytest.raises(UserError, match="no seed is finished: see"):
        run("--quick", "--out", str(tmp_path / "out"), fails=[1])
