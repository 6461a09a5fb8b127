"""The suite and its report."""

import pytest

from distillation.report import verdict
from tools.statistics import Interval
from tools.store.files import read_json


@pytest.fixture(scope="module")
def suite(data_root, tmp_path_factory, run_script):
    """words -> the finished suite, and its folder."""
    out = tmp_path_factory.mktemp("suite") / "films"
    fixed = ("--data_root", data_root, "--device", "cpu", "--out", out, "--heads", 2, "--ffn", 1)

    def run(*words):
        words = ("films", "--seeds", 2, "--epochs", 1, "--labels", 1, "--lr", 0.01, *fixed, *words)
        return run_script("-m", "distillation.suite", *words), out

    return run


def test_the_suite_compares_and_a_second_run_adds_nothing(suite):
    result, folder = suite()
    assert result.returncode == 0, result.stderr
    assert "no comparison of prompts: it needs both event and frame lines" in result.stdout
    assert "no comparison of teachers: sure is the only one" in result.stdout
    report = read_json(folder / "report.json")
    assert list(report["comparisons"]) == ["distillation"]
    claims = report["comparisons"]["distillation"]["claims"]
    assert [claim["claim"] for claim in claims[:3]] == [
        "labels1-hybrid-sure > labels1-soft-sure",
        "labels1-soft-sure > labels1-hard-sure",
        "labels1-hard-sure > labels1-none",
    ]
    assert {claim["verdict"] for claim in claims} <= {"supported", "refuted", "undecided"}
    assert len(report["arms"]["labels1-none"]["seeds"]) == 2
    for name in ("distillation.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.md").read_text()
    assert "| labels1-none | 2 |" in text
    again, _ = suite()
    assert again.stdout.count("nothing to do") == 10
    assert read_json(folder / "report.json") == report
    assert (folder / "report.md").read_text() == text


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.2, "supported"), (-0.2, -0.01, "refuted"), (-0.1, 0.1, "undecided")],
)
def test_a_verdict_is_what_the_interval_says(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected
