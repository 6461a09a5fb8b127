"""A tiny CLIP of each seed: it learns shots and captions, then makes the vectors of both.

At the logit scale where CLIP's own training ends, pictures and texts stay apart; at the library's
start, a scale that is learned, training closes the gap, and there is nothing for TOPA to bridge.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.tiny import clip as tiny_clip
from prealignment.vectors.memory import Memory
from prealignment.vectors.rows import fuse, unit
from reproduction.grounding.lessons import training
from reproduction.prealignment.footage import PAIR, SHOT_PICTURES, Footage
from reproduction.prealignment.language import EVENTS, STYLES, caption
from tools.features.clip import Clip
from toyworld.language import Event

# Pictures are read in 4 patches of 14 pixels, each of both pictures of a pair.
VISION = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "patch_size": 14,
    "num_channels": 6,
}
TEXT = {"hidden_size": 96, "intermediate_size": 192}
STEPS = 600
BATCH = 96  # different events
RATE = 1e-3
OBJECTS = 0.1  # share of the texts that name a thing alone, as the objects of a textual frame do
GAPS = (4, 7)  # pictures from the first of a pair to the second, at training
FIXED, LEARNED = 100.0, 1 / 0.07  # logit scales: where CLIP's training ends; where it begins
ROWS = 6000  # of the memory
MIRRORED = {"moves left": "moves right", "moves right": "moves left"}


def words() -> list[str]:
    """What is one token."""
    texts = [caption(event, style) for event in EVENTS for style in range(len(STYLES))]
    return list(dict.fromkeys(" ".join(texts).split()))


def pixels(pictures: np.ndarray) -> Tensor:
    """(n, 2, SIDE, SIDE, 3) uint8 -> (n, 6, SIDE, SIDE)"""
    values = torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).flatten(1, 2)
    return (values / 255 - 0.5) / 0.25


def object_of(event: Event) -> str:
    """The object of a textual frame."""
    return f"{event.thing} ."


def open_clip(footage: Footage, folder: Path, seed: int, scale: float, steps: int) -> Clip:
    """The trained CLIP of a folder; it is built and trained where it is not there.

    Args:
        scale: its logit scale: FIXED, or LEARNED, from which it learns.
    """
    if (folder / "trained").is_file():
        return Clip(str(folder))
    tiny_clip.build("clip", folder, seed, words(), scale, vision=VISION, text=TEXT)
    clip = Clip(str(folder))
    model: Any = clip._model.train()
    model.logit_scale.requires_grad_(scale == LEARNED)
    shots: dict[Event, list[tuple[int, bool]]] = {}
    for number, event in enumerate(footage.events):
        mirrored = Event(event.colour, event.shape, MIRRORED.get(event.action, event.action))
        shots.setdefault(event, []).append((number, False))
        shots.setdefault(mirrored, []).append((number, True))
    known, rng = sorted(shots, key=str), random.Random(f"clip/{seed}")
    for _ in training([model], steps, RATE):
        events = rng.sample(known, min(BATCH, len(known)))
        pairs = np.stack([_draw_pair(footage, *rng.choice(shots[e]), rng) for e in events])
        texts = [
            object_of(event)
            if rng.random() < OBJECTS
            else caption(event, rng.randrange(len(STYLES)))
            for event in events
        ]
        tokens = clip._tokenizer(texts, padding=True, return_tensors="pt")
        model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pixels(pairs),
            return_loss=True,
        ).loss.backward()
    model.eval().save_pretrained(folder)
    (folder / "trained").touch()
    return clip


def _draw_pair(footage: Footage, shot: int, mirror: bool, rng: random.Random) -> np.ndarray:
    gap = rng.randint(*GAPS)
    first = rng.randrange(SHOT_PICTURES - gap)
    pair = footage.pictures[shot, [first, first + gap]]
    pair = np.clip(pair * rng.uniform(0.9, 1.1), 0, 255).astype(np.uint8)
    return pair[:, :, ::-1] if mirror else pair


@torch.inference_mode()
def image_vectors(clip: Clip, footage: Footage) -> np.ndarray:
    """(shots, width) float32 unit vectors of the frames."""
    parts = pixels(footage.pictures[:, PAIR]).split(256)
    model: Any = clip._model
    return unit(torch.cat([model.get_image_features(pixel_values=part) for part in parts]).numpy())


class Texts:
    """The vectors of many textual frames; the memory for projection holds all of them.

    Attributes:
        vectors: (ROWS, width) float32 unit vectors.
        rows: event -> which of them tell it, each in a style of its own.
    """

    def __init__(self, clip: Clip, seed: int, count: int = ROWS) -> None:
        rng = random.Random(f"texts/{seed}")
        told = [EVENTS[number % len(EVENTS)] for number in range(count)]
        captions = [caption(event, rng.randrange(len(STYLES))) for event in told]
        objects = dict(zip(EVENTS, clip.embed_texts([*map(object_of, EVENTS)]), strict=True))
        embedded = np.concatenate([clip.embed_texts(part) for part in _parts(captions, 500)])
        entries = np.stack([embedded, np.stack([objects[event] for event in told])], axis=1)
        self.vectors = fuse(entries.reshape(2 * count, -1), [2] * count)
        self.rows: dict[Event, list[int]] = {}
        for row, event in enumerate(told):
            self.rows.setdefault(event, []).append(row)

    def story(self, events: Sequence[Event], rng: random.Random) -> np.ndarray:
        """(T, width) vectors of a story, told in styles that are drawn."""
        return self.vectors[[rng.choice(self.rows[event]) for event in events]]

    def memory(self) -> Memory:
        """The memory."""
        vectors = torch.from_numpy(self.vectors)
        return Memory(vectors, vectors.mean(dim=0), "tiny")


def _parts(texts: Sequence[str], size: int) -> list[Sequence[str]]:
    return [texts[start : start + size] for start in range(0, len(texts), size)]


def gap_figures(vectors: np.ndarray, events: Sequence[Event], texts: Texts) -> dict[str, float]:
    """How far pictures and texts are apart (the norm of the difference of their means), and how
    often the nearest row of the memory tells the event that is shown."""
    shown = texts.vectors[[row for event in events for row in texts.rows[event]]]
    gap = np.linalg.norm(vectors.mean(0) - shown.mean(0))
    event_of = {row: event for event, rows in texts.rows.items() for row in rows}
    nearest = (vectors @ texts.vectors.T).argmax(1).tolist()
    right = [event_of[row] == event for row, event in zip(nearest, events, strict=True)]
    return {"gap": round(float(gap), 3), "retrieval": round(float(np.mean(right)), 3)}
