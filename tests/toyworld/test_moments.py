"""Films in which one moment answers a question."""

import itertools

import numpy as np
import pytest

from toyworld.language import ACTIONS, COLOURS, SHAPES, Event
from toyworld.moments import Director, answer_of, ask

EVERY = [Event(c, s, a) for c, s, a in itertools.product(COLOURS, SHAPES, ACTIONS)]
LIBRARY = EVERY * 2  # two shots of each event


@pytest.mark.parametrize("length", [4, 8, 128])
def test_the_action_happens_in_one_moment_and_the_answer_is_seen_there(length):
    director = Director(LIBRARY, np.random.default_rng(0))
    films = [director.film(length) for _ in range(100)]
    for film in films:
        events = [LIBRARY[shot] for shot in film.shots]
        places = [place for place, event in enumerate(events) if event.action == film.action]
        assert len(events) == length and len({events[place] for place in places}) == 1
        moment = [*range(film.first, film.last + 1)]
        assert moment == ([places[-1] + 1] if film.is_after else places)
        assert film.answer == answer_of(film.kind, events[film.first])
        assert film.action in film.question
    assert {len(set(film.shots)) for film in films} == {length} or length > 24
    assert {film.is_after for film in films} == {True, False}
    assert {film.last - film.first for film in films} == {0, 1}


def test_no_thing_comes_a_second_time_in_a_film_of_up_to_24_shots():
    director = Director(LIBRARY, np.random.default_rng(1))
    for _ in range(50):
        film = director.film(8)
        things = [LIBRARY[shot].thing for shot in film.shots]
        moment = [LIBRARY[shot] for shot in film.shots if LIBRARY[shot].action == film.action]
        assert len(set(things)) == len(things) - (len(moment) - 1)


@pytest.mark.parametrize("length", [5, 8, 128])
def test_in_a_film_of_two_moments_two_things_do_it_apart_from_each_other(length):
    director = Director(LIBRARY, np.random.default_rng(4))
    films = [director.film_of_two(length) for _ in range(100)]
    for first, second in films:
        assert first.shots == second.shots and first.question == second.question
        assert first.question == f"What {first.action} in this video?"
        assert first.last + 1 < second.first and first.answer != second.answer
        events = [LIBRARY[shot] for shot in first.shots]
        places = [place for place, event in enumerate(events) if event.action == first.action]
        spans = [range(film.first, film.last + 1) for film in (first, second)]
        assert places == [*spans[0], *spans[1]]
        for film, span in zip((first, second), spans, strict=True):
            assert {events[place].thing for place in span} == {film.answer}
    assert {film.last - film.first for pair in films for film in pair} == {0, 1}


def test_a_library_of_few_shots_makes_films_too():
    few = [Event("red", "star", "grows"), Event("red", "star", "turns"), *EVERY[:3]]
    director = Director(few, np.random.default_rng(2))
    for film in (director.film(2) for _ in range(30)):
        events = [few[shot] for shot in film.shots]
        assert len({place for place, e in enumerate(events) if e.action == film.action}) == 1


def test_the_same_seed_draws_the_same_films():
    first, again = (Director(LIBRARY, np.random.default_rng(3)).film(8) for _ in range(2))
    assert first == again


def test_questions_name_the_action_and_what_is_known_of_the_thing():
    star = Event("orange", "star", "grows")
    assert ask("what", "grows", False, star) == "What grows in this video?"
    assert ask("which_colour", "grows", False, star) == (
        "What colour is the star that grows in this video?"
    )
    assert ask("which_shape", "turns", True, star) == (
        "What shape comes right after that which turns in this video?"
    )
    kinds = ("what", "which_colour", "which_shape")
    assert [answer_of(kind, star) for kind in kinds] == ["an orange star", "orange", "star"]
