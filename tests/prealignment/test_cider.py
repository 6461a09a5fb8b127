"""CIDEr against numbers that are computed by hand."""

import math

import pytest

from prealignment.scores.cider import cider, words_of


def test_words_are_in_lower_case_without_punctuation():
    assert words_of("A man (in red) doesn't run; he's well-known, 3.5 m!") == (
        ["a", "man", "in", "red", "does", "n't", "run", "he", "'s", "well-known", "3.5", "m"]
    )


def test_a_caption_that_is_its_reference_scores_ten():
    references = {"1": ["a man sings a song"], "2": ["the dog runs very fast"]}
    scores = cider({"1": "A man sings a song.", "2": "The dog runs very fast"}, references)
    assert scores == pytest.approx({"1": 10, "2": 10})


def test_what_every_video_says_weighs_nothing():
    references = {"1": ["a man"], "2": ["a dog"]}
    assert cider({"1": "a", "2": "a dog"}, references)["1"] == 0


def test_a_caption_by_hand():
    # Weights: log 2 for each of man, sings, "man sings" (1 of 2 videos), 0 for "a" (both).
    # Unigrams of "a man runs": man alone counts; its norm has runs too, which no video says and
    # which weighs log 2 as if one did. cos = 1 / (sqrt 2 * sqrt 2); bigrams: "a man" of 2 each.
    references = {"1": ["a man sings"], "2": ["a dog"]}
    expected = 10 * (1 / 2 + 1 / 2 + 0 + 0) / 4
    assert cider({"1": "a man runs", "2": "a dog"}, references)["1"] == pytest.approx(expected)


def test_another_length_is_punished():
    references = {"1": ["man sings"], "2": ["dog"]}
    # Two words more: the counts are clipped, so the cosine falls, and exp(-4 / 72) is the penalty.
    score = cider({"1": "man sings man sings", "2": "dog"}, references)["1"]
    unigrams = 2 / (math.sqrt(8) * math.sqrt(2))  # counts of 2 clipped to 1, over both norms
    bigrams = 1 / (math.sqrt(5) * 1)  # "man sings" twice, "sings man" once
    assert score == pytest.approx(10 * math.exp(-4 / 72) * (unigrams + bigrams) / 4)


def test_the_score_is_the_mean_over_references():
    references = {"1": ["a man sings a song", "x y z"], "2": ["the dog"]}
    scores = cider({"1": "a man sings a song", "2": "the dog"}, references)
    assert scores["1"] == pytest.approx(10 * 1 / 2)
