"""How likely a model finds a given answer: log p(answer | video, prompt).

`log_likelihoods` takes requests with an answer each, `option_likelihoods` requests with several
answers, whose video and prompt are then computed once. Both run a loaded `HuggingFaceCaptioner`,
with its processor, chat template and batches. The answer's tokens stand where the model would
generate them, and the last one is the token that ends an answer, as in training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from inference.captioner import Request
from inference.engines.huggingface import HuggingFaceCaptioner, guessed_tokens

Row = tuple[Request, list[int]]
"""A request, and the token ids of the answer to it."""
Choice = tuple[Request, list[list[int]]]
"""A request, and the token ids of each answer that it has to choose from."""


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
    rows = [(request, captioner.answer_tokens(text)) for request, text in answered]
    # The longest first: where memory is too small for a batch, that shows at once.
    order = sorted(range(len(rows)), key=lambda position: -_length(rows[position]))
    in_order = [rows[position] for position in order]
    prepare, run = partial(_inputs, captioner), partial(_forward, captioner)
    for place, log_p in captioner.in_batches(in_order, _length, prepare, run):
        yield order[place], log_p


def option_likelihoods(
    captioner: HuggingFaceCaptioner, asked: Iterable[tuple[Request, Sequence[str]]]
) -> Iterator[tuple[int, list[LogLikelihood] | Exception]]:
    """Yield (position in `asked`, log p of each of its options or the exception in their place), in
    any order.

    The values are those of `log_likelihoods`. Where the model's family lets a cache be repeated
    (`shared_prefix` in models.yaml), video and prompt go through the network once for all options;
    elsewhere each option takes a whole forward pass.

    Args:
        captioner: loaded.
        asked: requests, each with one option or more; taken one by one from another thread, so that
            whoever gives them may decode videos meanwhile.
    """
    tasks = (
        (request, [captioner.answer_tokens(option) for option in options])
        for request, options in asked
    )
    prepare, run = _prefix_inputs, _forward_prefix
    if not captioner.model.shared_prefix:
        prepare, run = _whole_inputs, _forward_whole
    yield from captioner.in_batches(
        tasks, _options_length, partial(prepare, captioner), partial(run, captioner)
    )


def _options_length(choice: Choice) -> int:
    request, options = choice
    return guessed_tokens(request) + sum(map(len, options))


def _prefix_inputs(captioner: HuggingFaceCaptioner, batch: Sequence[Choice]) -> dict[str, Any]:
    return captioner.inputs([request for request, _ in batch])


def _forward_prefix(
    captioner: HuggingFaceCaptioner, inputs: dict[str, Any], batch: Sequence[Choice]
) -> list[list[LogLikelihood]]:
    """The prompts of a batch, padded on the left, then all their options, padded on the right."""
    import torch

    inputs = captioner.on_device(inputs)
    options = [tokens for _, texts in batch for tokens in texts]
    owners = [row for row, (_, texts) in enumerate(batch) for _ in texts]
    keep = {"logits_to_keep": 1} if "logits_to_keep" in captioner.accepted else {}
    with torch.inference_mode():
        begun = captioner.network(**inputs, use_cache=True, **keep)
        totals = continued_log_p(
            captioner.network, begun, inputs["attention_mask"], options, owners
        )
    likelihoods = (
        LogLikelihood(total, len(tokens)) for total, tokens in zip(totals, options, strict=True)
    )
    return [[next(likelihoods) for _ in texts] for _, texts in batch]


def continued_log_p(
    network: Any,
    begun: Any,
    prompt: Any,
    options: Sequence[list[int]],
    owners: Sequence[int],
    more: Callable[[int, int], dict[str, Any]] | None = None,
) -> list[float]:
    """log p in nats of answers that continue prompts which a network has read.

    Args:
        begun: what the network gave for the prompts; its cache is used up.
        prompt: (prompts, length) attention mask of the prompts, which are padded on the left.
        options: token ids of each answer, one or more.
        owners: the prompt that each answer continues.
        more: (answers, tokens) -> further inputs of the network for so many, where it needs some.

    Raises:
        ValueError: an answer has no tokens.
    """
    import torch

    if not all(options):
        raise ValueError("an option has no tokens")
    device, length = prompt.device, prompt.shape[1]
    row_of = torch.tensor(owners, device=device)
    rows = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokens) for tokens in options], True)
    lengths = torch.tensor([len(tokens) for tokens in options])
    live = (torch.arange(rows.shape[1]) < lengths[:, None]).to(device)
    rows = rows.to(device)
    first = torch.log_softmax(begun.logits[:, -1].float(), dim=-1)[row_of]
    log_p = [first.gather(1, rows[:, :1])]
    if rows.shape[1] > 1:
        begun.past_key_values.batch_select_indices(row_of)
        place = torch.arange(length, length + rows.shape[1] - 1, device=device)
        given = more(len(rows), len(place)) if more else {}
        # A visual token's place in a Qwen is not its number in the row, so what follows a video
        # stands elsewhere too. Its own cache of this shift knows one row a prompt.
        if (shift := getattr(begun, "rope_deltas", None)) is not None:
            given["position_ids"] = (place + shift.view(-1, 1)[row_of]).expand(3, -1, -1)
        logits = network(
            input_ids=rows[:, :-1],
            attention_mask=torch.cat([prompt[row_of], live[:, :-1].to(prompt.dtype)], dim=1),
            past_key_values=begun.past_key_values,
            cache_position=place,
            use_cache=True,
            **given,
        ).logits
        # Row by row: the logits of all rows in float32 are gigabytes.
        following = [
            torch.log_softmax(row.float(), dim=-1).gather(1, ids[1:, None])[:, 0]
            for row, ids in zip(logits, rows, strict=True)
        ]
        log_p.append(torch.stack(following))
    totals: list[float] = torch.where(live, torch.cat(log_p, dim=1), 0).double().sum(dim=1).tolist()
    return totals


def _whole_inputs(captioner: HuggingFaceCaptioner, batch: Sequence[Choice]) -> dict[str, Any]:
    return _inputs(captioner, _rows(batch))


def _forward_whole(
    captioner: HuggingFaceCaptioner, inputs: dict[str, Any], batch: Sequence[Choice]
) -> list[list[LogLikelihood]]:
    likelihoods = iter(_forward(captioner, inputs, _rows(batch)))
    return [[next(likelihoods) for _ in texts] for _, texts in batch]


def _rows(batch: Sequence[Choice]) -> list[Row]:
    return [(request, tokens) for request, texts in batch for tokens in texts]


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
