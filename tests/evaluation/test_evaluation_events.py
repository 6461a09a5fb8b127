"""Events of the toy world are found in anybody's English."""

from itertools import product

import pytest

from evaluation.toy.events import find_events
from toyworld.language import ACTIONS, COLOURS, SHAPES, Event, narrate

EVERY = [Event(*words) for words in product(COLOURS, SHAPES, ACTIONS)]


def found(text):
    return [f"{event.colour} {event.shape} {event.action}" for event in find_events(text)]


def test_the_world_s_own_language_is_read_exactly():
    for event in EVERY:
        assert find_events(event.text) == [event]
    for first in range(0, len(EVERY), 16):
        story = EVERY[first : first + 16]
        assert find_events(narrate([event.text for event in story])) == story
        assert find_events(narrate([event.text for event in story[::-1]])) == story[::-1]


@pytest.mark.parametrize(
    ("prose", "event"),
    [
        ("a red circle is moving to the left", "red circle moves left"),
        ("the orange star rotates", "orange star turns"),
        ("The blue square is getting bigger.", "blue square grows"),
        ("A violet disc slowly drifts upward.", "purple circle moves up"),
        ("1. **Green triangle** spins clockwise.", "green triangle turns"),
        ("There is a red ball. It falls to the bottom.", "red circle moves down"),
        ("First, a green square appears.\n\nThen, it descends.", "green square moves down"),
        ("a red circle moves from right to left", "red circle moves left"),
        ("A star? No: a yellow star that slides from the left side of the screen to the right",
         "yellow star moves right"),
        ("the red circle moves left from the centre to the edge", "red circle moves left"),
        ("a small, bright picture: an orange-colored, five-pointed star expanding",
         "orange star grows"),
        ("A blue circular shape moves slowly across the screen towards the top.",
         "blue circle moves up"),
        ("the purple square increases in size, then fades", "purple square grows"),
        ("A GREEN STAR ASCENDS", "green star moves up"),
        ("the red triangle turns", "red triangle turns"),
    ],
)  # fmt: skip
def test_prose_is_read(prose, event):
    assert found(prose) == [event]


@pytest.mark.parametrize(
    "prose",
    [
        "",
        "A cat sits on a mat.",
        "a red circle",
        "a red circle moves . a blue",
        "a circle moves left",
        "red moves left",
        "a red background with a circle that moves left",
        "the yellow triangle turns red",
        "the yellow triangle turns into a square",
        "the yellow triangle turns to the left",
        "A blue square is seen. The camera moves left.",
        "a red hexagon moves left",
    ],
)
def test_no_event_is_no_event(prose):
    assert found(prose) == []


def test_an_event_counts_where_it_is_first_mentioned():
    text = (
        "The red circle moves left, and then the blue star grows. The red circle moves left again,"
        " while a green square is still."
    )
    assert found(text) == ["red circle moves left", "blue star grows"]


def test_a_shape_that_only_stands_by_takes_no_other_s_action():
    text = "A red circle falls past a blue square. Then an orange star grows."
    assert found(text) == ["red circle moves down", "orange star grows"]
