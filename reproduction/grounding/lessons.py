"""What the image model is taught: to say which thing it sees, whatever action a question names.

The model is a real BLIP-2 of 0.4 million weights. First its vision tower learns colours and shapes
by two linear heads that are thrown away, since a released BLIP-2 has a trained vision tower too;
then the rest learns to answer, from one picture or from four of a shot. It knows nothing of time.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import get_wsd_schedule

from grounding.answerer.answerer import Answerer, Example
from grounding.answerer.weights import open_answerer
from inference.tiny.blip import build
from reproduction.grounding.shots import SHOT_FRAMES, Shots
from toyworld.language import ACTIONS, COLOURS, SHAPES, TEMPLATES, WORDS, Event
from toyworld.moments import AFTER, AFTER_SHARE, KINDS, answer_of, ask

VISION_STEPS, ANSWER_STEPS = 500, 700
BATCH = 64
WARMUP, DECAY = 50, 0.4  # steps; the last share of them
RATE = 2e-3
FRAMES = 4  # of a shot, in every second batch


def words() -> list[str]:
    """What of questions and answers is one token: words, with the mark after them and without."""
    text = " ".join(texts[kind] for texts in (TEMPLATES, AFTER) for kind in KINDS)
    return list(dict.fromkeys([*text.split(), *re.findall(r"\w+", text), *WORDS]))


def teach(
    shots: Shots, folder: Path, seed: int, scale: float = 1.0, family: str = "blip2_t5"
) -> Answerer:
    """Build and train an image model; `folder` then holds its checkpoint.

    Args:
        scale: of the numbers of steps.
        family: one of `inference.tiny.blip.FAMILIES`.
    """
    answerer = open_answerer(str(build(family, folder, seed, words())))
    rng = np.random.default_rng([seed, 1])
    _teach_vision(answerer, shots, rng, round(VISION_STEPS * scale))
    _teach_answers(answerer, shots, rng, round(ANSWER_STEPS * scale))
    answerer.model.save_pretrained(folder)
    return open_answerer(str(folder))


def _teach_vision(answerer: Answerer, shots: Shots, rng: np.random.Generator, steps: int) -> None:
    tower = answerer.model.vision_model
    heads = nn.Linear(tower.config.hidden_size, len(COLOURS) + len(SHAPES))
    tower.requires_grad_(True)
    right = torch.tensor(
        [(COLOURS.index(event.colour), SHAPES.index(event.shape)) for event in shots.events]
    )
    for _ in training([tower, heads], steps):
        chosen = rng.integers(len(shots.events), size=2 * BATCH)
        pictures = shots.pictures[chosen, rng.integers(SHOT_FRAMES, size=2 * BATCH)]
        seen = tower(pixel_values=pixels(answerer, pictures)).last_hidden_state.mean(1)
        colours, shapes = heads(seen).split([len(COLOURS), len(SHAPES)], 1)
        colour, shape = right[chosen].T
        loss = nn.functional.cross_entropy(colours, colour)
        (loss + nn.functional.cross_entropy(shapes, shape)).backward()
    tower.requires_grad_(False)


def _teach_answers(answerer: Answerer, shots: Shots, rng: np.random.Generator, steps: int) -> None:
    model = answerer.model
    parts = [model.qformer, model.language_projection, model.language_model, model.query_tokens]
    for part in parts:
        part.requires_grad_(True)
    for step in training(parts, steps):
        width = FRAMES if step % 2 else 1
        chosen = rng.integers(len(shots.events), size=BATCH // (2 if step % 2 else 1))
        frames = rng.integers(SHOT_FRAMES, size=(len(chosen), width))
        pictures = shots.pictures[chosen[:, None], frames]
        events = [shots.events[shot] for shot in chosen]
        texts = [draw_question(event, rng) for event in events]
        batch = encode(answerer, pictures, [text for text, _ in texts], [a for _, a in texts])
        answerer.loss(batch).backward()


def draw_question(event: Event, rng: np.random.Generator) -> tuple[str, str]:
    """A question of a random kind about a random action and thing, and what a picture of the event
    answers."""
    kind, action = str(rng.choice([*KINDS], p=[*KINDS.values()])), str(rng.choice(ACTIONS))
    other = Event(str(rng.choice(COLOURS)), str(rng.choice(SHAPES)), action)
    return ask(kind, action, bool(rng.random() < AFTER_SHARE), other), answer_of(kind, event)


def pixels(answerer: Answerer, pictures: np.ndarray) -> Tensor:
    """(..., 56, 56, 3) uint8 -> (all of them, 3, 56, 56) as the processor makes them, at once."""
    processor: Any = answerer.processor.image_processor
    flat = torch.from_numpy(pictures.reshape(-1, *pictures.shape[-3:])).permute(0, 3, 1, 2)
    mean, std = (
        torch.tensor(numbers).view(3, 1, 1)
        for numbers in (processor.image_mean, processor.image_std)
    )
    return (flat / 255 - mean) / std


def encode(
    answerer: Answerer,
    pictures: np.ndarray,
    questions: Sequence[str],
    answers: Sequence[str | None] | None = None,
) -> dict[str, Tensor]:
    """A batch of `Answerer.encode`; pictures: (rows, frames, 56, 56, 3) uint8."""
    rows = zip(questions, answers or [None] * len(questions), strict=True)
    batch = answerer.encode([Example((), question, answer) for question, answer in rows])
    batch["widths"] = torch.full((len(questions),), pictures.shape[1])
    return batch | {"pixel_values": pixels(answerer, pictures)}


def training(
    parts: Sequence[nn.Module | nn.Parameter], steps: int, rate: float = RATE
) -> Iterator[int]:
    """Yield each step, whose body calls backward; then step the weights of these parts that are
    not frozen."""
    weights = [
        weight
        for part in parts
        for weight in (part.parameters() if isinstance(part, nn.Module) else [part])
        if weight.requires_grad
    ]
    optimizer = torch.optim.AdamW(weights, rate, betas=(0.9, 0.98), weight_decay=0.02)
    decay = round(DECAY * steps)
    schedule = get_wsd_schedule(optimizer, WARMUP, decay, num_training_steps=steps)
    for step in range(steps):
        yield step
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
