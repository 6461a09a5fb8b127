"""Which option a written answer names: literal cases, also those that public rules get wrong."""

from itertools import permutations

import pytest

from qa.options import chosen_option

DOOR = ["Opens the door.", "Took the box", "took the red box", "a cat", "two"]
A, B, C, D, E = range(5)


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        # 1. the whole answer, or its first line, is an option
        ("Took the box", B),
        ("opens the door", A),
        ("The cat!", D),
        ("2", E),
        ("took the box\nbecause he wanted it", B),
        # 2. a letter at the beginning
        ("B", B),
        ("b", B),
        ("(B)", B),
        ("[C]", C),
        ("B.", B),
        ("B)", B),
        ("B: took the box", B),
        ("B. Took the box", B),
        ("(B) because he took something", B),
        ("C took the red box", C),
        ("\n A", A),
        ("B\nHe took it because he wanted it", B),
        ("B\n\nExplanation: he took it", B),
        ("**B**", B),
        ("B.he took it", B),
        # 3. answer is, option
        ("The answer is C.", C),
        ("The correct answer: (D)", D),
        ("The man takes a cup, option C", C),
        ("Answer is B, not because of the cat", B),
        ("The answer is B because he took it", B),
        ("The answer is A because the door moves", A),
        ("The answer is **B**.", B),
        # 4. an option's text inside
        ("I think that he opens the door quickly", A),
        ("He took the red box.", C),  # which holds "box", and no other option outside of it
        ("There are two of them", E),
        # none
        ("", None),
        ("(", None),
        ("a person opens a window", None),  # an article is no letter
        ("A person is walking", None),
        ("A or B", None),
        ("The answer is A or B", None),
        ("option A, or maybe option B", None),
        ("he took the box to the cat", None),
        ("F", None),
        ("The answer is A person is walking", None),
        ("e.g. somebody", None),
        ("None of them", None),
        ("I do not know.", None),
    ],
)
def test_the_option_that_an_answer_names(answer, option):
    assert chosen_option(answer, DOOR) == option


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("The answer is A man opens the door.", B),
        ("Answer: A red circle", D),
        ("The answer is A a man closes the window.", A),
        ("The answer is A. A man opens the door would be wrong.", A),
    ],
)
def test_the_article_is_no_letter_although_it_is_a_capital(answer, option):
    options = ["a man closes the window", "a man opens the door", "nobody", "a red circle"]
    assert chosen_option(answer, options) == option


@pytest.mark.parametrize("answer", ["two", "he took the red box", "a cat", "nothing at all"])
def test_a_text_names_the_same_option_wherever_it_stands(answer):
    expected = chosen_option(answer, DOOR)
    for order in permutations(range(len(DOOR))):
        place = chosen_option(answer, [DOOR[index] for index in order])
        assert (None if place is None else order[place]) == expected


def test_options_that_are_letters_or_empty_are_options_like_others():
    assert chosen_option("the", ["the", "a"]) == 0
    assert chosen_option("no", ["yes", "no", ""]) == 1
    assert chosen_option("", ["yes", "no", ""]) is None
