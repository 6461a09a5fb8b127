"""In how far a text tells events in order."""

import pytest

from tools.text.order import agreement, agreement_but_backwards, clauses

EVENTS = ["A man opens a red door.", "A dog runs across the garden.", "Rain falls on the roof."]
STARS = [f"a {colour} star moves up ." for colour in ("red", "blue", "green", "yellow")]


def told(events):
    """Events as toyvl tells them."""
    words = ["first", *["next", "after that ,", "then"][: len(events) - 2], "finally"]
    return " ".join(f"{word} {event}" for word, event in zip(words, events, strict=True))


def test_a_text_is_taken_apart_where_the_next_event_begins():
    text = "First a man opens a door, then a dog runs. Finally, rain falls; the end"
    assert [" ".join(words) for words in clauses(text)] == [
        *("a man opens a door", "a dog runs", "rain falls", "the end")
    ]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("A man opens a red door, then a dog runs across the garden. Rain falls on the roof.", 1),
        ("Rain falls on the roof. A dog runs across the garden. A man opens a red door.", 0),
        ("A dog runs across the garden. A man opens a red door. Rain falls on the roof.", 2 / 3),
        ("A man opens a red door. Rain falls on the roof.", 1 / 3),  # what is left out counts
        ("Rain falls on the roof.", 0),
        ("Somebody writes a letter.", 0),
        ("", 0),
        ("The man opens the red door; next the dog runs through a garden; rain falls on it.", 1),
        # Of what is told twice the first counts.
        ("Rain falls on the roof. A man opens a red door. Rain falls on the roof.", 0),
        # An introduction takes nothing away.
        (f"We see a house. {' '.join(EVENTS)}", 1),
    ],
)
def test_pairs_of_events_in_their_order(text, share):
    assert agreement(text, EVENTS) == pytest.approx(share)


def test_events_that_one_clause_tells_have_no_order():
    assert agreement("A man opens a red door while a dog runs across the garden.", EVENTS[:2]) == 0


@pytest.mark.parametrize("least", [50, 100])
def test_the_toy_worlds_events_are_told_apart(least):
    assert agreement(told(STARS), STARS, least) == 1
    assert agreement(told(STARS[::-1]), STARS, least) == 0


@pytest.mark.parametrize("least", [50, 100])
@pytest.mark.parametrize(
    "text",
    [
        "red. blue. green. yellow.",  # a word an event
        "a red blue green yellow star moves up. " * 4,  # all words, again and again
    ],
)
def test_words_that_are_no_event_earn_nothing(text, least):
    assert agreement(text, STARS, least) == 0


def test_another_action_is_another_event_at_an_exact_match():
    events = ["a red star moves up .", "a red star moves down ."]
    assert agreement("first a red star moves up . finally a red star turns .", events, 100) == 0
    assert agreement("first a red star moves up . then a red star moves down .", events, 100) == 1


def test_fewer_than_two_events_have_no_order():
    assert agreement("A man opens a red door.", EVENTS[:1]) == 0


def test_only_pairs_that_the_reversed_video_tells_otherwise_count():
    forward, backward = told(STARS), told(STARS[::-1])
    assert agreement_but_backwards(forward, backward, STARS) == 1
    # Who tells both alike has not looked.
    assert agreement_but_backwards(forward, forward, STARS) == 0
    # No wrong order earns anything, whatever was said of the reversed video.
    assert agreement_but_backwards(backward, forward, STARS) == 0
    # Two of the six pairs: those of the first two with each other, and of the last two.
    swapped = told([STARS[1], STARS[0], STARS[3], STARS[2]])
    assert agreement_but_backwards(forward, swapped, STARS) == pytest.approx(2 / 6)
