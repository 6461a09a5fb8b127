"""Grouping shots that look alike, and the clips (merged groups) that result."""

from itertools import groupby

import numpy as np


def group_shots(similarity: np.ndarray, threshold: float) -> list[list[int]]:
    """Agglomerative grouping: merge the most similar pair until none is above the threshold.

    The merged row is the mean of the two rows (TEMPLE's rule, unweighted). Equal similarities are
    merged in order of position, so the result depends on the matrix alone.

    Args:
        similarity: (n, n) symmetric cosine similarities.
        threshold: merge only pairs above it.

    Returns:
        Groups of positions, each sorted, ordered by their first position.
    """
    rows = np.array(similarity, np.float64)
    np.fill_diagonal(rows, -np.inf)
    groups = [[position] for position in range(len(rows))]
    while len(groups) > 1:
        first, second = divmod(int(rows.argmax()), len(rows))
        if rows[first, second] <= threshold:
            break
        first, second = sorted((first, second))
        merged = (rows[first] + rows[second]) / 2
        rows[first], rows[:, first] = merged, merged
        rows[first, first] = -np.inf
        rows = np.delete(np.delete(rows, second, 0), second, 1)
        groups[first] += groups.pop(second)
    return sorted(sorted(group) for group in groups)


def merge_neighbours(groups: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Runs of neighbouring shots of one group, in time order: (group id, its shots) each; the id is
    the group's place in `groups`."""
    group_of = {shot: number for number, group in enumerate(groups) for shot in group}
    runs = groupby(sorted(group_of), key=group_of.__getitem__)
    return [(number, list(shots)) for number, shots in runs]
