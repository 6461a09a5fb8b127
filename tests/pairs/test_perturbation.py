from collections import Counter

import pytest

from tools.errors import Filtered, UserError
from tools.pairs.perturbation import CLEAN, FINE, Config, configs, equivalence, select

NAMES = [
    "caption_caption_none_1_False_False",
    "caption_caption_drop_2_False_False",
    "caption_caption_drop_4_False_False",
    "caption_caption_drop_8_False_False",
    "caption_caption_drop_16_False_False",
    "caption_caption_reverse_2_False_False",
    "caption_caption_reverse_4_False_False",
    "caption_caption_reverse_8_False_False",
    "caption_caption_reverse_16_False_False",
    "caption_caption_shuffle_2_False_False",
    "caption_caption_shuffle_4_False_False",
    "caption_caption_shuffle_8_False_False",
    "caption_caption_shuffle_16_False_False",
]


def indices(noise, magnitude, n, seed=0, video_id="v"):
    return select(Config(noise, magnitude), n, seed, video_id).indices


def test_there_are_thirteen_configs_in_a_fixed_order():
    assert [config.name for config in configs()] == NAMES
    assert configs()[0] == CLEAN


def test_biases_are_set_on_the_drops_alone():
    changed = [c.name for c in configs(by_similarity=True) if c.name not in NAMES]
    assert changed == [
        "caption_caption_drop_2_True_False",
        "caption_caption_drop_4_True_False",
        "caption_caption_drop_8_True_False",
        "caption_caption_drop_16_True_False",
    ]


@pytest.mark.parametrize("config", configs(True, True) + configs(), ids=lambda c: c.name)
def test_a_config_is_read_back_from_its_name(config):
    assert Config.parse(config.name) == config


@pytest.mark.parametrize(
    "name",
    [
        "caption_caption_drop_3_False_False",
        "caption_caption_none_2_False_False",
        "caption_caption_swap_2_False_False",
        "caption_caption_drop_2_False",
        "caption_caption_drop_2_False_False.jsonl",
    ],
)
def test_another_name_is_a_users_mistake(name):
    with pytest.raises(UserError, match="not a perturbation"):
        Config.parse(name)


def test_none_keeps_the_order():
    assert select(CLEAN, 5, 0, "v").indices == [0, 1, 2, 3, 4]
    assert select(CLEAN, 5, 0, "v").block_size is None


@pytest.mark.parametrize(
    ("n", "magnitude", "order", "block_size"),
    [
        (5, 2, [4, 2, 3, 0, 1], 2),  # a last block shorter than the others
        (6, 2, [3, 4, 5, 0, 1, 2], 3),
        (6, 4, [5, 4, 3, 2, 1, 0], 1),
        (9, 4, [8, 6, 7, 4, 5, 2, 3, 0, 1], 2),
        (7, 2, [6, 3, 4, 5, 0, 1, 2], 3),
        (4, 16, [3, 2, 1, 0], 1),
        (2, 2, [1, 0], 1),
        (32, 16, [i + j for i in range(30, -2, -2) for j in (0, 1)], 2),
    ],
)
def test_reverse_reverses_blocks(n, magnitude, order, block_size):
    selection = select(Config("reverse", magnitude), n, 0, "v")
    assert selection.indices == order
    assert selection.block_size == block_size


@pytest.mark.parametrize(("n", "order"), [(4, [2, 3, 0, 1]), (8, [4, 5, 6, 7, 0, 1, 2, 3])])
def test_two_blocks_have_one_shuffle_which_is_the_reverse(n, order):
    for seed in range(50):
        assert indices("shuffle", 2, n, seed) == order
    assert indices("reverse", 2, n) == order


def test_shuffle_moves_whole_blocks():
    for seed in range(200):
        order = indices("shuffle", 2, 7, seed)  # blocks 0-2, 3-5 and 6
        assert "345" in "".join(map(str, order)) and "012" in "".join(map(str, order))
        assert sorted(order) == [0, 1, 2, 3, 4, 5, 6]


def test_no_seed_leaves_the_clean_order():
    for seed in range(2000):
        assert indices("shuffle", 2, 4, seed) != [0, 1, 2, 3]
        assert indices("shuffle", 16, 3, seed) != [0, 1, 2]
        assert indices("drop", 2, 3, seed) in ([0], [1], [2])


def chi_square(counts, cells):
    expected = sum(counts.values()) / cells
    assert len(counts) <= cells
    return sum((n - expected) ** 2 / expected for n in counts.values()) + expected * (
        cells - len(counts)
    )


def test_shuffles_are_uniform_over_the_other_orders():
    counts = Counter(tuple(indices("shuffle", 4, 4, seed)) for seed in range(4600))
    assert (0, 1, 2, 3) not in counts
    assert chi_square(counts, 23) < 48.3  # 22 degrees of freedom, p = 0.001


