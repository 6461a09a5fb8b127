"""Answers that would break training, and answers that only look like it."""

import time

import pytest

from tools.text.faults import answer_fault, is_looping

LONG = (
    "A cook washes rice in a steel bowl. The water turns white, and she pours it off three times."
    " Then she fills the pot, lights the stove, and waits until the lid begins to tremble."
)


@pytest.mark.parametrize(
    ("answer", "kept", "finish_reason", "fault"),
    [
        (LONG, LONG, "stop", None),
        (LONG, LONG, "length", "cut_off"),
        ("", "", "stop", "empty"),
        ("<think>hm</think> \n", " \n", "stop", "empty"),
        ("He runs. " * 12, "He runs. " * 12, "stop", "looping"),
        (LONG + "<video>", LONG + "<video>", "stop", "tag"),
        ("A cat <|im_end|> sat.", "A cat <|im_end|> sat.", "stop", "tag"),
        # Thinking may speak of tags: only what is kept goes into training.
        ("I see <video>.\n\nA cat.", "A cat.", "stop", None),
    ],
)
def test_the_first_fault_is_named(answer, kept, finish_reason, fault):
    assert answer_fault(answer, kept, finish_reason) == fault


@pytest.mark.parametrize(
    "text",
    [
        "the man walks " * 8,
        LONG + " and then the man walks" * 6,
        "He opens the door and looks outside for a while. " * 4 + LONG,
        "no " * 24,
        "!" * 60,
        "的猫" * 40,
        " ".join([LONG] * 4),
    ],
)
def test_a_stretch_that_stands_again_and_again_is_a_loop(text):
    assert is_looping(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no no, says the child",
        "ha " * 20,  # a laugh, below 24 words
        LONG,
        " ".join([LONG] * 3),  # thrice may be told; four times is a loop
        "A man sits. A woman sits. A man sits. A woman sits. A man stands up and leaves.",
        "| a | b |\n" + "|" + "-" * 30 + "|\n| 1 | 2 |",
        " ".join(f"In shot {k} the ball is at {k} meters." for k in range(40)),
    ],
)
def test_what_only_resembles_a_loop_is_none(text):
    assert not is_looping(text)


def test_a_long_answer_is_looked_through_at_once():
    start = time.perf_counter()
    assert not is_looping(" ".join(str(number * 7919 % 5003) for number in range(5000)))
    assert time.perf_counter() - start < 1.0
