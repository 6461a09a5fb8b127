"""Grouping shots by similarity, and the clips that result."""

import numpy as np
import pytest

from tools.shots.grouping import group_shots, merge_neighbours


def by_definition(similarity, threshold):
    """The same in the slowest and plainest way: a table of named groups."""
    values = {
        (i, j): float(similarity[i][j])
        for i in range(len(similarity))
        for j in range(len(similarity))
    }
    members = {i: [i] for i in range(len(similarity))}
    while len(members) > 1:
        pairs = [(i, j) for i in sorted(members) for j in sorted(members) if i < j]
        best = max(values[pair] for pair in pairs)
        if not best > threshold:
            break
        i, j = next(pair for pair in pairs if values[pair] == best)
        for k in members:
            if k not in (i, j):
                mean = (values[i, k] + values[j, k]) / 2
                values[i, k] = values[k, i] = mean
        members[i] += members.pop(j)
    return sorted(sorted(group) for group in members.values())


def matrix(n, **pairs):
    """An (n, n) matrix of ones on the diagonal, 0.1 elsewhere, and e.g. s01=0.9."""
    values = np.full((n, n), 0.1)
    np.fill_diagonal(values, 1)
    for name, value in pairs.items():
        i, j = int(name[1]), int(name[2])
        values[i, j] = values[j, i] = value
    return values


@pytest.mark.parametrize("places", [4, 1])
def test_groups_are_those_of_the_definition(places):
    # Rounded to one place, equal similarities abound.
    rng = np.random.default_rng(places)
    sizes = []
    for _ in range(300):
        n = int(rng.integers(1, 13))
        rows = rng.normal(size=(n, 3)) + rng.normal(size=3)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        similarity = np.round(rows @ rows.T, places)
        threshold = float(rng.choice([0.5, 0.8, 0.9]))
        groups = group_shots(similarity, threshold)
        assert groups == by_definition(similarity, threshold)
        sizes += map(len, groups)
    assert max(sizes) > 4
    assert min(sizes) == 1


def test_the_threshold_itself_is_not_above_it():
    assert group_shots(matrix(2, s01=0.8), 0.8) == [[0], [1]]
    assert group_shots(matrix(2, s01=0.8001), 0.8) == [[0, 1]]


def test_a_merged_row_is_the_mean_of_the_two():
    # 0 and 1 first; their mean similarity to 2 is then 0.80 or 0.81.
    assert group_shots(matrix(3, s01=0.95, s02=0.9, s12=0.70), 0.8) == [[0, 1], [2]]
    assert group_shots(matrix(3, s01=0.95, s02=0.9, s12=0.72), 0.8) == [[0, 1, 2]]


def test_a_mean_of_means_weighs_groups_not_shots():
    # {0, 1} and then 2 join 3: ((0.9 + 0.9) / 2 + 0.6) / 2 = 0.75, where shots weigh 0.8.
    similarity = matrix(4, s01=0.99, s02=0.98, s12=0.98, s03=0.9, s13=0.9, s23=0.6)
    assert group_shots(similarity, 0.76) == [[0, 1, 2], [3]]
    assert group_shots(similarity, 0.74) == [[0, 1, 2, 3]]


def test_of_equal_pairs_the_first_in_order_is_merged():
    # 0 with 1 leaves 2 at (0.9 + 0.1) / 2; 1 with 2 would have left 0 there.
    assert group_shots(matrix(3, s01=0.9, s12=0.9), 0.8) == [[0, 1], [2]]


def test_all_alike_and_none_alike():
    assert group_shots(np.ones((5, 5)), 0.8) == [[0, 1, 2, 3, 4]]
    assert group_shots(matrix(5), 0.8) == [[0], [1], [2], [3], [4]]
    assert group_shots(np.ones((1, 1)), 0.8) == [[0]]


def test_the_matrix_of_the_caller_stays_as_it_is():
    similarity = matrix(3, s01=0.9)
    group_shots(similarity, 0.8)
    assert np.array_equal(similarity, matrix(3, s01=0.9))


def test_similarities_below_zero():
    similarity = matrix(3, s01=-0.5, s02=-0.9, s12=-0.7)
    assert group_shots(similarity, -0.6) == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[0], [1], [2]], [(0, [0]), (1, [1]), (2, [2])]),
        ([[0, 1], [2]], [(0, [0, 1]), (1, [2])]),
        ([[0, 2], [1, 3]], [(0, [0]), (1, [1]), (0, [2]), (1, [3])]),
        ([[0, 1, 4], [2, 3], [5]], [(0, [0, 1]), (1, [2, 3]), (0, [4]), (2, [5])]),
        ([[0, 1, 2]], [(0, [0, 1, 2])]),
    ],
)
def test_neighbours_of_one_group_are_one_clip(groups, expected):
    assert merge_neighbours(groups) == expected
