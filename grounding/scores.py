"""How well an answer to a question matches the right one, 0 to 1: the scores that labels are made
of.

Texts are compared as words: in lower case, without punctuation, split at white space.
"""

import re
from collections import Counter
from collections.abc import Callable


def words_of(text: str) -> list[str]:
    """The words of a text.

    >>> words_of("A red circle, it's the FIRST.</s>")
    ['a', 'red', 'circle', 'its', 'the', 'first']
    """
    without_tags = text.lower().replace("</s>", " ")
    return re.sub(r"[^\w\s]|_", "", without_tags).split()


def rouge1_recall(answer: str, gold: str) -> float:
    """The share of the right answer's words that the answer holds (VideoTGB's score)."""
    wanted, words = words_of(gold), set(words_of(answer))
    return sum(word in words for word in wanted) / len(wanted) if wanted else 0.0


def token_f1(answer: str, gold: str) -> float:
    """F1 of precision and recall over words, each word as often as it stands there (SQuAD)."""
    wanted, words = Counter(words_of(gold)), Counter(words_of(answer))
    both = (wanted & words).total()
    return 2 * both / (wanted.total() + words.total()) if both else 0.0


def exact(answer: str, gold: str) -> float:
    """1 where the words are the same in the same order, else 0."""
    return float(bool(words_of(gold)) and words_of(answer) == words_of(gold))


METRICS: dict[str, Callable[[str, str], float]] = {
    function.__name__: function for function in (rouge1_recall, token_f1, exact)
}
