"""How likely a model finds a given answer: log p(answer | video, prompt).

One forward pass a batch of a loaded `HuggingFaceCaptioner`, with its processor, chat template and
batches. The answer's tokens stand where the model would generate them, and the last one is the
token that ends an answer, as in training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from inference.captioner import Request
from inference.engines.huggingface import HuggingFaceCaptioner, guessed_tokens

Row = tuple[Request, list[int]]
"""A request, and the token ids of the answer to it."""


@dataclass(frozen=True)
class LogLikelihood:
    """log p of an answer in nats, summed over its tokens, and how many these are."""

    total: float
    tokens: int

    @property
    def mean(self) -> float:
        """log p a token, nats."""
        return self.total / self.tokens


def log_likelihoods(
    captioner: HuggingFaceCaptioner, answered: Sequence[tuple[Request, str]]
) -> Iterator[tuple[int, LogLikelihood | Exception]]:
    """Yield (position in `answered`, log p of its answer or the exception in its place), in any
    order.

    Args:
        captioner: loaded.
        answered: requests, each with the answer whose likelihood is computed.
    """
    tokenizer = captioner.tokenizer
    # As in training an answer is tokenized apart from the prompt, whose last token then merges with
    # nothing; and it is done here, since two threads cannot use a tokenizer at once.
    rows = [
        (request, [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id])
        for request, text in answered
    ]
    # The longest first: where memory is too small for a batch, that shows at once.
    order = sorted(range(len(rows)), key=lambda position: -_length(rows[position]))
    in_order = [rows[position] for position in order]
    prepare, run = partial(_inputs, captioner), partial(_forward, captioner)
    for place, log_p in captioner.in_batches(in_order, _length, prepare, run):
        yield order[place], log_p


def _length(row: Row) -> int:
    request, tokens = row
    return guessed_tokens(request) + len(tokens)


def _inputs(captioner: HuggingFaceCaptioner, batch: Sequence[Row]) -> dict[str, Any]:
    """The network's inputs of prompts and the answers behind them, left-padded."""
    inputs = captioner.inputs([request for request, _ in batch])
    prompts = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    rows = [
        [*ids[mask.bool()].tolist(), *tokens]
        for (ids, mask), (_, tokens) in zip(prompts, batch, strict=True)
    ]
    return {**inputs, **captioner.tokenizer.pad({"input_ids": rows}, return_tensors="pt")}


def _forward(
    captioner: HuggingFaceCaptioner, inputs: dict[str, Any], batch: Sequence[Row]
) -> list[LogLikelihood]:
    """The log-likelihoods of the answers, whose tokens are the last of each row."""
    import torch

    inputs = captioner.on_device(inputs)
    lengths = [len(tokens) for _, tokens in batch]
    longest = max(lengths)
    # All the logits of a batch are gigabytes where the vocabulary is large.
    keep = {"logits_to_keep": longest + 1} if "logits_to_keep" in captioner.accepted else {}
    with torch.inference_mode():
        # The last logits are of what would follow the answer.
        logits = captioner.network(**inputs, use_cache=False, **keep).logits[:, -longest - 1 : -1]
        likelihoods = []
        for row, ids, length in zip(logits, inputs["input_ids"], lengths, strict=True):
            log_p = torch.log_softmax(row[-length:].float(), dim=-1)
            total = log_p.gather(1, ids[-length:, None]).double().sum()
            likelihoods.append(LogLikelihood(total.item(), length))
    return likelihoods
