"""Comparing a written answer with the right one, without a judge.

Three numbers, each blind to something: `exact` punishes sentences, `contains` favours long answers
(a model that lists every colour is always right), `token_f1` counts words and not what they say.
They are shown together, with the mean length of the answers.
"""

import re
import unicodedata
from collections import Counter
from functools import lru_cache

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    *("nineteen", "twenty"),
)
DIGITS = {word: str(number) for number, word in enumerate(NUMBER_WORDS)}
ARTICLES = ("a", "an", "the")
YES_NO = ("yes", "no")
END = "</s>"  # Llama's end of a text, which some scripts leave in their files
_APOSTROPHE = re.compile(r"['\u2019`]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DECIMAL_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_POINT = "\0"  # stands for a decimal point while punctuation is removed


@lru_cache(1 << 14)
def normalise(text: str) -> str:
    """A text as answers are compared: NFKC, lower case, what stands before any `</s>`, without
    punctuation and articles, number words up to twenty as digits, single blanks.

    A text that consists of articles keeps them: "A" may be an answer.
    """
    text = unicodedata.normalize("NFKC", text).partition(END)[0].lower()
    text = _DECIMAL_POINT.sub(_POINT, _THOUSANDS.sub("", _APOSTROPHE.sub("", text)))
    text = "".join(" " if unicodedata.category(c)[0] in "PS" else c for c in text)
    tokens = text.replace(_POINT, ".").split()
    tokens = [token for token in tokens if token not in ARTICLES] or tokens
    return " ".join(DIGITS.get(token, token) for token in tokens)


def exact(prediction: str, *answers: str) -> bool:
    """Whether a prediction is one of the accepted answers, both normalised."""
    return bool(normalise(prediction)) and normalise(prediction) in map(normalise, answers)


def contains(prediction: str, *answers: str) -> bool:
    """Whether a prediction contains one of the accepted answers as a run of whole tokens.

    Where the answer is yes or no, the first yes or no of the prediction decides; where it is a
    number, the first number does.
    """
    tokens = normalise(prediction).split()
    return any(_contains(tokens, normalise(answer).split()) for answer in answers)


def token_f1(prediction: str, *answers: str) -> float:
    """2PR / (P + R) of the tokens of prediction and answer, taken as multisets; the best of the
    accepted answers counts."""
    tokens = Counter(normalise(prediction).split())
    return max((_f1(tokens, Counter(normalise(answer).split())) for answer in answers), default=0.0)


def occurs(tokens: list[str], run: list[str]) -> int | None:
    """Where a run of tokens begins in others for the first time; None: nowhere, or the run is
    empty."""
    starts = range(len(tokens) - len(run) + 1) if run else range(0)
    return next((start for start in starts if tokens[start : start + len(run)] == run), None)


def _contains(tokens: list[str], answer: list[str]) -> bool:
    for is_kind in (YES_NO.__contains__, _is_number):
        if len(answer) == 1 and is_kind(answer[0]):
            return next(filter(is_kind, tokens), None) == answer[0]
    return occurs(tokens, answer) is not None


def _is_number(token: str) -> bool:
    return token.replace(".", "", 1).isdigit()


def _f1(tokens: Counter[str], answer: Counter[str]) -> float:
    common = (tokens & answer).total()
    return 2 * common / (tokens.total() + answer.total()) if common else 0.0
