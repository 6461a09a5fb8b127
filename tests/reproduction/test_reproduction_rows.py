"""Rows of the reproduction: questions about stories, and pairs that are drawn."""

import orjson
import pytest

from reproduction.temple.rows import (
    descriptions,
    drawn_pairs,
    questions_of,
    rows_a_kind,
    story_rows,
    without_rejected,
)
from tools.errors import UserError
from tools.text.prompts import QUESTIONS

# Rows of stories


def event(colour, shape, action):
    text = f"a {colour} {shape} {action} ."
    return {"colour": colour, "shape": shape, "action": action, "text": text}


RED = event("red", "circle", "moves left")
BLUE = event("blue", "star", "grows")
GREEN = event("green", "star", "grows")


def write_stories(folder, *told):
    """A dataset of stories, without videos."""
    lines = [
        orjson.dumps({"video_name": f"toy_{number:04d}.mp4", "events": list(events)})
        for number, events in enumerate(told)
    ]
    folder.mkdir()
    (folder / "truth.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


@pytest.fixture
def toysft(tmp_path):
    return write_stories(tmp_path / "toysft", *[[RED, BLUE, GREEN]] * 3, *[[RED]] * 2)


def test_a_row_is_a_question_about_a_video_and_its_answer(toysft):
    single = [row for row in story_rows(toysft, 20, seed=0) if "toy_0003" in row["videos"][0]]
    question = single[0]["messages"][0]["content"]
    assert question.removeprefix("<video>") in QUESTIONS
    assert single[0] == {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "first a red circle moves left ."},
        ],
        "videos": [f"{toysft}/video/toy_0003.mp4"],
    }


def test_a_story_is_described_in_the_order_of_its_events():
    told = "first a red circle moves left . next a blue star grows . finally a green star grows ."
    found = list(descriptions({"events": [RED, BLUE, GREEN]}))
    assert found == [("whole", question, told) for question in QUESTIONS]


def test_the_events_right_after_and_before_one_are_asked_for():
    assert [row for row in questions_of({"events": [RED, BLUE]}) if row[0] == "neighbour"] == [
        (
            "neighbour",
            "What happens right after a red circle moves left? Answer with that event alone.",
            "a blue star grows .",
        ),
        (
            "neighbour",
            "What happens right before a blue star grows? Answer with that event alone.",
            "a red circle moves left .",
        ),
    ]


def test_an_attribute_is_asked_for_where_one_event_alone_can_be_meant():
    # Two stars grow: of which colour is open.
    rows = questions_of({"events": [RED, BLUE, GREEN]})
    assert {(question, answer) for kind, question, answer in rows if kind == "attribute"} == {
        ("What does the red circle do in this video?", "moves left ."),
        ("What does the blue star do in this video?", "grows ."),
        ("What does the green star do in this video?", "grows ."),
        ("What colour is the circle that moves left in this video?", "red ."),
        ("What shape is the red thing that moves left in this video?", "circle ."),
        ("What shape is the blue thing that grows in this video?", "star ."),
        ("What shape is the green thing that grows in this video?", "star ."),
    }


def test_the_shares_of_the_kinds():
    assert rows_a_kind(3072) == {"whole": 922, "neighbour": 922, "attribute": 614, "single": 614}
    assert rows_a_kind(10) == {"whole": 3, "neighbour": 3, "attribute": 2, "single": 2}


def test_no_row_comes_twice_and_another_seed_draws_others(toysft):
    rows = story_rows(toysft, 40, seed=0)
    assert len(rows) == len({orjson.dumps(row) for row in rows}) == 40
    assert rows == story_rows(toysft, 40, seed=0)
    assert rows != story_rows(toysft, 40, seed=1)


def test_too_few_stories_for_so_many_rows(toysft):
    with pytest.raises(UserError) as error:
        story_rows(toysft, 100, seed=0)
    assert str(error.value) == (
        f"{toysft} has 18 different rows of the kind 'whole', and 30 of 100 are needed: render more"
        " stories, or ask for fewer rows"
    )


# Rows of pairs


def write_pairs(folder, level, n):
    path = folder / f"toyvl_i0_r{level}.json"
    rows = [
        {"messages": [f"r{level}", i], "rejected_response": "x", "videos": []} for i in range(n)
    ]
    path.write_bytes(orjson.dumps(rows))
    return path


def test_a_mixed_level_has_the_very_pairs_of_its_levels(tmp_path):
    files = [write_pairs(tmp_path, level, 10) for level in (16, 8)]
    alone = [drawn_pairs([path], 6, seed=3) for path in files]
    assert drawn_pairs(files, 12, seed=3) == alone[0] + alone[1]


def test_the_same_pairs_are_drawn_whatever_share_of_the_captions_is_wrong(tmp_path):
    right = write_pairs(tmp_path, 16, 10)
    wrong = tmp_path / "toyvl_n20_i0_r16.json"
    wrong.write_bytes(right.read_bytes())
    assert drawn_pairs([wrong], 6, seed=3) == drawn_pairs([right], 6, seed=3)
    other = tmp_path / "toyvl_1_i0_r16.json"
    other.write_bytes(right.read_bytes())
    assert drawn_pairs([other], 6, seed=3) != drawn_pairs([right], 6, seed=3)


def test_all_pairs_come_once_before_one_comes_twice(tmp_path):
    rows = drawn_pairs([write_pairs(tmp_path, 16, 4)], 10, seed=0)
    numbers = [row["messages"][1] for row in rows]
    assert [sorted(numbers[:4]), sorted(numbers[4:8])] == [[0, 1, 2, 3]] * 2
    assert len(set(numbers[8:])) == 2


def test_parts_of_one_draw_have_no_pair_in_common(tmp_path):
    files = [write_pairs(tmp_path, magnitude, 9) for magnitude in (16, 8)]
    parts = [drawn_pairs(files, 4, seed=0, part=(number, 4)) for number in (1, 2, 3, 4)]
    every = [str(row) for part in parts for row in part]
    assert len(set(every)) == len(every) == 16
    assert parts[0] + parts[1] != drawn_pairs(files, 8, seed=0)


def test_chosen_texts_alone(tmp_path):
    rows = drawn_pairs([write_pairs(tmp_path, 16, 1)], 1, seed=0)
    assert without_rejected(rows) == [{"messages": ["r16", 0], "videos": []}]


def test_pairs_that_cannot_be_drawn(tmp_path):
    files = [write_pairs(tmp_path, 16, 4), tmp_path / "gone.json"]
    with pytest.raises(UserError, match="5 rows cannot be shared evenly by 2 files"):
        drawn_pairs(files, 5, seed=0)
    with pytest.raises(UserError, match=r"gone.json: no such file; convert_to_swift.py"):
        drawn_pairs(files, 4, seed=0)
    with pytest.raises(UserError, match=r"r2.json has no pairs"):
        drawn_pairs([write_pairs(tmp_path, 2, 0)], 4, seed=0)
