"""Answers that would break training: what is wrong with them, found where they are made."""

import re

import numpy as np

from tools.text.answers import media_or_special_tag

# A text loops where a run of words is repeated this often in a row and the repeats cover this many
# words; a song's refrain or a list of similar items stays below.
LOOP_REPEATS = 4
LOOP_WORDS = 24
# The same in characters: for "!!!!" and for scripts that put no spaces between words.
_CHARACTER_LOOP = re.compile(r"(\S{1,20}?)\1{19,}")
_LOOP_CHARACTERS = 40


def answer_fault(answer: str, kept: str, finish_reason: str) -> str | None:
    """Why an answer can be neither caption nor side of a pair: cut_off (at the token limit), empty,
    looping, tag (a media or special tag); None where nothing is wrong.

    Args:
        answer: the whole answer.
        kept: what is read out of it.
    """
    if finish_reason == "length":
        return "cut_off"
    if not kept.strip():
        return "empty"
    if is_looping(answer):
        return "looping"
    return "tag" if media_or_special_tag(kept) else None


def is_looping(text: str) -> bool:
    """Whether some stretch of a text is the same words again and again.

    >>> is_looping("He runs. " * 12), is_looping("He runs, she runs, they all run.")
    (True, False)
    """
    if any(len(match[0]) >= _LOOP_CHARACTERS for match in _CHARACTER_LOOP.finditer(text)):
        return True
    words = text.split()
    numbers: dict[str, int] = {}
    ids = np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32)
    for period in range(1, len(ids) // LOOP_REPEATS + 1):
        # A stretch of r repeats is one of (r - 1) * period words that equal those a period on.
        needed = max((LOOP_REPEATS - 1) * period, LOOP_WORDS - period)
        same = np.flatnonzero(ids[period:] != ids[:-period])
        edges = np.concatenate([[-1], same, [len(ids) - period]])
        if np.diff(edges).max() > needed:
            return True
    return False
