"""The toy world's questions: literal stories and what is asked about them, the options, and the
data set that `python -m toyworld --qa` writes."""

import random
from collections import Counter
from itertools import pairwise

import numpy as np
import orjson
import pytest

from qa.records import read_questions
from tools.store.dataset import Dataset
from toyworld.language import (
    ACTIONS,
    COLOURS,
    NUMBERS,
    ORDER_KINDS,
    SHAPES,
    TEMPLATES,
    WORDS,
    Event,
    options,
    questions,
    template_pieces,
)
from toyworld.questions import choose_questions, toy_questions
from toyworld.stories import long_story, plan_story
from toyworld.truth import truth

RED, BLUE = Event("red", "circle", "grows"), Event("blue", "circle", "turns")
ORANGE = Event("orange", "star", "grows")
RED_AGAIN = Event("red", "circle", "moves up")


def answers(*events: Event) -> dict[str, str]:
    """{question: answer}, without the full stops."""
    return {q.text: q.answer.removesuffix(" .") for q in questions(events)}


def ask(kind: str, *events: Event) -> dict[str, str]:
    """{question: answer} of one kind."""
    return {q.text: q.answer.removesuffix(" .") for q in questions(events) if q.kind == kind}


# What is asked about a story


def test_an_event_is_a_sentence():
    assert RED.text == "a red circle grows ."
    assert ORANGE.text == "an orange star grows ."


def test_a_story_of_two_events_is_asked_about_in_every_kind():
    assert answers(RED, BLUE) == {
        "What grows in this video?": "a red circle",
        "What colour is the circle that grows in this video?": "red",
        "What shape is the red thing that grows in this video?": "circle",
        "What does the red circle do in this video?": "grows",
        "What turns in this video?": "a blue circle",
        "What colour is the circle that turns in this video?": "blue",
        "What shape is the blue thing that turns in this video?": "circle",
        "What does the blue circle do in this video?": "turns",
        "How many things in this video are red?": "one",
        "How many things in this video are blue?": "one",
        "How many things in this video are a circle?": "two",
        "Is there a red circle that grows in this video?": "yes",
        "Is there a red circle that turns in this video?": "no",
        "Is there a blue circle that turns in this video?": "yes",
        "Is there a blue circle that moves left in this video?": "no",
        "What happens first in this video? Answer with that event alone.": "a red circle grows",
        "What happens last in this video? Answer with that event alone.": "a blue circle turns",
        "What happens right after a red circle grows? Answer with that event alone.": (
            "a blue circle turns"
        ),
        "What happens right before a blue circle turns? Answer with that event alone.": (
            "a red circle grows"
        ),
    }
    assert {q.kind for q in questions([RED, BLUE])} == {*TEMPLATES}


def test_one_event_has_no_order():
    assert not {q.kind for q in questions([RED])} & {*ORDER_KINDS}
    assert questions([]) == []


def test_what_has_two_answers_is_not_asked():
    assert "What grows in this video?" not in answers(RED, ORANGE)
    assert ask("which_colour", RED, ORANGE) == {
        "What colour is the circle that grows in this video?": "red",
        "What colour is the star that grows in this video?": "orange",
    }
    assert ask("what_does", RED, RED_AGAIN, BLUE) == {
        "What does the blue circle do in this video?": "turns"
    }


def test_a_thing_that_returns_is_counted_once():
    assert ask("how_many_coloured", RED, RED_AGAIN, BLUE, RED) == {
        "How many things in this video are red?": "one",
        "How many things in this video are blue?": "one",
    }
    assert ask("how_many_shaped", RED, RED_AGAIN, BLUE, RED) == {
        "How many things in this video are a circle?": "two"
    }


def test_what_surrounds_an_event_that_returns_is_not_asked():
    assert [*ask("after", RED, BLUE, RED, ORANGE).values()] == ["a red circle grows"]
    assert ask("before", RED, BLUE, RED, ORANGE) == {
        "What happens right before a blue circle turns? Answer with that event alone.": (
            "a red circle grows"
        ),
        "What happens right before an orange star grows? Answer with that event alone.": (
            "a red circle grows"
        ),
    }


def test_a_thing_that_does_everything_is_asked_of_no_action_that_it_does_not():
    everything = [Event("red", "circle", action) for action in ACTIONS]
    assert [*ask("is_there", *everything).values()] == ["yes"] * len(ACTIONS)


def test_places_are_those_of_the_events_that_the_answer_follows_from():
    places = {q.text: q.places for q in questions([RED, BLUE, ORANGE])}
    assert places["What turns in this video?"] == (1,)
    assert places["How many things in this video are a circle?"] == (0, 1)
    assert places["What happens last in this video? Answer with that event alone."] == (2,)
    after = "What happens right after a blue circle turns? Answer with that event alone."
    assert places[after] == (1, 2)


