"""The run over seeds that reproductions share."""

import pytest

from reproduction.jobs import JobFailed, Runner
from reproduction.seeds import run_parser, run_seeds
from tools.errors import UserError


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

        def report(out):
            out.mkdir(parents=True, exist_ok=True)
            (out / "method.json").write_text("{}")
            reported.append(out)

        run_seeds(args, Runner(tmp_path / "logs", 1), "method", make, report)
        return made, reported

    return start


def test_each_seed_is_made_and_reported(run, tmp_path):
    out = tmp_path / "out"
    assert run("--seeds", "3", "--out", str(out)) == ([1, 2, 3], [out] * 3)


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
