"""Bridges from CLIP's vectors into the language model, trained by the package's own trainer."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainingArguments

from prealignment.model.config import AlignmentConfig
from prealignment.model.layouts import Row, Sample
from prealignment.training.trainer import AlignmentTrainer
from prealignment.training.visits import Examples, Item, Shares
from prealignment.weights.alignments import Aligned, Settings, open_aligned
from qa.options import LETTERS
from reproduction.prealignment.arms import RATE, TUNING_RATE, Bridge
from reproduction.prealignment.language import FRAMES, ask, by_kind, caption_sample
from toyworld.language import Event

ROWS = 32  # of a step
CAPTIONS = 0.5  # share of the rows; of what is neither a choice nor a caption, open questions
LONGEST = 150  # tokens
CONFIG = {"frames": FRAMES, "prefix_length": 10, "gate2": 0.0}
WEIGHT_DECAY = 0.0


def record_of(events: Sequence[Event], name: str, most: int, rng: random.Random) -> dict[str, Any]:
    """A story as a text video: its description, and questions, of most of the kinds one each."""
    groups = by_kind(events)
    kinds = rng.sample(sorted(groups), min(most, len(groups)))
    return {
        "video_id": name,
        "global_video_caption": caption_sample(events).answer,
        "QAs": [ask(rng.choice(groups[kind]), events, rng).record for kind in kinds],
    }


class StaleExamples(Examples):
    """Examples whose letters are right at the first visit alone: the released code shuffles options
    in place, and keeps the letter that was right before."""

    def draw(self, item: Item, visit: int, rng: random.Random) -> Sample:
        """See Examples."""
        sample = super().draw(item, visit, rng)
        if sample.task == "choice" and visit:
            return replace(sample, answer=rng.choice(LETTERS[: len(sample.options)]))
        return sample


class MisplacedExamples(Examples):
    """Examples of which every second row has its vectors a position too early: over the whole
    instruction, which is one token of this language model, and with BOS behind them."""

    def collate(self, examples: Sequence[tuple[Row, np.ndarray] | None]) -> dict[str, Tensor]:
        """See Examples."""
        batch = super().collate(examples)
        batch["video_mask"][1::2] = batch["video_mask"][1::2].roll(-1, dims=1)
        return batch


def new_bridge(llm: Path, width: int, bridge: Bridge, seed: int) -> Aligned:
    """The language model with an untrained bridge."""
    config = AlignmentConfig(width, **{**CONFIG, **bridge.config})
    return open_aligned(Settings(str(llm), config, "image" if bridge.video else "text"), seed=seed)


def train(
    aligned: Aligned,
    bridge: Bridge,
    records: Sequence[Item],
    vectors_of: Callable[[Item], np.ndarray],
    steps: int,
    seed: int,
    folder: Path,
) -> float:
    """Train a bridge; returns the mean loss of the last steps."""
    kind: type[Examples] = Examples
    if bridge.misplaced:
        kind = MisplacedExamples
    elif bridge.stale_letters:
        kind = StaleExamples
    examples = kind(
        records,
        vectors_of,
        aligned.tokenizer,
        Shares(bridge.choices, CAPTIONS * (1 - bridge.choices)),
        steps * ROWS,
        FRAMES,
        LONGEST,
        seed,
    )
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=ROWS,
        num_train_epochs=1,
        learning_rate=TUNING_RATE if bridge.init else RATE,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        max_grad_norm=1.0,
        use_cpu=True,
        seed=seed,
        save_strategy="no",
        logging_steps=min(50, steps),
        label_names=["labels"],
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )
    model = aligned.model
    trainer = AlignmentTrainer(model, aligned.settings, WEIGHT_DECAY, arguments, examples)
    trainer.train()
    model.eval()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return round(float(losses[-1]), 4)


@torch.no_grad()
def without_bridge(llm: Path) -> Aligned:
    """The language model, whose slots take its own words' vectors as they are."""
    config = AlignmentConfig(width=_width(llm), frames=FRAMES, adapter="none")
    aligned = open_aligned(Settings(str(llm), config, "words"))
    aligned.model.visual_proj.weight.data = torch.eye(config.width)
    aligned.model.temporal_emb.weight.data.zero_()
    return replace(aligned, model=aligned.model.eval())


def _width(llm: Path) -> int:
    from transformers import LlamaConfig

    return int(LlamaConfig.from_pretrained(llm).hidden_size)
