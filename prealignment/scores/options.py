"""Two scores of options: the letter that a model would say, and how likely each option's text is.

`letter`: one forward of the listed options, up to where the letter stands, and log p of each
letter's token there. `likelihood`: the mean log p a token of each option, and of the end token,
behind "Answer:", without listing the options.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from prealignment.model.layouts import Row, Sample, letter_rows, option_rows
from prealignment.training.visits import batch_of
from prealignment.weights.alignments import Aligned

Asked = tuple[Sample, np.ndarray]
"""A multiple-choice sample, its options in the order in which they are listed, and (F, width)
float32 vectors of the video."""
Scores = list[list[float]]
"""Of each question, nats of each option, in the order in which they are listed."""


def letter_scores(
    aligned: Aligned, asked: Sequence[Asked], batch_size: int, max_length: int | None = None
) -> Iterator[list[float]]:
    """log p of each option's letter, of each question in turn."""
    rows = (
        (*letter_rows(aligned.tokenizer, sample, len(vectors), max_length), vectors)
        for sample, vectors in asked
    )
    while batch := list(islice(rows, batch_size)):
        following = log_p(aligned, [row for row, *_ in batch], [v for *_, v in batch], 1)[:, -1]
        for values, (_, letters, _) in zip(following, batch, strict=True):
            yield values[letters].tolist()


def option_scores(
    aligned: Aligned, asked: Sequence[Asked], batch_size: int, max_length: int | None = None
) -> Iterator[list[float]]:
    """Mean log p a token of each option, of each question in turn."""
    questions = iter(asked)
    most = max((len(sample.options) for sample, _ in asked), default=1)
    while batch := list(islice(questions, max(1, batch_size // most))):
        rows = [
            (row, vectors)
            for sample, vectors in batch
            for row in option_rows(aligned.tokenizer, sample, len(vectors), max_length)
        ]
        longest = max(len(row.learned) for row, _ in rows)
        before = log_p(aligned, [row for row, _ in rows], [v for _, v in rows], longest + 1)
        means = iter(
            values[-len(row.learned) - 1 : -1]
            .gather(1, _learned(row, values.device)[:, None])
            .mean()
            .item()
            for values, (row, _) in zip(before, rows, strict=True)
        )
        for sample, _ in batch:
            yield [next(means) for _ in sample.options]


SCORES: dict[str, Callable[..., Iterator[list[float]]]] = {
    "letter": letter_scores,
    "likelihood": option_scores,
}


@torch.inference_mode()
def log_p(
    aligned: Aligned, rows: Sequence[Row], vectors: Sequence[np.ndarray], last: int
) -> Tensor:
    """(B, last, vocabulary) log p of what follows each of the last tokens of each row."""
    device = aligned.model.device
    batch = {name: value.to(device) for name, value in batch_of(rows, vectors, "left").items()}
    positions = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    logits = aligned.model(
        **batch, position_ids=positions, use_cache=False, logits_to_keep=last
    ).logits
    return logits.float().log_softmax(-1)


def _learned(row: Row, device: torch.device) -> Tensor:
    return torch.tensor(row.ids[row.learned.start : row.learned.stop], device=device)
