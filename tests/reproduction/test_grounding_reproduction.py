"""The reproduction of VideoTGB: its films, the arms' frames, a whole tiny seed, and the report."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
import torch

from grounding.answerer.weights import open_answerer
from grounding.bridge.weights import read_config
from reproduction.claims import Claim, effect_and_verdict, entries
from reproduction.grounding import arms, refinement, report, results, similarity, trial
from reproduction.grounding.bridges import new_reader
from reproduction.grounding.choices import WITH_BRIDGE, WITHOUT_BRIDGE, grounded
from reproduction.grounding.films import Films, confident_spans
from reproduction.grounding.lessons import words
from reproduction.grounding.pictures import (
    DIFFERENCES,
    FEATURES,
    picture_numbers,
    with_pictures,
)
from reproduction.grounding.shots import Shots, make_shots, moment_of, open_shots
from reproduction.grounding.trial import Size, Trial, union_iou
from tools.features.flow import Dis, Flow, video_flow
from toyworld.moments import Film
from toyworld.stories import SIDE


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A folder, and the 24 shots of the story in it."""
    folder = tmp_path_factory.mktemp("story")
    return folder, make_shots(7, 1, folder)


def film(*shots, first=1, last=1):
    return Film(shots, first, last, "grows", "what", False, "What grows in this video?", "a star")


def test_a_film_of_a_storys_shots_has_the_storys_own_flow(story):
    folder, shots = story
    of_story = video_flow(folder / "toy_0000.mp4", Dis(SIDE))
    of_film = shots.flow_of(range(24), Dis(SIDE))
    assert of_film.speed.shape == (95, 2, 14, 14)
    assert np.array_equal(of_film.speed, of_story.speed)
    assert np.array_equal(of_film.times, of_story.times)
    assert of_film.max_speed == pytest.approx(of_story.max_speed)


def test_a_film_shows_the_frames_of_its_shots_by_time(story):
    _, shots = story
    assert shots.frames_at(film(5, 9, 3), [0.0, 1.99, 2.0, 5.99, 6.0]) == [
        *((5, 0), (5, 15), (9, 0), (3, 15)),
        (3, 15),
    ]
    assert moment_of(film(5, 9, 3, first=1, last=2)) == (2.0, 6.0)


def test_shots_that_were_kept_are_not_rendered_again(story, tmp_path, monkeypatch):
    made = open_shots(7, 1, tmp_path)
    monkeypatch.setattr("reproduction.grounding.shots.render", None)
    kept = open_shots(7, 1, tmp_path)
    assert kept.events == made.events == story[1].events
    assert np.array_equal(kept.pictures, made.pictures)
    assert np.array_equal(kept.flow[3].speed, made.flow[3].speed)


class Stub:
    """A sampler that finds the seconds of the moments it is given."""

    def __init__(self, *spans):
        self.spans, self.asked = list(spans), []

    def ground(self, flow, question, **how):
        self.asked.append((len(flow.times), question))
        return SimpleNamespace(spans=self.spans)


def films_of(length):
    flow = Flow(
        np.zeros((4 * length - 1, 2, 14, 14), np.float16),
        np.stack([np.arange(4 * length - 1), np.arange(1, 4 * length)], 1) / 2,
        1.0,
    )
    return Films(None, [film(*range(length))], [flow])


def chosen(arm, length=8, stub=None):
    rng = np.random.default_rng(0)
    if arm in WITHOUT_BRIDGE:
        return WITHOUT_BRIDGE[arm](films_of(length), rng)
    choose = grounded if arm == "grounded" else WITH_BRIDGE[arm]
    return choose(stub, films_of(length), rng)


