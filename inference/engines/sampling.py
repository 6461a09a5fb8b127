"""Choosing the next token, row by row, so that no answer depends on what else is in its batch.

The library's own processors penalise the padding of shorter prompts, and draw all rows from one
generator; here the padding is left out and every row has a generator of its own.
"""

import random
from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from inference.captioner import Sampling


class NextToken(LogitsProcessor):
    """Leaves one token a row, chosen as `sampling` says: repetition penalty, then temperature, then
    top_k, then top_p, then a draw, as in the library.

    Args:
        sampling: see `Sampling.is_greedy` for where nothing is drawn.
        seeds: of each row; the k-th token is drawn with the k-th number of the row's generator.
        attention_mask: (rows, tokens) of the prompts, 0 where padding stands.
    """

    def __init__(
        self, sampling: Sampling, seeds: Sequence[int], attention_mask: torch.Tensor
    ) -> None:
        self.sampling = sampling
        self.generators = [random.Random(seed) for seed in seeds]
        self.padding = attention_mask == 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Args: input_ids: (rows, tokens so far); scores: (rows, vocabulary), logits."""
        scores = self._penalised(input_ids, scores)
        if self.sampling.is_greedy:
            return scores
        chosen = self._drawn(scores / self.sampling.temperature)
        return torch.full_like(scores, -torch.inf).scatter(1, chosen, 0.0)

    def _penalised(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        penalty = self.sampling.repetition_penalty
        if penalty == 1:
            return scores
        # What stands in for padding is a token that the row holds anyway: its last.
        ids = input_ids.clone()
        width = self.padding.shape[1]
        ids[:, :width] = torch.where(self.padding, input_ids[:, -1:], input_ids[:, :width])
        score = scores.gather(1, ids)
        score = torch.where(score < 0, score * penalty, score / penalty)
        # In place: the logits are the caller's own copy, and a vocabulary is large.
        return scores.scatter_(1, ids, score)

    def _drawn(self, scores: torch.Tensor) -> torch.Tensor:
        """One token a row, (rows, 1), by the inverse of the cumulative distribution."""
        count = self.sampling.top_k or scores.shape[1]
        scores, tokens = scores.topk(min(count, scores.shape[1]), dim=1)
        shares = scores.softmax(dim=1)
        # The smallest set whose probabilities sum to top_p: what lies before a token is below it.
        before = shares.cumsum(dim=1) - shares
        shares = shares.masked_fill(before >= self.sampling.top_p, 0.0)
        cumulated = shares.cumsum(dim=1)
        numbers = [generator.random() for generator in self.generators]
        drawn = torch.tensor(numbers, dtype=scores.dtype, device=scores.device)[:, None]
        places = (cumulated <= drawn * cumulated[:, -1:]).sum(dim=1, keepdim=True)
        # Rounding may put a number beyond the last share: the last token with a share is meant.
        last = (shares > 0).sum(dim=1, keepdim=True) - 1
        return tokens.gather(1, torch.minimum(places, last))