def test_questions_are_in_the_language():
    """Each word of a question and of an answer is one of WORDS or of the templates' pieces."""
    for question in questions([RED, BLUE, ORANGE, RED_AGAIN]):
        text = question.text
        for piece in sorted(template_pieces(), key=len, reverse=True):
            text = text.replace(piece, " ")
        assert {*text.split(), *question.answer.split()} <= {*WORDS}, question


def test_no_piece_of_a_template_is_a_word():
    assert "What" in template_pieces()
    assert "in this video?" in template_pieces()
    assert not {*template_pieces()} & {"", *WORDS}


# Options


def options_of(text: str, *events: Event, count: int = 5, seed: int = 0) -> list[str]:
    (question,) = (question for question in questions(events) if question.text == text)
    return options(question, events, count, random.Random(seed))


STORY = (
    *(RED, BLUE, ORANGE, Event("green", "square", "moves left")),
    *(Event("purple", "triangle", "moves down"), Event("yellow", "star", "moves right")),
)


@pytest.mark.parametrize("seed", range(20))
def test_wrong_answers_to_a_question_of_order_are_other_events_of_the_story(seed):
    after = "What happens right after a red circle grows? Answer with that event alone."
    # All others but the event that is asked about.
    assert {*options_of(after, *STORY, seed=seed)} == {event.text for event in STORY[1:]}
    first = options_of(
        "What happens first in this video? Answer with that event alone.", *STORY, seed=seed
    )
    assert len({*first}) == 5
    assert RED.text in first
    assert {*first} < {event.text for event in STORY}


def test_where_a_story_has_too_few_events_others_of_the_world_follow():
    after = "What happens right after a red circle grows? Answer with that event alone."
    choices = options_of(after, RED, BLUE, ORANGE)
    assert {BLUE.text, ORANGE.text} < {*choices}
    assert RED.text not in choices
    assert len({*choices}) == 5


def test_wrong_things_are_things_of_the_story():
    choices = options_of("What turns in this video?", *STORY)
    assert len({*choices}) == 5
    assert {*choices} < {f"{event.thing} ." for event in STORY}


def test_options_are_of_the_answers_kind_and_there_may_be_fewer():
    colours = options_of("What colour is the circle that turns in this video?", *STORY)
    assert len({*colours}) == 5
    assert {*colours} < {f"{colour} ." for colour in COLOURS}
    numbers = options_of("How many things in this video are a circle?", *STORY)
    assert len({*numbers}) == 5
    assert {*numbers} < {f"{number} ." for number in NUMBERS}
    shapes = options_of("What shape is the red thing that grows in this video?", *STORY)
    assert sorted(shapes) == sorted(f"{shape} ." for shape in SHAPES)
    yes_no = options_of("Is there a red circle that grows in this video?", *STORY)
    assert sorted(yes_no) == ["no .", "yes ."]
    assert len(options_of("What turns in this video?", *STORY, count=3)) == 3


def test_the_same_generator_gives_the_same_options():
    text = "What turns in this video?"
    assert options_of(text, *STORY, seed=1) == options_of(text, *STORY, seed=1)
    assert len({tuple(options_of(text, *STORY, seed=seed)) for seed in range(20)}) > 10


# Long stories


@pytest.mark.parametrize("count", [25, 121, 300])
def test_in_a_long_story_one_action_happens_once_and_neighbours_differ(count):
    for seed in range(5):
        events = long_story(count, np.random.default_rng(seed))
        assert len(events) == count
        actions = Counter(event.action for event in events)
        rare = [action for action, number in actions.items() if number == 1]
        assert len(rare) == 1
        for event, following in pairwise(events):
            assert event.thing != following.thing
            assert event.action != following.action
        (asked,) = (q for q in questions(events) if q.text == f"What {rare[0]} in this video?")
        (place,) = asked.places
        assert events[place].action == rare[0]
        assert asked.answer == f"{events[place].thing} ."


def test_no_event_of_a_long_story_returns_before_nearly_all_others_have_happened():
    for seed in range(5):
        events = long_story(300, np.random.default_rng(seed))
        assert len({*events[:111]}) == 111
        assert max(Counter(events).values()) == 3


# The data set


@pytest.fixture(scope="module")
def truths():
    """What is true of 200 stories of 4 to 10 events, without the videos."""
    return [truth(plan_story(0, number, 4 + number % 7)) for number in range(200)]


@pytest.fixture(scope="module")
def records(truths):
    return list(toy_questions(truths, "toyqa", 0, 11, {}))


def test_kinds_take_turns_from_video_to_video():
    kinds = [
        [question.kind for question in choose_questions(STORY, number, 0, 4)] for number in range(3)
    ]
    assert kinds == [
        ["what", "which_colour", "which_shape", "what_does"],
        ["how_many_coloured", "how_many_shaped", "is_there", "first"],
        ["last", "after", "before", "what"],
    ]


def test_a_kind_that_a_story_lacks_gives_its_turn_to_others():
    chosen = choose_questions([RED, BLUE], 0, 0, 100)
    assert Counter(chosen) == Counter(questions([RED, BLUE]))
    lone = choose_questions([RED], 0, 0, 11)
    assert len(lone) == len(questions([RED])) == 8


