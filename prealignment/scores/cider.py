"""CIDEr of captions (Vedantam et al., CVPR 2015; its variant CIDEr-D), in plain Python.

The maintained scorer, pycocoevalcap, needs a Java runtime for its tokenizer. The formula is short,
and captions need little of that tokenizer: words in lower case, without punctuation.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

LONGEST = 4  # words of an n-gram
SIGMA = 6.0  # of the penalty on a difference in length, words
SCALE = 10.0
# A word with what an apostrophe joins to it standing apart, as in the Penn treebank: "do n't".
WORD = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b|(?:(?!n't\b)[^\W_]|(?<=\w)[-.](?=\w))+", re.UNICODE)

Vector = dict[tuple[str, ...], float]


def words_of(caption: str) -> list[str]:
    """The words of a caption, as they are counted.

    >>> words_of("A man doesn't run, he's well-known.")
    ['a', 'man', 'does', "n't", 'run', 'he', "'s", 'well-known']
    """
    return WORD.findall(caption.lower())


def cider(captions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """CIDEr-D of each caption; the score of a set is their mean.

    An n-gram weighs log(videos / videos whose references hold it). The score is the mean over n = 1
    to 4 and over the references of the cosine between the weighted counts, where a caption's count
    is clipped to the reference's, times exp(-(difference in length)^2 / (2 * 6^2)), times 10.

    Args:
        captions: of each video.
        references: of each video, one or more.
    """
    counted = {key: [_counts(text) for text in texts] for key, texts in references.items()}
    held = Counter(
        gram for counts in counted.values() for gram in set().union(*(own for own, _ in counts))
    )
    total = math.log(len(references))

    def weighted(counts: Counter[tuple[str, ...]]) -> list[Vector]:
        """For each n, n-gram -> count * weight."""
        vectors: list[Vector] = [{} for _ in range(LONGEST)]
        for gram, count in counts.items():
            vectors[len(gram) - 1][gram] = count * (total - math.log(max(1, held[gram])))
        return vectors

    scores = {}
    for key, caption in captions.items():
        counts, length = _counts(caption)
        own = weighted(counts)
        values = []
        for other, other_length in counted[key]:
            penalty = math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
            pairs = zip(own, weighted(other), strict=True)
            values.append(penalty * sum(_cosine(*pair) for pair in pairs) / LONGEST)
        scores[key] = SCALE * sum(values) / len(values)
    return scores


def _counts(text: str) -> tuple[Counter[tuple[str, ...]], int]:
    """How often each n-gram occurs in a text, and its length in words."""
    words = words_of(text)
    grams = (
        tuple(words[start : start + n])
        for n in range(1, LONGEST + 1)
        for start in range(len(words) - n + 1)
    )
    return Counter(grams), len(words)


def _cosine(own: Vector, other: Vector) -> float:
    norms = [math.sqrt(sum(value**2 for value in vector.values())) for vector in (own, other)]
    if not all(norms):
        return 0.0
    product = sum(min(own[gram], other[gram]) * other[gram] for gram in own.keys() & other.keys())
    return product / (norms[0] * norms[1])
