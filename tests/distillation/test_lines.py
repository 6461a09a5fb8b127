"""Prompt lines: which one a frame is shown with, the controls, and those that give answers away."""

import pytest

from distillation.inputs.batches import grouped
from distillation.inputs.lines import (
    Line,
    Prompts,
    leaks,
    read_lines,
    static,
    static_share,
    write_lines,
)
from qa.records import Question
from tools.errors import UserError

TIMES = [0.5, 1.5, 2.5, 3.5]


def row(video, *texts):
    lines = [{"start": n, "end": n + 1, "text": text} for n, text in enumerate(texts)]
    return {"video": video, "source": "clips", "lines": lines, "dropped": {}}


def asked(video, number=0, **about):
    return Question(f"{video}/{number}", "mine", "train", "?", video, f"{video}.mp4", **about)


@pytest.fixture
def lines_of_three(dataset):
    """Event lines of three films: the third has none from 2 s on."""
    path = dataset.prompt_lines("event", "seer")
    rows = [row("b", "b0", "b1", "b2", "b3"), row("a", "a0", "a1", "a2", "a3")]
    write_lines(path, [*rows, row("c", "c0", "c1")])
    return dataset


def test_a_frame_has_the_line_whose_span_holds_its_time(lines_of_three):
    prompts = Prompts(lines_of_three, "event")
    assert prompts.captioner == "seer"
    assert prompts.texts("a", "a", TIMES) == ["a0", "a1", "a2", "a3"]
    assert prompts.texts("c", "c", TIMES) == ["c0", "c1", None, None]
    assert prompts.texts("a", "a", [0.0, 0.9, 1.0, 3.9]) == ["a0", "a0", "a1", "a3"]


def test_a_part_of_a_video_has_its_own_lines_or_those_of_the_video(dataset):
    write_lines(dataset.prompt_lines("event", "seer"), [row("a", "a0"), row("b@0-1", "part")])
    prompts = Prompts(dataset, "event")
    assert prompts.texts("a@0-1", "a", [0.5]) == ["a0"]
    assert prompts.texts("b@0-1", "b", [0.5]) == ["part"]


def test_a_question_has_its_own_lines_where_the_captioner_was_shown_it(dataset):
    path = dataset.prompt_lines("event", "seer-with-question")
    write_lines(path, [row("a/0", "for 0"), row("a/1", "for 1"), row("b/0", "of b")])
    questions = [asked("a"), asked("a", 1), asked("b")]
    own = Prompts(dataset, "event", None, questions)
    assert [own.shown(q, lambda view: [0.5]) for q in questions] == [["for 0"], ["for 1"], ["of b"]]
    random = Prompts(dataset, "random", None, questions)
    seconds = {"b": [0.5], "a": [7.0]}  # another video's lines go by that video's times
    assert random.shown(asked("a", 1), seconds.get) == ["of b"]
    assert [len(g.questions) for g in grouped(questions, own.by_question)] == [1, 1, 1]
    assert own.digest(questions) != own.digest(questions[:1])


def test_random_lines_are_those_of_another_training_video_and_always_the_same(lines_of_three):
    training = [asked("a"), asked("a", 1), asked("b")]
    for seed in range(5):
        prompts = Prompts(lines_of_three, "random", None, training, seed)
        assert prompts.partner("a", "a") == ("b", "b")
        assert prompts.partner("c", "c")[1] in ("a", "b")
        again = Prompts(lines_of_three, "random", None, training, seed)
        assert again.partner("c", "c") == prompts.partner("c", "c")
    drawn = {
        Prompts(lines_of_three, "random", None, training, seed).partner("c", "c")
        for seed in range(20)
    }
    assert drawn == {("a", "a"), ("b", "b")}


def test_random_lines_need_a_second_training_video(lines_of_three):
    prompts = Prompts(lines_of_three, "random", None, [asked("a")])
    with pytest.raises(UserError, match="two training videos"):
        prompts.partner("a", "a")


def test_shuffled_lines_are_the_own_ones_in_another_order(lines_of_three):
    shuffled = Prompts(lines_of_three, "shuffled").texts("a", "a", TIMES)
    assert sorted(shuffled) == ["a0", "a1", "a2", "a3"]
    assert shuffled != ["a0", "a1", "a2", "a3"]


def test_none_empty_and_static_lines(dataset):
    write_lines(dataset.prompt_lines("event", "seer"), [row("a", "a red star moves left .")])
    assert Prompts(dataset, "none").texts("a", "a", [0.5, 9.0]) == [None, None]
    assert Prompts(dataset, "empty").texts("a", "a", [0.5, 9.0]) == ["", ""]
    assert Prompts(dataset, "static").texts("a", "a", [0.5, 9.0]) == ["a red star", None]


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("an orange circle turns .", "an orange circle"),
        ("A man in a red shirt is running", "A man in a red shirt"),
        ("two dogs playing with a ball", "two dogs"),
        ("a beach at night", "a beach at night"),
        ("Moves", "Moves"),
        ("During the day a red circle moves right", "During the day a red circle"),
        ("A man-eating plant has grown", "A man-eating plant"),
        ("a ring spins", "a ring spins"),  # no verb that the rule knows
    ],
)
def test_who_is_there_without_what_happens(text, who):
    assert static(text) == who


def test_the_share_of_lines_that_static_cuts():
    texts = ("a red star moves left .", "a ring spins", "a dog is asleep", "a beach at night")
    assert static_share([Line(0, 1, text) for text in texts]) == 0.5


def test_lines_that_hold_an_option_are_counted():
    choices = ["A red star moves left", "a blue circle grows", "a star"]
    questions = [
        asked("a", 0, choices=choices, answer_index=0),
        asked("a", 1, choices=choices[1:], answer_index=0),
        asked("b", 0, choices=choices, answer_index=0),
        asked("none", 0, choices=choices, answer_index=0),
    ]
    lines = {"a": [Line(0, 1, "a red star moves left .")], "b": [Line(0, 1, "nothing")]}
    assert leaks(questions, lines) == (3, 2, 1)


def test_two_captioners_must_be_told_apart(lines_of_three):
    write_lines(lines_of_three.prompt_lines("event", "other"), [row("a", "x")])
    with pytest.raises(UserError, match="has event lines by other, seer: name one"):
        Prompts(lines_of_three, "event")
    assert Prompts(lines_of_three, "event", "other").texts("a", "a", [0.5]) == ["x"]


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        '{"video": "a", "lines": [{"start": 1, "end": 1, "text": "x"}]}',
        '{"video": "a", "lines": [{"start": 0, "end": 1, "text": 7}]}',
        '{"lines": []}',
    ],
)
def test_a_file_that_holds_something_else_is_refused_in_one_line(tmp_path, line):
    path = tmp_path / "event-x.jsonl"
    path.write_text(f'{{"video": "b", "lines": []}}\n{line}\n')
    with pytest.raises(UserError, match=r"event-x.jsonl line 2 holds no prompt lines \("):
        read_lines(path)
