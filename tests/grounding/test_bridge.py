"""The temporal grounding bridge: positions, windows, masks, what it learns, and its files."""

import math
from dataclasses import replace

import pytest
import torch

from grounding.bridge.network import (
    NO_LABEL,
    POSITIONS,
    Bridge,
    BridgeConfig,
    rotate,
    rotation,
    span_loss,
)
from grounding.bridge.weights import load_bridge, save_bridge
from tools.errors import UserError

TINY = BridgeConfig(
    layers=2, dim=32, heads=4, vocabulary=40, window=3, max_positions=64, pre_norm=True, dropout=0.0
)


def built(seed=0, **changes):
    torch.manual_seed(seed)
    return Bridge(replace(TINY, **changes)).eval()


def clips(lengths, seed=0, words=4):
    """Flow, its mask, words, their mask; the flow of what is padded is not 0."""
    torch.manual_seed(seed)
    count, longest = len(lengths), max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return (
        0.1 * torch.randn(count, longest, 2, 14, 14),
        mask,
        torch.randint(40, (count, words)),
        torch.ones(count, words),
    )


def closed_form(length, size):
    """cos and sin of position / 10000 ** (2 j / size)."""
    angles = [
        [position / 10000 ** (2 * j / size) for j in range(size // 2)] for position in range(length)
    ]
    return (
        torch.tensor([[math.cos(angle) for angle in row] for row in angles]),
        torch.tensor([[math.sin(angle) for angle in row] for row in angles]),
    )


def test_a_rotated_product_depends_on_the_offset_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 16)
    turned = [rotate(part.expand(60, 16), rotation(60, 16)) for part in (query, key)]
    products = turned[0] @ turned[1].T
    for offset in (-7, 0, 1, 30):
        diagonal = products.diagonal(offset)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=0)
    assert (products[0, 0] - products[0, 5]).abs() > 0.01


def test_the_rotation_is_the_closed_form_after_construction_and_after_a_file(tmp_path):
    """No table is stored, so that none can be drawn anew."""
    torch.testing.assert_close(rotation(1200, 8), closed_form(1200, 8), atol=1e-3, rtol=0)
    batch = clips([20, 9])
    for positions in ("rope", "rope_window"):
        bridge = built(positions=positions)
        assert not list(bridge.buffers())
        save_bridge(tmp_path / "bridge.safetensors", bridge)
        again = load_bridge(tmp_path / "bridge.safetensors")
        assert again.config == bridge.config
        for before, after in zip(bridge(*batch), again(*batch), strict=True):
            assert torch.equal(before, after)


def test_the_reference_turns_by_noise_which_its_file_keeps(tmp_path):
    bridge = built(positions="reference")
    table = bridge.time_table
    assert table.shape == (64, 8)
    assert 0.01 < table.std() < 0.03
    assert not torch.equal(table, bridge.word_table)
    save_bridge(tmp_path / "bridge.safetensors", bridge)
    assert torch.equal(load_bridge(tmp_path / "bridge.safetensors").time_table, table)


def test_rotary_positions_have_no_longest_clip():
    for positions in ("rope", "rope_window"):
        start, end = built(positions=positions)(*clips([1200]))
        assert start.shape == end.shape == (1, 1200)
        assert start.isfinite().all()


@pytest.mark.parametrize(("positions", "length"), [("learned", 65), ("reference", 63)])
def test_learned_positions_end_with_their_table(positions, length):
    with pytest.raises(UserError, match="64 learned positions"):
        built(positions=positions)(*clips([length]))


@pytest.mark.parametrize("positions", POSITIONS)
def test_only_tokens_within_the_window_of_all_layers_matter(positions):
    """Two layers of window 3: token 20 is seen from 14 to 26."""
    bridge, batch = built(positions=positions), clips([40])
    changed = batch[0].clone()
    changed[0, 20] += 1
    before, after = bridge(*batch), bridge(changed, *batch[1:])
    moved = (before[0] != after[0])[0] | (before[1] != after[1])[0]
    near = (torch.arange(40) - 20).abs() <= 6
    assert moved[near].all()
    assert moved[~near].any() == (positions != "rope_window")


@pytest.mark.parametrize("text_layers", [0, 1])
@pytest.mark.parametrize("positions", POSITIONS)
def test_a_clip_has_the_same_logits_alone_and_in_a_padded_batch(positions, text_layers):
    bridge = built(positions=positions, text_layers=text_layers)
    lengths = [30, 7, 1]
    flow, mask, words, words_mask = clips(lengths)
    words_mask[1, 2:] = 0
    together = bridge(flow, mask, words, words_mask)
    for row, length in enumerate(lengths):
        count = int(words_mask[row].sum())
        alone = bridge(
            flow[row : row + 1, :length],
            mask[row : row + 1, :length],
            words[row : row + 1, :count],
            words_mask[row : row + 1, :count],
        )
        for padded, own in zip(together, alone, strict=True):
            torch.testing.assert_close(padded[row, :length], own[0], atol=1e-5, rtol=1e-5)
            assert (padded[row, length:] == -torch.inf).all()


