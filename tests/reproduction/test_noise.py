"""Clip captions with mistakes."""

import random

import pytest

from reproduction.temple.noise import MISTAKES, NoiseStep, main, mistaken
from toyworld.language import ACTIONS, COLOURS, SHAPES, WORDS


@pytest.mark.parametrize(
    ("mistake", "words", "place"),
    [("colour", COLOURS, 1), ("shape", SHAPES, 2), ("action", ACTIONS, 3)],
)
def test_one_thing_is_confused_with_another(mistake, words, place):
    texts = {mistaken("a red star moves up .", mistake, random.Random(n)) for n in range(99)}
    right = ["a", "red", "star", "moves up", "."]
    parts = [[*text.split()[:3], " ".join(text.split()[3:-1]), "."] for text in texts]
    assert {part[place] for part in parts} == {*words} - {right[place]}
    assert all(
        part[1:place] + part[place + 1 :] == right[1:place] + right[place + 1 :] for part in parts
    )
    assert all((part[0] == "an") == (part[1] == "orange") for part in parts)


def test_an_article_follows_its_colour_back():
    texts = {mistaken("an orange star turns .", "colour", random.Random(n)) for n in range(99)}
    assert texts == {f"a {colour} star turns ." for colour in COLOURS if colour != "orange"}


def test_a_caption_that_is_missing_or_names_nothing():
    rng = random.Random(0)
    assert mistaken("a red star turns .", "missing", rng) is None
    assert mistaken("first next .", "colour", rng) is None


def test_as_many_captions_are_wrong_as_asked_for(dataset):
    step = NoiseStep(dataset, "toyvl", 20, seed=0)
    captions = ["a red star moves up ."] * 10
    records = [step.process({"video_id": str(n), "clip_captions": captions}) for n in range(400)]
    mistakes = [mistake for record in records for mistake in record["mistakes"]]
    assert sum(map(bool, mistakes)) / len(mistakes) == pytest.approx(0.20, abs=0.015)
    for mistake in MISTAKES:
        assert mistakes.count(mistake) / len(mistakes) == pytest.approx(0.05, abs=0.01)
    for record in records:
        wrong = sum(caption != captions[0] for caption in record["clip_captions"])
        missing = record["mistakes"].count("missing")
        assert len(record["clip_captions"]) == 10 - missing
        assert wrong == sum(map(bool, record["mistakes"])) - missing
        assert {word for text in record["clip_captions"] for word in text.split()} <= {*WORDS}
    assert step.process({"video_id": "7", "clip_captions": captions}) == records[7]


def test_the_captions_of_another_model_name(dataset):
    table = dataset.table("clip_captions_toyvl")
    table.write([{"video_id": "v", "video_path": "v.mp4", "clip_captions": ["a red star turns ."]}])
    where = ["--dataset", dataset.name, "--data_root", str(dataset.root.parent)]
    main([*where, "--model", "toyvl", "--percent", "100"])
    (record,) = dataset.table("clip_captions_toyvl_n100").read()
    assert record["clip_captions"] != ["a red star turns ."]
    assert record["mistakes"][0] in MISTAKES
