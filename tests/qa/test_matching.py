"""Written answers against right ones: literal cases, and what each number is blind to."""

import pytest

from qa.matching import contains, exact, normalise, token_f1


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The man's  Dog.", "mans dog"),
        ("Twenty-one dogs", "20 1 dogs"),
        ("two", "2"),
        ("a", "a"),  # nothing else is there
        ("1,000 people, 2.5 m.", "1000 people 2.5 m"),
        ("\uff39\uff25\uff33!", "yes"),  # full-width letters
        ("blue</s> and more", "blue"),
        ("Élan vital", "élan vital"),
        ("नमस्ते।", "नमस्ते"),
        ("", ""),
        ("?!", ""),
    ],
)
def test_normal_form(text, normal):
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("prediction", "answer", "is_exact", "is_contained"),
    [
        ("Yes, he is.", "yes", False, True),
        ("No. Yes would be wrong.", "yes", False, False),  # the first one decides
        ("He is not, no", "no", False, True),
        ("two dogs", "2", False, True),
        ("2", "two", True, True),
        ("3 of the 2 dogs", "2", False, False),
        ("no, not red but blue", "blue", False, True),
        ("a bluebird", "blue", False, False),  # whole tokens
        ("red, green, blue, yellow or black", "blue", False, True),  # what `contains` is blind to
        ("the black dog of the man", "black dog", False, True),
        ("dog black", "black dog", False, False),
        ("", "blue", False, False),
        ("blue", "", False, False),
        ("", "", False, False),
    ],
)
def test_exact_and_contains(prediction, answer, is_exact, is_contained):
    assert exact(prediction, answer) == is_exact
    assert contains(prediction, answer) == is_contained


def test_further_answers_are_accepted_too():
    assert exact("sofa", "couch", "sofa")
    assert contains("on a sofa", "couch", "sofa")
    assert token_f1("on sofa", "couch", "sofa") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("prediction", "answer", "f1"),
    [
        ("a black dog runs", "the black dog", 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("dog dog", "dog", 2 * 0.5 * 1 / 1.5),  # multisets: the second dog is too many
        ("cat", "dog", 0.0),
        ("", "dog", 0.0),
        ("dog", "Dog!", 1.0),
    ],
)
def test_token_f1_by_hand(prediction, answer, f1):
    assert token_f1(prediction, answer) == pytest.approx(f1)