def test_where_the_frames_of_each_arm_come_from():
    assert chosen("uniform").times == [[2.0, 6.0, 10.0, 14.0]]
    assert chosen("oracle").times == [[2.25, 2.75, 3.25, 3.75]]
    [drawn] = chosen("random").times
    assert drawn == sorted(drawn) and all(0 <= time < 16 for time in drawn)
    choice = chosen("grounded", stub=Stub((4.0, 8.0)))
    assert choice.times == [[4.5, 5.5, 6.5, 7.5]] and choice.spans == [[(4.0, 8.0)]]


def test_a_shuffled_question_names_another_action():
    stub = Stub((4.0, 8.0))
    chosen("shuffled", stub=stub)
    [(_, question)] = stub.asked
    assert question != "What grows in this video?" and question.endswith(" in this video?")


def test_flow_is_thinned_to_64_only_where_there_is_more():
    stub = Stub((0.0, 2.0))
    for length in (8, 16, 128):
        chosen("flows_64", length, stub)
    assert [count for count, _ in stub.asked] == [31, 63, 64]


def test_32_candidates_miss_a_short_moment_of_a_long_film():
    near = chosen("candidates_32", 8, Stub((4.0, 6.0))).times
    assert near == [[4.25, 4.75, 5.25, 5.75]]
    far = chosen("candidates_32", 128, Stub((10.0, 10.5))).times  # frames at 4, 12, 20 ... s
    assert far == [[12.0] * 4]


def test_tokens_of_pictures_stand_where_those_of_flow_do(story):
    _, shots = story
    seen = picture_numbers(DIFFERENCES, None, shots)
    assert seen.shape == (24, 4, 3 * 14 * 14)
    cell = shots.sampled[5, 2, 8:16, :8].mean((0, 1)) / 255  # in the second row, the first
    assert seen[5, 2].reshape(14, 14, 3)[1, 0] == pytest.approx(cell, abs=1e-6)
    films = Films(shots, [film(5, 9)], [shots.flow_of((5, 9), Dis(SIDE))])
    [read] = with_pictures(films, seen, DIFFERENCES).flow
    assert read.times is films.flow[0].times and len(read.times) == len(read.normalised()) == 7
    assert np.array_equal(read.normalised()[3], seen[9, 0] - seen[5, 3])  # across the cut
    [read] = with_pictures(films, seen, FEATURES).flow
    assert np.array_equal(read.normalised()[4], seen[9, 0]) and len(read.normalised()) == 7


def test_both_answers_of_a_film_of_two_moments_must_be_among_those_of_its_frames(monkeypatch):
    one = Film((0, 1, 2, 3), 0, 0, "grows", "what", False, "What grows in this video?", "thing 0")
    films, seconds = (
        Films(Shots(None, None, [], []), [of], [None])
        for of in (one, replace(one, first=3, last=3, answer="thing 3"))
    )
    made = Trial(1, None, {})
    monkeypatch.setattr(Trial, "two_moments", {4: (films, seconds)})
    monkeypatch.setattr(Trial, "answerer", None)
    monkeypatch.setattr(
        trial, "answers", lambda _, __, asked: [f"thing {key[0][0]}" for key, _ in asked]
    )
    spans = {1: [(0.0, 2.0)], 2: [(0.0, 2.0), (6.0, 8.0)]}

    def ground(flow, question, k=1, decoding="joint", seed=0):
        return SimpleNamespace(spans=spans[k] if decoding == "joint" else [(6.0, 8.0)])

    stub = SimpleNamespace(ground=ground)
    monkeypatch.setattr(Trial, "sampler", lambda self, name: stub)
    best, both = made.score("two_one_span", 4), made.score("two_spans", 4)
    assert (best["right"], best["inside"], best["iou"]) == ([0], [4], [0.5])
    assert (both["right"], both["inside"], both["iou"]) == ([1], [4], [1.0])
    drawn = made.score("two_drawn", 4)
    assert (drawn["right"], drawn["inside"], drawn["iou"]) == ([0], [4], [0.5])
    spread = made.score("two_uniform", 4)  # a frame of each shot
    assert (spread["right"], spread["inside"]) == ([1], [2]) and "iou" not in spread


