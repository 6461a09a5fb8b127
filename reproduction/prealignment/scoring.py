"""What a bridge answers and tells about test videos, as counts of each video."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch

from prealignment.model.layouts import Row, Sample, lay_out
from prealignment.scores.options import SCORES
from prealignment.training.visits import batch_of
from prealignment.weights.alignments import Aligned
from reproduction.prealignment.language import (
    CONTENT,
    ORDER,
    Asked,
    ask,
    by_kind,
    caption_sample,
)
from toyworld.language import ACTIONS, COLOURS, SHAPES, Event

BATCH = 120  # rows of a forward
LONGEST_STORY = 64  # tokens of a description
# The tokenizer's words have blanks before them, and its pieces of several words have none.
TOLD = re.compile(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)}) ?({'|'.join(ACTIONS)})")
Counts = dict[str, list[list[float]]]
"""Metric -> numerators and denominators, a video each."""


@dataclass(frozen=True)
class Case:
    """A test video: what happens in it, and what is asked: what each thing does, and a question of
    each other kind."""

    events: list[Event]
    asked: list[Asked]


def draw_cases(stories: Sequence[list[Event]], seed: int) -> list[Case]:
    """The questions about test videos."""
    cases = []
    for number, events in enumerate(stories):
        rng = random.Random(f"test/{seed}/{number}")
        drawn = [
            question
            for kind, group in by_kind(events).items()
            for question in (group if kind == CONTENT else [rng.choice(group)])
        ]
        cases.append(Case(events, [ask(question, events, rng) for question in drawn]))
    return cases


def score(aligned: Aligned, cases: Sequence[Case], vectors: Sequence[np.ndarray]) -> Counts:
    """The counts of all metrics.

    Each kind of question is the share of right answers by the likelihood of the options, and with
    `letter_` by the likeliest letter; `order` has the kinds of ORDER together. Of the description,
    `recall` is the share of the events that it tells, `told_order` the share of the pairs of told
    events that stand in the right order, `pairs_in_order` that of all pairs of events, and `whole`
    whether it is right word by word.
    """
    counts: Counts = {}

    def add(metric: str, video: int, numerator: float, denominator: float = 1) -> None:
        sides = counts.setdefault(metric, [[0] * len(cases), [0] * len(cases)])
        sides[0][video] += numerator
        sides[1][video] += denominator

    places = [(video, asked) for video, case in enumerate(cases) for asked in case.asked]
    samples = [(asked.choice, vectors[video]) for video, asked in places]
    for name, prefix in (("likelihood", ""), ("letter", "letter_")):
        scores = SCORES[name](aligned, samples, BATCH)
        for (video, asked), values in zip(places, scores, strict=True):
            right = int(np.argmax(values)) == asked.right
            add(f"{prefix}{asked.kind}", video, right)
            if asked.kind in ORDER:
                add(f"{prefix}order", video, right)
    for video, (case, text) in enumerate(zip(cases, describe(aligned, vectors), strict=True)):
        true = [(event.colour, event.shape, event.action) for event in case.events]
        told = [true.index(event) for event in dict.fromkeys(TOLD.findall(text)) if event in true]
        pairs = list(combinations(told, 2))
        add("recall", video, len(told), len(true))
        in_order = sum(a < b for a, b in pairs)
        add("told_order", video, in_order, len(pairs))
        add("pairs_in_order", video, in_order, comb(len(true), 2))
        right_text = str(caption_sample(case.events).answer).replace(" ", "")
        add("whole", video, text.replace(" ", "") == right_text)
    return counts


@torch.inference_mode()
def describe(aligned: Aligned, vectors: Sequence[np.ndarray]) -> list[str]:
    """A greedy description of each video; `prealignment.caption` would end at a full stop."""
    tokenizer, model = aligned.tokenizer, aligned.model
    texts: list[str] = []
    for start in range(0, len(vectors), BATCH):
        part = vectors[start : start + BATCH]
        rows: list[Row] = [lay_out(tokenizer, Sample("caption"), len(own)) for own in part]
        batch: dict[str, Any] = batch_of(rows, part, "left")
        ids = model.generate(
            **batch,
            max_new_tokens=LONGEST_STORY,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        new = ids[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts
