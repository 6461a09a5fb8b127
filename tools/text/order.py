"""In how far a text tells events in a given order, without a label: the reward of GRPO."""

import re
from collections.abc import Sequence
from itertools import combinations

from rapidfuzz import fuzz, process

# Where one thing that is told ends: sentences, and words that lead to the next event.
CLAUSE = re.compile(
    r"[.!?;\n]+|,?\s*\b(?:and then|then|after that|afterwards|next|finally|before)\b"
)
MATCH = 60.0  # least similarity of a clause that tells an event, 0 to 100


def clauses(text: str) -> list[str]:
    """What a text tells, piece by piece, as words in lower case."""
    parts = (_words(part) for part in CLAUSE.split(text.lower()))
    return [part for part in parts if part]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def agreement(text: str, events: Sequence[str], least: float = MATCH) -> float:
    """The share of pairs of events that a text tells in their order, of all pairs.

    An event is told where the clause is that its words are most similar to (rapidfuzz's token set
    ratio), the first of several. One that no clause is similar enough to is not told, and the
    order of two that one clause tells is not known: leaving out or lumping together earns nothing.

    Args:
        events: in their order, as captions or clauses.
        least: similarity from which on a clause tells an event, 0 to 100.

    Returns:
        0 to 1; 0 where there are fewer than two events.
    """
    told = clauses(text)
    places: list[int | None] = []
    for event in events:
        best = process.extractOne(
            _words(event), told, scorer=fuzz.token_set_ratio, score_cutoff=least
        )
        places.append(best[2] if best else None)
    pairs = list(combinations(places, 2))
    right = sum(a is not None and b is not None and a < b for a, b in pairs)
    return right / len(pairs) if pairs else 0.0
