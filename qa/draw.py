"""A seeded part of a split: whole videos, drawn in proportion to the types of their questions."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from qa.records import Question


def draw_videos(questions: Sequence[Question], limit: int | None, seed: int) -> list[Question]:
    """The questions of at most `limit` videos (None: of all), in their order; a question without
    media counts as a video.

    Videos are sorted by the rarest type among their questions, at random within that, and every
    k-th is taken (systematic sampling): each type keeps its share to within one video.
    """
    if limit is None:
        return list(questions)
    sizes = Counter(question.type for question in questions)
    rarest: dict[str, tuple[int, str]] = {}
    for question in questions:
        rank = (sizes[question.type], question.type or "")
        rarest[question.unit] = min(rank, rarest.get(question.unit, rank))

    def order(unit: str) -> tuple[tuple[int, str], str]:
        return rarest[unit], hashlib.sha1(f"{seed}/{unit}".encode()).hexdigest()

    units = sorted(rarest, key=order)
    number = min(limit, len(units))
    drawn = {units[(2 * i + 1) * len(units) // (2 * number)] for i in range(number)}
    return [question for question in questions if question.unit in drawn]
