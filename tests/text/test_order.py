"""In how far a text tells events in order."""

import pytest

from tools.text.order import agreement, clauses

EVENTS = ["A man opens a red door.", "A dog runs across the garden.", "Rain falls on the roof."]


def test_a_text_is_taken_apart_where_the_next_event_begins():
    text = "A man opens a door, then a dog runs. Finally, rain falls; the video ends"
    assert clauses(text) == ["a man opens a door", "a dog runs", "rain falls", "the video ends"]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("A man opens a red door, then a dog runs across the garden. Rain falls on the roof.", 1),
        ("Rain falls on the roof. A dog runs across the garden. A man opens a red door.", 0),
        ("A dog runs across the garden. A man opens a red door. Rain falls on the roof.", 2 / 3),
        (
            "A man opens a red door. Rain falls on the roof.",
            1 / 3,
        ),  # what is left out earns nothing
        ("Rain falls on the roof.", 0),
        ("Somebody writes a letter.", 0),
        ("", 0),
        ("The man is opening the red door; next the dog runs through a garden; rain falls.", 1),
        # Of what is told twice the first counts.
        ("Rain falls on the roof. A man opens a red door. Rain falls on the roof.", 0),
    ],
)
def test_pairs_of_events_in_their_order(text, share):
    assert agreement(text, EVENTS) == pytest.approx(share)


def test_events_that_one_clause_tells_have_no_order():
    assert agreement("A man opens a red door while a dog runs across the garden.", EVENTS[:2]) == 0


def test_the_toy_worlds_events_are_told_apart_by_an_exact_match():
    events = ["a red star moves up .", "a red star moves down ."]
    text = "first a red star moves up . finally a red star turns ."
    assert agreement(text, events, least=100) == 0
    assert agreement("first a red star moves up . then a red star moves down .", events, 100) == 1


def test_fewer_than_two_events_have_no_order():
    assert agreement("A man opens a red door.", EVENTS[:1]) == 0