def test_without_positions_and_with_them():
    """Without positions a clip played backwards has its logits backwards."""
    flow, *rest = clips([12])
    for positions in POSITIONS:
        bridge = built(positions=positions)
        forward, backward = bridge(flow, *rest)[0], bridge(flow.flip(1), *rest)[0].flip(1)
        same = torch.allclose(forward, backward, atol=1e-5)
        assert same == (positions == "none")


def test_words_by_themselves_have_no_order_and_a_text_layer_gives_them_one():
    flow, mask, words, words_mask = clips([12])
    for text_layers in (0, 1):
        bridge = built(text_layers=text_layers)
        here, there = (bridge(flow, mask, w, words_mask)[0] for w in (words, words.flip(1)))
        assert torch.allclose(here, there, atol=1e-5) == (text_layers == 0)


def test_a_frame_of_rgb_is_a_vector():
    bridge = built(input="rgb", features=5)
    _, mask, words, words_mask = clips([9])
    assert bridge(torch.randn(1, 9, 5), mask, words, words_mask)[0].shape == (1, 9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "rope_windw"}, "did you mean 'rope_window'"),
        ({"normalise": "max"}, "normalise is 'max'"),
        ({"heads": 3}, "no multiple of 2 \\* heads"),
        ({"patch": 4}, "no multiple of patch"),
        ({"input": "rgb"}, "go together"),
        ({"heads": 0}, "heads is 0; it must be 1 or more"),
        ({"max_positions": 2}, "max_positions is 2; it must be 3 or more"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be from 0 to below 1"),
    ],
)
def test_a_config_that_cannot_be_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        replace(TINY, **changes)


def test_the_faithful_preset():
    config = BridgeConfig.faithful(layers=1)
    assert (config.positions, config.normalise, config.grid, config.patch, config.pre_norm) == (
        "reference",
        "clip_max",
        224,
        16,
        False,
    )
    assert (config.dim, config.heads, config.layers) == (768, 12, 1)


def test_the_loss_is_the_mean_over_samples_with_a_label():
    start = torch.tensor([[2.0, 0.0], [0.0, 0.0], [1.0, -torch.inf]], requires_grad=True)
    end = torch.tensor([[0.0, 0.0], [0.0, 5.0], [1.0, -torch.inf]])
    first, last = torch.tensor([0, NO_LABEL, 0]), torch.tensor([1, NO_LABEL, 0])
    loss = span_loss(start, end, first, last)
    sure = math.log(1 + math.exp(-2))  # cross-entropy of a lead of 2
    assert loss.item() == pytest.approx((sure + math.log(2)) / 2 / 2)
    none = span_loss(start, end, torch.full((3,), NO_LABEL), torch.full((3,), NO_LABEL))
    none.backward()
    assert none.item() == 0
    assert not start.grad.any()


def test_it_learns_where_a_question_points():
    """Of two movements in each clip the question's word names one; what is learnt holds for clips
    that were not seen, and at twice the length."""
    from grounding.bridge.moments import decode, iou

    def moments(count, length, rng):
        flow = 0.02 * torch.randn(count, length, 2, 14, 14, generator=rng)
        words = torch.randint(2, (count, 1), generator=rng)
        spans = torch.zeros(count, 2, dtype=torch.long)
        for clip in range(count):
            places = 2 * torch.randperm(length // 2, generator=rng)[:2]
            for channel, place in enumerate(places):
                flow[clip, place : place + 2, channel] += 0.15
            spans[clip] = places[words[clip, 0]] + torch.tensor([0, 1])
        return flow, words, spans

    rng = torch.Generator().manual_seed(0)
    bridge = built().train()
    optimizer = torch.optim.AdamW(bridge.parameters(), 2e-3)
    for _ in range(120):
        flow, words, spans = moments(16, 16, rng)
        start, end = bridge(flow, torch.ones(16, 16), words, torch.ones(16, 1))
        loss = span_loss(start, end, spans[:, 0], spans[:, 1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bridge.eval()
    for length in (16, 32):
        flow, words, spans = moments(32, length, rng)
        mask = torch.ones(32, length)
        for asked, least in ((words, 0.9), (1 - words, None)):
            chosen = decode(*bridge(flow, mask, asked, torch.ones(32, 1)), mask)
            overlaps = [
                iou((span.first, span.last + 1), (first, last + 1))
                for (span,), (first, last) in zip(chosen, spans.tolist(), strict=True)
            ]
            mean = sum(overlaps) / 32
            assert mean > least if least else mean < 0.1