def test_intersection_over_union_of_several_spans():
    assert union_iou([(2.0, 4.0)], (2.0, 4.0)) == 1
    assert union_iou([(0.0, 2.0)], (2.0, 4.0)) == 0
    assert union_iou([(0.0, 1.0), (2.0, 3.0)], (2.0, 4.0)) == pytest.approx(1 / 3)


def test_ambiguous_labels_are_left_out():
    clear = [0.0] * 12 + [1.0] * 4 + [0.0] * 16
    twice = [1.0] * 4 + [0.0] * 20 + [1.0] * 4 + [0.0] * 4
    flat = [0.0] * 32
    scores = np.array([clear, twice, flat])
    assert confident_spans(scores, "top") == [(0.375, 0.5), None, None]
    as_released = confident_spans(scores, "none", arms.BRIDGES["labels_none"].min_confidence)
    assert as_released[0] == (0.375, 0.5) and None not in as_released[:2]


SMALL = Size(
    train_stories=2,
    test_stories=2,
    train_films=8,
    test_films=3,
    steps=2,
    lessons=0.01,
    lengths=(2, 4),
)


def test_a_tiny_seed_end_to_end_and_again(tmp_path, monkeypatch):
    for module, number in ((refinement, 2), (similarity, 3)):
        monkeypatch.setattr(module, "STEPS", number)
    for module in (refinement, trial):  # what an untrained model answers gives no label
        monkeypatch.setattr(module, "confident_spans", lambda rows, *_: [(0.5, 1.0)] * len(rows))
    tiny = Trial(3, tmp_path / "seed_3", {"window": 4}, SMALL)
    names = ["uniform", "oracle", "grounded", "shuffled", "similarity", "refined", "staged"]
    names += ["features", "differences", "clip_max", "second_grounded", "rope", "oracle_labels"]
    names += ["raw_flow", "released"]
    tiny.run(names[:2])
    tiny.run(names)
    lines = (tiny.folder / "results.jsonl").read_bytes().splitlines()
    rows = [orjson.loads(line) for line in lines]
    assert [(row["arm"], row["shots"]) for row in rows] == [(a, n) for a in names for n in (2, 4)]
    by_arm = {(row["arm"], row["shots"]): row for row in rows}
    assert by_arm["oracle", 4]["inside"] == [4, 4, 4] and by_arm["oracle", 4]["iou"] == [1, 1, 1]
    assert all(len(row["right"]) == 3 for row in rows)
    for name, tokens in (("features", 17 * 64), ("differences", 588)):
        config = read_config(tiny.folder / "bridges" / name / "bridge.safetensors")
        assert (config.input, config.features) == ("rgb", tokens)
    for name, positions, unit in (
        ("grounded", "rope_window", "fixed"),
        ("rope", "rope", "fixed"),
        ("clip_max", "rope_window", "clip_max"),
        ("released", "reference", "clip_max"),
    ):
        config = read_config(tiny.folder / "bridges" / name / "bridge.safetensors")
        assert (config.positions, config.normalise) == (positions, unit)
    # Labels are the true moments for one bridge alone, and what is said of them stays with it.
    assert by_arm["oracle_labels", 2]["label_iou"] == 1 > by_arm["grounded", 2]["label_iou"]
    assert by_arm["grounded", 2]["labelled"] == 1 and "labelled" not in by_arm["uniform", 2]
    fresh = new_reader(3, words(), window=4).bridge.state_dict()
    for name in ("refined", "staged"):
        assert by_arm[name, 2]["train_s"] >= 0
        tuned = tiny.tuned(name)[1].bridge.state_dict()
        assert not all(torch.equal(tuned[key], value) for key, value in fresh.items())
    assert open_answerer(str(tiny.folder / "second_answerer")).settings.family == "instructblip"
    again = Trial(3, tmp_path / "seed_3", {"window": 4}, SMALL)
    again.run(names)
    assert (tiny.folder / "results.jsonl").read_bytes().splitlines() == lines


