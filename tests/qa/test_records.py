"""The record of a question, and what cannot be one."""

import orjson
import pytest

from qa.checks import position_imbalance
from qa.records import Question, read_questions, write_questions
from tools.errors import UserError


def test_what_is_written_is_read_sorted_by_id(dataset):
    questions = [
        Question("b", "mine", "val", "why", video_id="v", video="v.mp4", start=1.0, end=2.5),
        Question("a", "mine", "val", "why", choices=["u", "v"], answer="v", answer_index=1),
    ]
    assert write_questions(dataset.questions("val"), questions) == 2
    assert read_questions(dataset, "val") == questions[::-1]
    line = dataset.questions("val").read_bytes().splitlines()[1]
    assert orjson.loads(line) == {
        "id": "b", "dataset": "mine", "split": "val", "question": "why", "video_id": "v",
        "video": "v.mp4", "start": 1.0, "end": 2.5, "choices": None, "answer": None,
        "answer_index": None, "type": None, "references": [], "context": {"media": "video"},
        "origin": {},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"choices": ["u", "v"], "answer_index": 2}, "there is no option 2"),
        ({"answer_index": 0}, "there is no option 0"),
        ({"start": 1.0}, "a start needs an end"),
        ({"start": 2.0, "end": 2.0}, "no part of a video is from 2.0 to 2.0 s"),
        ({"colour": "red"}, "unexpected keyword argument 'colour'"),
    ],
)
def test_a_line_that_is_no_question_is_named(dataset, wrong, message):
    path = dataset.questions("val")
    path.parent.mkdir(parents=True)
    row = {"id": "a", "dataset": "mine", "split": "val", "question": "why"}
    path.write_bytes(orjson.dumps(row) + b"\n" + orjson.dumps(row | {"id": "b"} | wrong) + b"\n")
    with pytest.raises(UserError, match=f"line 2 is no question .*{message}"):
        read_questions(dataset, "val")


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ((1013, 1013, 991, 967, 1012), -0.9, -0.8),  # NExT-QA val: chi-square 1.65, p = .80
        ((1078, 1040, 991, 895, 992), 3.0, 4.2),  # chi-square 18.9, p = .0008
        ((500, 0), 9, 99),
        ((1, 3), 0, 0),  # too few to say
    ],
)
def test_how_far_right_answers_are_from_an_even_spread(counts, low, high):
    questions = [
        Question("a", "mine", "val", "why", choices=["o"] * len(counts), answer_index=position)
        for position, count in enumerate(counts)
        for _ in range(count)
    ]
    assert low <= position_imbalance(questions) <= high