def test_drops_are_uniform_over_the_subsets_of_their_size():
    counts = Counter(tuple(indices("drop", 2, 6, seed)) for seed in range(4000))
    assert all(len(kept) == 3 and list(kept) == sorted(kept) for kept in counts)
    assert chi_square(counts, 20) < 43.8  # 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("n", "kept"), [(4, [2, 1, 1, 1]), (9, [4, 2, 1, 1]), (16, [8, 4, 2, 1]), (32, [16, 8, 4, 2])]
)
def test_drop_keeps_n_over_r_clips(n, kept):
    assert [len(indices("drop", r, n)) for r in (2, 4, 8, 16)] == kept
    assert select(Config("drop", 2), n, 0, "v").block_size is None


@pytest.mark.parametrize("config", configs()[1:], ids=lambda c: c.name)
def test_a_single_clip_has_no_perturbation(config):
    with pytest.raises(Filtered, match="identity_only"):
        select(config, 1, 0, "v")


def test_the_draw_depends_on_seed_video_and_config_alone():
    assert indices("shuffle", 8, 12) == indices("shuffle", 8, 12)
    assert indices("shuffle", 8, 12) == [3, 7, 11, 8, 1, 10, 6, 4, 9, 0, 5, 2]  # on every machine
    assert indices("shuffle", 8, 12) != indices("shuffle", 8, 12, seed=1)
    assert indices("shuffle", 8, 12) != indices("shuffle", 8, 12, video_id="w")
    assert indices("shuffle", 8, 12) != indices("shuffle", 16, 12)


# Four clips over six shots. Clips 0 and 2 are one group; shots 0 and 1 make clip 0, 3 and 4 clip 2.
GROUPS = [(0, [0, 1]), (1, [2]), (0, [3, 4]), (2, [5])]


def shots_like(pairs):
    """Similarity of six shots: 1 to itself, 0 to others, but for the pairs given."""
    similarity = [[float(i == j) for j in range(6)] for i in range(6)]
    for (i, j), value in pairs.items():
        similarity[i][j] = similarity[j][i] = value
    return similarity


def test_by_similarity_drops_what_is_like_the_dropped():
    # clips 0 and 2 are alike through their shots, and so are clips 1 and 3; nothing else is
    similarity = shots_like({(0, 3): 0.9, (0, 4): 0.9, (1, 3): 0.9, (1, 4): 0.9, (2, 5): 0.8})
    config = Config("drop", 2, by_similarity=True)
    kept = Counter(
        tuple(select(config, 4, seed, "v", similarity, GROUPS).indices) for seed in range(400)
    )
    assert set(kept) == {(0, 2), (1, 3)}
    assert 150 < kept[0, 2] < 250  # the first drop is uniform


def test_by_similarity_draws_in_proportion_to_the_mean_over_shots():
    # clip 1 is 0.6 like clip 0 (mean of 0.9 and 0.3), 0.2 like clip 2, and unlike clip 3 (negative)
    similarity = shots_like(
        {(2, 0): 0.9, (2, 1): 0.3, (2, 3): 0.2, (2, 4): 0.2, (2, 5): -0.5, (0, 5): 1, (1, 5): 1}
    )
    config = Config("drop", 2, by_similarity=True)
    counts = Counter(
        tuple(select(config, 4, seed, "v", similarity, GROUPS).indices) for seed in range(6000)
    )
    # dropped {1, 2}: 1 first, then 2 (1/4 x 0.2/0.8), or 2 first, then 1 for certain (1/4)
    assert counts[0, 3] / 6000 == pytest.approx(0.0625 + 0.25, abs=0.02)
    # dropped {0, 1}: 1 first, then 0 (1/4 x 0.6/0.8), or 0 first, then 1 (1/4 x 0.6/1.6)
    assert counts[2, 3] / 6000 == pytest.approx(0.1875 + 0.09375, abs=0.02)
    assert counts[0, 2] == 0  # clips 1 and 3 never go together


def test_by_similarity_is_uniform_where_nothing_is_alike():
    config = Config("drop", 2, by_similarity=True)
    kept = Counter(
        tuple(select(config, 4, seed, "v", shots_like({}), GROUPS).indices) for seed in range(600)
    )
    assert len(kept) == 6


def test_by_group_drops_whole_groups_and_keeps_at_least_n_over_r():
    config = Config("drop", 4, by_group=True)  # at least one clip is kept
    kept = Counter(
        tuple(select(config, 4, seed, "v", merged_groups=GROUPS).indices) for seed in range(600)
    )
    # group 0 is clips 0 and 2; after groups 1 and 2 are gone, group 0 is too large to lose
    assert set(kept) == {(0, 2), (1,), (3,)}


def test_by_group_stops_before_the_first_group_too_large():
    config = Config("drop", 2, by_group=True)  # at least two clips are kept
    kept = {
        tuple(select(config, 4, seed, "v", merged_groups=GROUPS).indices) for seed in range(300)
    }
    # group 1 gone, then group 0 drawn: the drawing ends with three clips left
    assert kept == {(1, 3), (0, 2), (0, 2, 3), (0, 1, 2)}