def rows_of(right_of):
    """Results of 2 seeds, 4 films each of 8 and 128 shots; right_of: (arm, shots) -> answers."""
    made = {"window": 12, "machine": "", "versions": {}, "seconds": {}, "arms": {}}
    made["asked"] = {
        "dataset": "films",
        "benchmark": "moments",
        "videos": [f"{shots}/{n}" for shots in (8, 128) for n in range(4)],
        "events": [8] * 4 + [128] * 4,
    }
    for arm in dict.fromkeys(arm for arm, _ in right_of):
        rows = [
            {"shots": n, "right": right_of[arm, n], "after": [0, 0, 1, 1], "inside": [4, 4, 0, 0]}
            for n in (8, 128)
        ]
        run = {"base": "1", "phases": [results.columns(rows)]}
        made["arms"][arm] = {"label": arm, "seeds": {"1": run, "2": run}}
    return made


def test_a_claim_is_about_films_of_one_length():
    made = rows_of(
        {
            ("grounded", 8): [1, 1, 1, 1],
            ("uniform", 8): [0, 0, 0, 0],
            ("grounded", 128): [0, 0, 0, 0],
            ("uniform", 128): [1, 1, 1, 1],
        }
    )
    at = {n: Claim("paper", "", "grounded", "uniform", "accuracy", n) for n in ("8", "128")}
    effect, verdict = effect_and_verdict(made, at["8"])
    assert (effect.value, verdict) == (1.0, "supported")
    effect, verdict = effect_and_verdict(made, at["128"])
    assert (effect.value, verdict) == (-1.0, "refuted")
    assert entries("grounding", made, [at["8"]])[0]["group"] == "8"


@pytest.mark.parametrize(
    ("longest", "effect", "judged"),
    [
        ([1, 1, 1, 1], 0.2, "supported"),
        ([0, 0, 0, 0], -0.8, "refuted"),
        ([1, 1, 1, 0], -0.05, "undecided"),
    ],
)
def test_a_claim_may_be_that_a_share_is_kept(longest, effect, judged):
    made = rows_of({("grounded", 8): [1, 1, 1, 1], ("grounded", 128): longest})
    claim = Claim("own", "", "grounded", "grounded", "accuracy", "128", kept=0.8, of="8")
    spread, verdict = effect_and_verdict(made, claim)
    assert (spread.value, verdict) == (pytest.approx(effect), judged)
    [row] = entries("grounding", made, [claim])
    assert (row["kept"], row["of"], row["n"]) == (0.8, "8", 2)


def test_every_claim_names_known_arms_and_lengths():
    for claim in report.CLAIMS:
        assert {claim.better, claim.worse} <= set(arms.ARMS), claim
        assert int(claim.group) in arms.LENGTHS and claim.metric == "accuracy"


def test_the_report_says_what_is_kept_at_16_times_the_length(tmp_path):
    made = rows_of(
        {
            ("grounded", 8): [1, 1, 1, 1],
            ("grounded", 128): [1, 0, 1, 1],
            ("uniform", 8): [1, 0, 0, 0],
            ("uniform", 128): [0, 0, 0, 0],
        }
    )
    (tmp_path / "grounding.json").write_bytes(orjson.dumps(made))
    report.write_report(tmp_path)
    text = (tmp_path / "grounding.md").read_text()
    [grounded] = [line for line in text.splitlines() if line.startswith("| grounded | 2 |")]
    assert grounded.endswith("| 0.75 | 0.75 to 0.75 |") and "| 1.000 [1.000, 1.000] |" in grounded
    claims = orjson.loads((tmp_path / "claims.json").read_bytes())
    judged = {(c["better"], c["worse"], c["group"]): c["verdict"] for c in claims}
    assert judged["grounded", "uniform", "8"] == "supported"
    assert judged["grounded", "rope", "128"] == "not run"