def test_questions_are_balanced_over_kinds_and_their_answers(records):
    kinds = Counter(record.type for record in records)
    assert {*kinds} == {*TEMPLATES}
    assert min(kinds.values()) >= 0.95 * len(records) / len(TEMPLATES)
    assert max(kinds.values()) <= 1.05 * len(records) / len(TEMPLATES)
    yes = sum(record.answer == "yes ." for record in records)
    assert 80 <= yes <= 120  # of 200
    counts = Counter(record.answer for record in records if record.type == "how_many_shaped")
    assert max(counts.values()) < 0.45 * counts.total()


def test_the_answer_is_the_option_at_its_place(records):
    for record in records:
        assert record.choices[record.answer_index] == record.answer
        assert len({*record.choices}) == len(record.choices)


def test_a_video_is_asked_the_same_however_many_others_there_are(truths, records):
    alone = list(toy_questions(truths[7:8], "toyqa", 0, 11, {}))
    assert [record.choices for record in alone] == [r.choices for r in records[77:88]]
    others = list(toy_questions(truths[7:8], "toyqa", 1, 11, {}))
    assert [record.choices for record in alone] != [record.choices for record in others]


# Options of a question -> what chi-square of their places exceeds in 1 % of all cases.
CHI_SQUARE = {2: 6.63, 4: 11.34, 5: 13.28}


def test_no_place_is_right_more_often_than_another(records):
    assert {len(record.choices) for record in records} == {*CHI_SQUARE}
    for count, bound in CHI_SQUARE.items():
        places = [record.answer_index for record in records if len(record.choices) == count]
        expected = len(places) / count
        right = np.bincount(places, minlength=count)
        assert ((right - expected) ** 2 / expected).sum() < bound
        # Whoever always chooses the most frequent place is right by chance, and no more.
        assert right.max() < expected + 3 * (expected * (1 - 1 / count)) ** 0.5


def test_whoever_knows_the_events_and_not_their_order_guesses_among_them(truths, records):
    """Such a guesser is right as often as one of the options that happen in the story is drawn; in
    stories of 6 events and more that is every option, and so chance."""
    rng = random.Random(0)
    events = {line["video_name"]: {e["text"] for e in line["events"]} for line in truths}
    right = expected = variance = 0.0
    for record in records:
        if record.type in ORDER_KINDS:
            happens = [choice for choice in record.choices if choice in events[record.video]]
            share = 1 / len(happens)
            right += rng.choice(happens) == record.answer
            expected += share
            variance += share * (1 - share)
            if len(events[record.video]) >= 6:
                assert len(happens) == len(record.choices) == 5
    assert abs(right - expected) < 3 * variance**0.5


def test_the_command_writes_a_data_set_with_questions(run_script, tmp_path):
    out = tmp_path / "anywhere" / "toyqa"
    told = ["-m", "toyworld", "--videos", 2, "--events", "2,3", "--workers", 1, "--out", out]
    done = run_script(*told, "--qa", 5)
    assert done.returncode == 0, done.stderr
    assert "qa/test.jsonl: 10 questions" in done.stdout
    assert f"by --data_root {out.parent}" in done.stdout
    dataset = Dataset("toyqa", out)
    assert dataset.video_dir() == out / "video"
    assert dataset.question_splits() == ["open", "test"]
    closed, without = (read_questions(dataset, split) for split in ("test", "open"))
    listed = {record["video_id"]: record["video_name"] for record in dataset.table("init").read()}
    assert {(record.video_id, record.video) for record in closed} == {*listed.items()}
    assert [record.id for record in closed[4:6]] == ["toy_0000/004", "toy_0001/000"]
    for record, bare in zip(closed, without, strict=True):
        assert bare.choices is bare.answer_index is None
        assert (bare.id, bare.question, bare.answer) == (record.id, record.question, record.answer)
    lines = [orjson.loads(line) for line in (out / "truth.jsonl").read_bytes().splitlines()]
    colour = next(record for record in closed if record.type == "which_colour")
    assert colour.origin["line"] == 1
    (span,) = colour.context["spans"]
    (event,) = (e for e in lines[0]["events"] if e["start_time"] == span[0])
    assert event["end_time"] == span[1]
    assert colour.answer == f"{event['colour']} ."
    assert event["action"] in colour.question
    before = dataset.questions("test").read_bytes()
    run_script(*told, "--qa", 5)
    assert dataset.questions("test").read_bytes() == before


def test_a_folder_that_cannot_be_a_data_set_is_named_before_anything_is_rendered(
    run_script, tmp_path
):
    done = run_script("-m", "toyworld", "--qa", "--videos", 1, "--out", tmp_path / "=a")
    assert done.returncode == 2
    assert done.stderr.startswith("error: dataset name '=a'")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "=a").exists()


def test_without_qa_no_question_is_written(run_script, tmp_path):
    run_script("-m", "toyworld", "--videos", 1, "--events", 1, "--workers", 1, "--out", tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["truth.jsonl", "video"]