def test_by_group_without_a_group_that_can_go():
    with pytest.raises(Filtered, match="identity_only"):
        select(Config("drop", 2, by_group=True), 2, 0, "v", merged_groups=[(0, [0]), (0, [1])])


def test_both_biases_drop_groups_like_the_dropped_ones():
    groups = [(0, [0]), (1, [1]), (2, [2]), (0, [3]), (1, [4]), (2, [5])]
    # groups 0 and 1 are alike; group 2 is like nobody
    alike = {(i, j): 0.9 for i in (0, 3) for j in (1, 4)}
    config = Config("drop", 4, by_similarity=True, by_group=True)  # g = 1: two groups can go
    kept = {
        tuple(select(config, 6, seed, "v", shots_like(alike), groups).indices)
        for seed in range(300)
    }
    # starting from group 2 all weights are 0, so either other one follows
    assert kept == {(2, 5), (1, 4), (0, 3)}
    first_two = {(i, j): 0.9 for i in (0, 3) for j in (1, 4, 2, 5)}
    kept = {
        tuple(select(config, 6, seed, "v", shots_like(first_two), groups).indices)
        for seed in range(300)
    }
    assert kept == {(2, 5), (1, 4)}  # group 0 is like both others, so it always goes


def all_indices(n, seed=0):
    return {config.name: select(config, n, seed, "v").indices for config in configs()}


@pytest.mark.parametrize("n", range(4, 16))
def test_up_to_fifteen_clips_level_16_of_reverse_is_level_8(n):
    same = equivalence(all_indices(n))
    name = "caption_caption_reverse_{}_False_False"
    assert same[name.format(16)] == same[name.format(8)]


def test_equal_selections_are_one_config_the_hardest():
    clean = [0, 1, 2, 3]
    short = {
        "none_1": clean,
        "drop_2": [1, 2],
        "drop_4": [3],
        "drop_8": [0],
        "drop_16": [3],
        "reverse_2": [2, 3, 0, 1],
        "reverse_4": [3, 2, 1, 0],
        "reverse_8": [3, 2, 1, 0],
        "reverse_16": [3, 2, 1, 0],
        "shuffle_2": [2, 3, 0, 1],
        "shuffle_4": [1, 0, 2, 3],
        "shuffle_8": clean,  # as folders of the reference hold
        "shuffle_16": [3, 2, 1, 0],
    }
    same = equivalence({f"caption_caption_{k}_False_False": v for k, v in short.items()})
    assert {k[16:-12]: v[16:-12] for k, v in same.items()} == {
        "none_1": "none_1",
        "drop_2": "drop_2",
        "drop_4": "drop_4",
        "drop_8": "drop_8",
        "drop_16": "drop_4",
        "reverse_2": "reverse_2",
        "reverse_4": "reverse_4",
        "reverse_8": "reverse_4",
        "reverse_16": "reverse_4",
        "shuffle_2": "reverse_2",
        "shuffle_4": "shuffle_4",
        "shuffle_8": "none_1",
        "shuffle_16": "reverse_4",
    }


def test_the_order_of_the_dictionary_does_not_matter():
    selections = all_indices(8)
    backwards = dict(reversed(selections.items()))
    assert equivalence(selections) == equivalence(backwards)


SWAP, REPEAT = FINE


def test_a_swap_turns_some_pairs_of_neighbours_around():
    for n in (2, 3, 4, 9, 16):
        orders = [select(SWAP, n, seed, "v").indices for seed in range(40)]
        for order in orders:
            assert sorted(order) == list(range(n)) and order != list(range(n))
            assert all(abs(place - clip) <= 1 for place, clip in enumerate(order))
    assert select(SWAP, 2, 0, "v").indices == [1, 0]
    assert len({tuple(select(SWAP, 16, seed, "v").indices) for seed in range(40)}) > 30
    with pytest.raises(Filtered, match="identity_only"):
        select(SWAP, 1, 0, "v")


def test_a_repeat_tells_a_clip_again_in_place_of_its_neighbour():
    told = set()
    for n in (2, 3, 4, 9, 16):
        for seed in range(40):
            order = select(REPEAT, n, seed, "v").indices
            assert len(order) == n and order == sorted(order) and len(set(order)) < n
            assert all(abs(place - clip) <= 1 for place, clip in enumerate(order))
            assert all(order.count(clip) <= 2 for clip in order)
            told.add(tuple(order))
    assert {order for order in told if len(order) == 2} == {(0, 0), (1, 1)}
    assert len([order for order in told if len(order) == 16]) > 30
    with pytest.raises(Filtered, match="identity_only"):
        select(REPEAT, 1, 0, "v")


def test_the_finest_level_is_made_where_it_is_asked_for():
    assert [config.name for config in FINE] == [
        "caption_caption_swap_1_False_False",
        "caption_caption_repeat_1_False_False",
    ]
    assert [Config.parse(config.name) for config in FINE] == list(FINE)
    assert not set(FINE) & set(configs())
    assert configs(fine=True) == [*configs(), *FINE]
