"""Chat messages made of the prompts, and a user's own prompts in a file."""

from argparse import ArgumentParser

import numpy as np
import pytest

from tools.errors import UserError
from tools.text import prompts
from tools.text.answers import media_or_special_tag
from tools.text.prompts import (
    QUESTIONS,
    Prompts,
    add_prompts_flag,
    asked_clip_messages,
    clip_messages,
    listed_captions,
    read_prompts,
    response_messages,
)

PAIRS = [[np.full((4, 6, 3), 10 * k + i, np.uint8) for i in range(2)] for k in range(3)]


def videos(messages):
    return [part["video"] for part in messages[0]["content"] if part["type"] == "video"]


def texts(messages):
    return [part["text"] for part in messages[0]["content"] if part["type"] == "text"]


def test_the_first_clip_is_shown_alone():
    messages = clip_messages(PAIRS, 0)
    assert [message["role"] for message in messages] == ["user"]
    assert [[int(frame[0, 0, 0]) for frame in clip] for clip in videos(messages)] == [[0, 1]]
    assert texts(messages) == [prompts.FIRST_CLIP]


def test_a_clip_may_be_shown_with_a_question_and_its_options():
    messages = asked_clip_messages(PAIRS[1], "Who runs?", ["a dog", "a cat"])
    assert [[int(frame[0, 0, 0]) for frame in clip] for clip in videos(messages)] == [[10, 11]]
    [text] = texts(messages)
    assert text.startswith(prompts.FIRST_CLIP)
    assert text.endswith("Mention what helps to answer: Who runs?\nOptions:\n- a dog\n- a cat")


def test_a_later_clip_is_shown_after_the_one_before_it():
    messages = clip_messages(PAIRS, 2)
    assert [[int(f[0, 0, 0]) for f in clip] for clip in videos(messages)] == [[10, 11], [20, 21]]
    assert [part["type"] for part in messages[0]["content"]] == [
        "text", "video", "text", "video", "text",
    ]  # fmt: skip
    assert texts(messages) == ["Video clip 1:", "Video clip 2:", prompts.LATER_CLIP]


def test_captions_are_numbered_from_one_a_line_each():
    text = texts(response_messages(["A cat\nsleeps.", "It {wakes} \\1."]))[0]
    assert "\n\nCaption 1: A cat sleeps.\nCaption 2: It {wakes} \\1.\n\n" in text


def test_listed_captions_come_back_in_order():
    captions = [f"Scene {k}." for k in (3, 1, 2)] * 5
    assert listed_captions(response_messages(captions)) == captions
    beside = Prompts(response="Join: {captions}")
    assert listed_captions(response_messages(captions, beside)) == captions


def test_a_fingerprint_changes_with_a_prompt():
    assert prompts.fingerprint("a", "b") == prompts.fingerprint("a", "b")
    assert prompts.fingerprint("a", "b") != prompts.fingerprint("ab")
    assert len(prompts.fingerprint(prompts.RESPONSE)) == 12


def test_there_are_six_questions():
    assert len(set(QUESTIONS)) == 6
    assert all(media_or_special_tag(question) is None for question in QUESTIONS)


OWN = """
first_clip: What is this?
response: |-
  Join these:
  {captions}
  in order.
questions:
- What happens?
- And then?
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mine.yaml"


def test_a_file_replaces_the_prompts_that_it_names(path):
    path.write_text(OWN)
    own = read_prompts(str(path))
    assert own == Prompts(
        first_clip="What is this?",
        later_clip=prompts.LATER_CLIP,
        response="Join these:\n{captions}\nin order.",
        questions=("What happens?", "And then?"),
    )
    assert texts(clip_messages(PAIRS, 0, own)) == ["What is this?"]
    assert texts(clip_messages(PAIRS, 1, own))[-1] == prompts.LATER_CLIP
    assert texts(response_messages(["A cat.", "A dog."], own)) == [
        "Join these:\nCaption 1: A cat.\nCaption 2: A dog.\nin order."
    ]


def test_the_flag_reads_the_file_and_is_the_default_wording_without(path):
    path.write_text("later_clip: And this?")
    parser = ArgumentParser()
    add_prompts_flag(parser)
    assert parser.parse_args(["--prompts", str(path)]).prompts == Prompts(later_clip="And this?")
    assert parser.parse_args([]).prompts == Prompts()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "clip: Describe it.",
            "there is no prompt 'clip'; there are first_clip, later_clip, response, questions",
        ),
        (
            "response: Join them.",
            "the placeholders of response must be {captions}, and are none",
        ),
        (
            "response: 'Join {caption}, {captions}.'",
            "the placeholders of response must be {captions}, and are {caption}, {captions}",
        ),
        (
            "first_clip: 'See {captions}.'",
            "the placeholders of first_clip must be none, and are {captions}",
        ),
        ("questions: What happens?", "questions must be a list of texts"),
        ("questions: []", "questions must be a list of texts"),
        ("questions: [What, 3]", "questions must be text, and is 3"),
        ("first_clip:", "first_clip must be text, and is None"),
        ("later_clip: ' '", "later_clip must be text, and is ' '"),
        ("questions: ['<video>What?']", "questions contains <video>, which models take for media"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_key(path, text, line):
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_prompts(str(path))
    assert str(error.value) == f"{path}: {line}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "",
            "{path} holds no prompts; its keys may be first_clip, later_clip, response, questions",
        ),
        ("- What?", "{path} holds no prompts; its keys may be first_clip, later_clip"),
        ("a: b: c", "{path} cannot be read: mapping values are not allowed here in "),
        (None, "{path} cannot be read: [Errno 2] No such file or directory: "),
    ],
)
def test_a_file_without_prompts_is_one_line(path, text, line):
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        read_prompts(str(path))
    assert str(error.value).startswith(line.format(path=path))
    assert "\n" not in str(error.value)
