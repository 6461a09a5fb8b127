"""Bridges: trained on the flow of films of one length, asked about films of any."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from grounding.bridge.network import Bridge, BridgeConfig
from grounding.training.bridge import SpanExample, SpanReader
from inference.tiny.blip import wordpiece

STEPS, BATCH = 1500, 32
RATE, WARMUP = 2e-3, 0.05
SIZE: dict[str, Any] = {"layers": 3, "dim": 64, "heads": 4, "pre_norm": True, "dropout": 0.0}


def new_reader(seed: int, words: Sequence[str], **config: Any) -> SpanReader:
    """A bridge with random weights, and a tokenizer that knows these words."""
    tokenizer = wordpiece(words)
    torch.manual_seed(seed)
    return SpanReader(Bridge(BridgeConfig(vocabulary=len(tokenizer), **SIZE | config)), tokenizer)


def train(
    reader: SpanReader,
    examples: Sequence[SpanExample],
    seed: int,
    steps: int,
    batch_size: int = BATCH,
) -> None:
    """Train a bridge on the examples that have a span."""
    rng = np.random.default_rng([seed, 3])
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    order: list[int] = []
    reader.train()
    for _ in range(steps):
        if len(order) < batch_size:
            order = rng.permutation(len(examples)).tolist()
        chosen, order = order[:batch_size], order[batch_size:]
        batch = reader.encode([examples[place] for place in chosen])
        reader(**batch)["loss"].backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    reader.eval()
