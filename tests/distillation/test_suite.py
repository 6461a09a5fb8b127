"""The suite and its report."""

import os
import shutil
from dataclasses import replace

import orjson
import pytest

from distillation import suite as module
from distillation.inputs.lines import write_lines
from distillation.judgements import Judgement, write_judgements
from distillation.runs.answering import is_scored
from distillation.runs.report import verdict
from distillation.suite import SuiteSettings, comparisons
from qa.records import read_questions, write_questions
from tools.errors import UserError
from tools.statistics import Interval
from tools.store.dataset import Dataset
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
        "labels1-hard-sure > lines-none",
    ]
    assert {claim["verdict"] for claim in claims} <= {"supported", "refuted", "undecided"}
    assert len(report["arms"]["lines-none"]["seeds"]) == 2
    for name in ("distillation.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.md").read_text()
    assert "| lines-none | 2 |" in text
    again, _ = suite()
    assert again.stdout.count("nothing to do") == 10
    assert read_json(folder / "report.json") == report
    assert (folder / "report.md").read_text() == text


def judge(dataset, teacher, right):
    """Write a teacher that is right on those training questions whose id ends with `right`."""
    rows = []
    for q in read_questions(dataset, "train"):
        place = (q.answer_index + (not q.id.endswith(right))) % 4
        rows.append(Judgement(q.id, [-1.0 - 9 * (n != place) for n in range(4)], [1] * 4))
    write_judgements(dataset.judgements_of(teacher, "train"), rows)


@pytest.fixture(scope="module")
def full(films, tmp_path_factory):
    """The films with frame lines too, and with a second teacher, which is right on every second
    question."""
    root = tmp_path_factory.mktemp("full") / "films"
    shutil.copytree(films.root, root)
    dataset = Dataset("films", root)
    shutil.copy(dataset.prompt_lines("event", "seer"), dataset.prompt_lines("frame", "seer"))
    judge(dataset, "able", "/0")
    return dataset


@pytest.fixture(scope="module")
def all_three(full, suite, tmp_path_factory):
    """() -> the finished suite of all comparisons, a student an arm, and its folder."""
    out = tmp_path_factory.mktemp("all") / "films"
    words = ("--seeds", 1, "--data_root", full.root.parent, "--out", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WEIGHTS", (1.0,))
        yield lambda: (suite(*words)[0], out)


def test_all_comparisons_share_students_and_order_teachers_by_accuracy(all_three):
    result, folder = all_three()
    assert result.returncode == 0, result.stderr
    report = read_json(folder / "report.json")
    prompts, modes, teachers = report["comparisons"].values()
    assert [claim["claim"] for claim in prompts["claims"]] == [
        "lines-event > lines-frame",
        "lines-frame > lines-random",
        "lines-random > lines-none",
        "lines-frame > lines-none",
        "lines-event > lines-event-video-zeroed",
    ]
    assert "lines-none" in modes["arms"] and modes["note"] == "The teacher is sure."
    assert [claim["claim"] for claim in teachers["claims"]] == [
        "labels1-hybrid-sure > labels1-hybrid-able"
    ]
    accuracies = "accuracy on the labelled training questions: sure 1.000, able 0.500."
    assert accuracies in teachers["note"]
    assert accuracies in result.stdout and accuracies in (folder / "report.md").read_text()
    assert len(report["arms"]) == len(list(folder.glob("*/s0"))) == 11


def test_students_are_scored_again_when_the_answers_have_changed(all_three, full):
    _, folder = all_three()
    before = read_json(folder / "report.json")["arms"]["lines-event"]["accuracy"]["value"]
    path = full.questions("test")
    kept = path.read_bytes()
    questions = read_questions(full, "test")
    wrong = [
        replace(q, answer=q.choices[place], answer_index=place)
        for q, place in ((q, (q.answer_index + 1) % 4) for q in questions)
    ]
    write_questions(path, wrong)
    result, _ = all_three()
    path.write_bytes(kept)
    assert result.stdout.count("nothing to do") == 11
    after = read_json(folder / "report.json")["arms"]["lines-event"]["accuracy"]["value"]
    assert after != before


def test_scores_are_of_their_features_lines_and_controls(all_three, full):
    result, folder = all_three()
    assert result.returncode == 0, result.stderr
    run, root = folder / "lines-event" / "s0", full.root.parent
    assert is_scored(run, root, "test")
    assert not is_scored(run, root, "test", controls=False)
    assert not is_scored(run, root, "val")
    lines = full.prompt_lines("event", "seer")
    kept = lines.read_bytes()
    rows = [orjson.loads(row) for row in kept.splitlines()]
    next(row for row in rows if row["video"] == "test00")["lines"].pop()
    write_lines(lines, rows)
    assert not is_scored(run, root, "test")
    lines.write_bytes(kept)
    assert is_scored(run, root, "test")
    os.utime(full.vectors("made-up", "tokens") / "test00.safetensors", (1, 1))
    assert not is_scored(run, root, "test")


def test_a_better_teacher_that_comes_later_changes_no_other_comparison(full, tmp_path):
    settings = SuiteSettings(labels=1.0)
    judge(full, "sure", "/0")
    judge(full, "able", "9/0")
    first = comparisons(full, settings, tmp_path)
    judge(full, "better", "")
    second = comparisons(full, settings, tmp_path)
    shutil.rmtree(full.judgements_of("better", "train").parent)
    assert second[:2] == first[:2] and first[1].note == "The teacher is sure."
    assert [arm.name for arm in second[2].arms] == [
        "labels1-hybrid-better",
        "labels1-hybrid-sure",
        "labels1-hybrid-able",
    ]
    assert comparisons(full, replace(settings, teacher="able"), tmp_path)[1].note.endswith("able.")
    with pytest.raises(UserError, match="--teacher nobody: the teachers are sure, able"):
        comparisons(full, replace(settings, teacher="nobody"), tmp_path)


def test_a_teacher_of_choices_alone_is_left_out(full, tmp_path, capsys):
    path = full.judgements_of("chooser", "train")
    questions = read_questions(full, "train")
    write_judgements(path, [Judgement(q.id, choice=q.answer_index) for q in questions])
    made = comparisons(full, SuiteSettings(), tmp_path)
    shutil.rmtree(path.parent)
    assert "chooser is left out: 128 of its 128 judgements lack log p" in capsys.readouterr().out
    assert not [arm.name for comparison in made for arm in comparison.arms if "chooser" in arm.name]


def test_a_split_that_cannot_be_scored_is_refused_before_any_training(full, suite, tmp_path):
    unlabelled = [
        replace(q, split="hidden", answer=None, answer_index=None)
        for q in read_questions(full, "test")
    ]
    write_questions(full.questions("hidden"), unlabelled)
    write_questions(
        full.questions("unseen"),
        [replace(q, split="unseen", video_id="v", video="v.mp4") for q in unlabelled],
    )
    out = tmp_path / "films"
    for split, message in (
        ("hidden", "films/hidden has no labels, without which no student is scored"),
        ("unseen", "no question of films/unseen has features by made-up"),
        ("tset", "films has no questions of the split 'tset'"),
    ):
        words = ("--split", split, "--data_root", full.root.parent, "--out", out)
        refused, _ = suite(*words)
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert message in refused.stderr
        assert not out.exists()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.01, 0.2, "supported"), (-0.2, -0.01, "refuted"), (-0.1, 0.1, "undecided")],
)
def test_a_verdict_is_what_the_interval_says(low, high, expected):
    assert verdict(Interval((low + high) / 2, low, high)) == expected
