"""In how far a text tells events in a given order, without a label: the rewards of GRPO."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

# Where one thing that is told ends: sentences, and words that lead to an event.
CLAUSE = re.compile(
    r"[.!?;\n]+|\b(?:and then|then|after that|afterwards|first|next|finally|before)\b"
)
MATCH = 50.0  # least similarity of a clause that tells an event, 0 to 100

Pair = tuple[int, int]
"""Places of two events, the earlier one first."""


def clauses(text: str) -> list[list[str]]:
    """What a text tells, piece by piece, as words in lower case."""
    parts = (_words(part) for part in CLAUSE.split(text.lower()))
    return [part for part in parts if part]


def pairs_in_order(text: str, events: Sequence[str], least: float = MATCH) -> set[Pair]:
    """The pairs of events that a text tells in their order.

    An event is told where the clause is that is most similar to it, the first of several. One that
    no clause is similar enough to is not told, and the order of two that one clause tells is not
    known: leaving out or lumping together earns nothing. The similarity is Dice's coefficient of
    the words of both, so that neither a single word nor all words of the world tell an event.

    Args:
        events: in their order, as captions.
        least: similarity from which on a clause tells an event, 0 to 100; at 100 it has the very
            words of the event.
    """
    told = clauses(text)
    places: list[int | None] = []
    for event in events:
        words = [word for clause in clauses(event) for word in clause]
        similar = [_dice(words, clause) for clause in told]
        best = max(similar, default=0.0)
        places.append(similar.index(best) if best >= least and best else None)
    return {
        (one, other)
        for one, other in combinations(range(len(events)), 2)
        if (a := places[one]) is not None and (b := places[other]) is not None and a < b
    }


def agreement(text: str, events: Sequence[str], least: float = MATCH) -> float:
    """The share of pairs of events that a text tells in their order, of all pairs; 0 where there
    are fewer than two events. See `pairs_in_order`."""
    return len(pairs_in_order(text, events, least)) / _pairs(events)


def agreement_but_backwards(
    text: str, backwards: str, events: Sequence[str], least: float = MATCH
) -> float:
    """`agreement`, but a pair counts only where the text of the reversed video does not tell it in
    the same order: who tells a video and its reverse alike has not looked at the order."""
    seen = pairs_in_order(text, events, least) - pairs_in_order(backwards, events, least)
    return len(seen) / _pairs(events)


def _pairs(events: Sequence[str]) -> int:
    return max(1, len(events) * (len(events) - 1) // 2)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _dice(a: Sequence[str], b: Sequence[str]) -> float:
    """Dice's coefficient of two multisets of words, 0 to 100."""
    shared = sum((Counter(a) & Counter(b)).values())
    return 200 * shared / (len(a) + len(b))
