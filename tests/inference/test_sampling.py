"""The choice of the next token, against the library's own processors."""

import pytest
import torch
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inference.captioner import Sampling
from inference.engines.sampling import NextToken

ROWS = 20_000


def logits(vocabulary=12):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, vocabulary, generator=generator) * 2


def unpadded(rows, tokens=3):
    return torch.ones((rows, tokens), dtype=torch.long)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0, 1.0, 0, 1.0),
        Sampling(0.5, 1.0, 0, 1.0),
        Sampling(1.0, 0.8, 0, 1.0),
        Sampling(1.0, 1.0, 4, 1.0),
        Sampling(0.7, 0.9, 5, 1.3),
    ],
)
def test_tokens_come_as_often_as_the_library_would_draw_them(sampling):
    ids = torch.tensor([[3, 5, 3]])
    expected = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(ids, logits())
    expected = TemperatureLogitsWarper(sampling.temperature)(ids, expected)
    if sampling.top_k:
        expected = TopKLogitsWarper(sampling.top_k)(ids, expected)
    if sampling.top_p < 1:
        expected = TopPLogitsWarper(sampling.top_p)(ids, expected)
    shares = expected.softmax(dim=1)[0]

    choose = NextToken(sampling, range(ROWS), unpadded(ROWS))
    drawn = choose(ids.repeat(ROWS, 1), logits().repeat(ROWS, 1)).argmax(dim=1)
    found = torch.bincount(drawn, minlength=len(shares)) / ROWS
    assert torch.all(found[shares == 0] == 0)
    assert torch.allclose(found, shares, atol=4 * (0.25 / ROWS) ** 0.5)


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k", "greedy"),
    [
        (0.0, 1.0, 0, True),
        (0.7, 1.0, 1, True),
        (0.7, 0.001, 0, True),
        (0.7, 1.0, 0, False),
        (0.7, 0.9, 20, False),
    ],
)
def test_any_of_three_values_makes_a_sampling_greedy(temperature, top_p, top_k, greedy):
    assert Sampling(temperature, top_p, top_k).is_greedy == greedy


def test_the_greedy_sampling_leaves_repetitions_alone():
    assert Sampling.greedy(64) == Sampling(0.0, 1.0, 1, 1.0, 64)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0, 1, 0, 1.2), Sampling(0.7, 0.001, 1, 1.2), Sampling(0.7, 0.001, 0, 1.2)],
)
def test_greedy_is_the_penalised_maximum(sampling):
    ids = torch.tensor([[1, 2, 2]])
    scores = NextToken(sampling, [0], unpadded(1))(ids, logits())
    assert torch.equal(scores, RepetitionPenaltyLogitsProcessor(1.2)(ids, logits()))


def test_padding_is_not_penalised():
    sampling = Sampling(0, 1, 1, 1.5)
    alone = NextToken(sampling, [0], unpadded(1, 2))(torch.tensor([[4, 7]]), logits())
    mask = torch.tensor([[0, 0, 1, 1]])
    padded = NextToken(sampling, [0], mask)(torch.tensor([[9, 9, 4, 7]]), logits())
    assert torch.equal(padded, alone)
    # What has been written since counts, though the mask does not reach it.
    later = NextToken(sampling, [0], mask)(torch.tensor([[9, 9, 4, 7, 9]]), logits())
    assert later[0, 9] != alone[0, 9]


def test_a_row_s_draws_are_its_own():
    sampling = Sampling(1.0, 1.0, 0, 1.0)

    def drawn(seeds):
        choose = NextToken(sampling, seeds, unpadded(len(seeds)))
        ids = unpadded(len(seeds))
        steps = [choose(ids, logits().repeat(len(seeds), 1)).argmax(dim=1) for _ in range(20)]
        return torch.stack(steps, dim=1)

    together = drawn([1, 2, 3])
    assert torch.equal(together[1], drawn([2])[0])
    assert not torch.equal(together[0], together[1])
    assert torch.equal(drawn([1, 1])[0], drawn([1, 1])[1])
