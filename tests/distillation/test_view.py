"""What the viewer is given: the lines that a student reads beside each frame."""

import pytest

from distillation.view import LinesOf, students
from qa.predictions import write_predictions
from qa.records import read_questions
from tools.errors import UserError
from tools.store.files import write_json


@pytest.fixture
def student(films, tmp_path, monkeypatch):
    """(**about) -> the predictions of a student."""
    monkeypatch.chdir(tmp_path)

    def write(**about):
        folder = tmp_path / "exp" / "cater" / "films" / "run"
        own = {"config": {}, "captioner": "seer", "split": "train", "seed": 0}
        write_json(folder / "student.json", {**own, "features": {"name": "made-up"}, **about})
        path = folder / "predictions" / "test.jsonl"
        write_predictions(path, [], {"dataset": "films", "split": "test"})
        return path

    return write


def test_each_frame_has_the_line_of_its_time(films, student):
    path = student(prompt_variant="event")
    assert {name: own.resolve() for name, own in students(films, "test").items()} == {
        "films/run": path
    }
    assert students(films, "val") == {}
    question = read_questions(films, "test")[0]
    lines = LinesOf(films, path).of(question)
    assert [time for time, _ in lines] == [0.5, 1.5, 2.5, 3.5]
    first = next(q for q in read_questions(films, "test") if q.video_id == question.video_id)
    answers = {
        q.id[-1]: q.answer for q in read_questions(films, "test") if q.video_id == first.video_id
    }
    assert {lines[0][1], lines[-1][1]} == set(answers.values())


def test_random_lines_are_another_videos(films, student):
    question = read_questions(films, "test")[0]
    own = LinesOf(films, student(prompt_variant="event")).of(question)
    random = LinesOf(films, student(prompt_variant="random")).of(question)
    assert [time for time, _ in random] == [time for time, _ in own]
    assert [text for _, text in random] != [text for _, text in own]


def test_a_student_without_lines_has_none(films, student):
    lines = LinesOf(films, student(prompt_variant="none", captioner=None))
    assert lines.of(read_questions(films, "test")[0]) == []


def test_missing_lines_are_one_line(films, student):
    with pytest.raises(UserError, match="films has frame lines by"):
        LinesOf(films, student(prompt_variant="frame", captioner=None))
