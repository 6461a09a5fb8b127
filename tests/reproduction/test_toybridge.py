"""The demo's bridge: what it learns, and what the one in the repository finds."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from grounding.bridge.sampler import Sampler
from reproduction.grounding import toybridge
from tools.features.flow import Dis, video_flow
from tools.store.dataset import REPOSITORY
from toyworld.language import Event, StoryQuestion, questions
from toyworld.render import film
from toyworld.stories import SHOT_SECONDS, plan_story

FOLDER = REPOSITORY / "grounding" / "toybridge"


@pytest.mark.parametrize(
    ("kind", "answer", "places", "span"),
    [
        ("what", "a red star .", (2,), (0.5, 0.75)),
        ("after", "a red star grows .", (1, 2), (0.25, 0.75)),
        ("is_there", "yes .", (3,), (0.0, 1.0)),
        ("is_there", "no .", (3,), (0.0, 1.0)),
        ("how_many_coloured", "two .", (0, 3), (0.0, 1.0)),
        ("what_does", "turns .", (1,), (0.0, 1.0)),
    ],
)
def test_the_span_of_a_question_is_what_flow_can_show_of_its_answer(kind, answer, places, span):
    assert toybridge.span_of(StoryQuestion(kind, "", answer, places), 4) == span


def test_films_of_the_demo_bridge_show_different_things_that_do_different_things_in_turn():
    events = [
        Event(colour, shape, action)
        for colour in ("red", "green", "blue")
        for shape in ("star", "square")
        for action in ("grows", "turns", "moves up")
    ]
    by_thing = {}
    for number, event in enumerate(events):
        by_thing.setdefault(event.thing, []).append(number)
    rng = np.random.default_rng(0)
    for _ in range(50):
        shots = [events[n] for n in toybridge.draw_shots(events, by_thing, 5, rng)]
        assert len({shot.thing for shot in shots}) == 5
        assert all(a.action != b.action for a, b in pairwise(shots))


def test_the_bridge_in_the_repository_is_small():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 1.5e6


def test_the_bridge_in_the_repository_finds_what_a_story_is_asked_about(tmp_path):
    sampler, overlaps = Sampler.open(FOLDER), []
    for number in range(2):
        plan = plan_story(4321, number, 8)
        film(plan, tmp_path / plan.name)
        flow = video_flow(Path(tmp_path / plan.name), Dis())
        for question in questions([shot.event for shot in plan.shots if shot.event]):
            if question.kind == "what":
                [(start, end)] = sampler.ground(flow, question.text).spans
                true = question.places[0] * SHOT_SECONDS
                both = max(0.0, min(end, true + SHOT_SECONDS) - max(start, true))
                overlaps.append(both / (end - start + SHOT_SECONDS - both))
    assert len(overlaps) >= 4 and np.mean(overlaps) >= 0.7, overlaps
