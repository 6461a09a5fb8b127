"""The gap between CLIP's pictures and texts, and what bridges it, without a language model.

A tiny CLIP learns pictures of 24 things and sentences about them for a few seconds, at the logit
scale where CLIP's own training ends, which leaves the two apart. A linear reader then learns to
tell the things by text vectors alone, and is tested on vectors of new pictures.
"""

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from inference.tiny import clip as tiny_clip
from prealignment.vectors.memory import Memory, project, shift
from tools.features.clip import Clip
from toyworld.language import COLOURS, SHAPES, Event

RGB = {
    "red": (220, 40, 40),
    "green": (40, 180, 60),
    "blue": (50, 80, 230),
    "yellow": (240, 220, 50),
    "purple": (150, 50, 180),
    "orange": (250, 140, 30),
}
CORNERS = {"circle": 24, "square": 4, "triangle": 3, "star": 10}
THINGS = [Event(colour, shape, "") for colour in COLOURS for shape in SHAPES]
BEFORE = ("", "first ", "then ", "finally ", "next ", "after that , ")
BEHIND = ("", " grows", " turns", " moves up", " moves left")
STYLES = [f"{before}{{}}{behind} ." for before in BEFORE for behind in BEHIND]
STEPS = 150
PICTURES = 8  # of each thing, in the test


def draw(thing, rng):
    """A thing somewhere before a gray wall."""
    picture = np.full((28, 28, 3), rng.integers(0, 120), np.uint8)
    corners = np.arange(CORNERS[thing.shape])
    angles = corners / len(corners) * 2 * np.pi + rng.uniform(-0.05, 0.05)
    angles += np.pi / 4 if thing.shape == "square" else -np.pi / 2
    radius = rng.uniform(6, 9) * np.where(thing.shape == "star", 1 - 0.55 * (corners % 2), 1)
    place = rng.uniform(10, 18, 2)
    points = place + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    cv2.fillPoly(picture, [np.round(points * 16).astype(np.int32)], RGB[thing.colour], 8, 4)
    return picture


def train(clip, rng):
    """Learn which sentence goes with which picture, with the logit scale as it is."""
    model = clip._model.train()
    model.logit_scale.requires_grad_(False)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, weight_decay=0.05)
    for step in range(STEPS):
        rate = 1.5e-3 * min(1, (step + 1) / 20, (STEPS - step) / (0.4 * STEPS))
        optimizer.param_groups[0]["lr"] = rate
        pictures = clip._processor([draw(thing, rng) for thing in THINGS], return_tensors="pt")
        texts = [STYLES[rng.integers(len(STYLES))].format(thing.thing) for thing in THINGS]
        tokens = clip._tokenizer(texts, padding=True, return_tensors="pt")
        loss = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pictures["pixel_values"],
            return_loss=True,
        ).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    model.eval()


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """(text vectors, the things they are of, image vectors, the things they are of)"""
    words = " ".join(STYLES).replace("{}", " ").split()
    words += [word for thing in THINGS for word in thing.thing.split()]
    folder = tmp_path_factory.mktemp("clip")
    clip = Clip(str(tiny_clip.build("clip", folder, words=[*dict.fromkeys(words)])))
    rng = np.random.default_rng(0)
    train(clip, rng)
    texts = clip.embed_texts([style.format(t.thing) for t in THINGS for style in STYLES])
    pictures = clip.embed([draw(thing, rng) for thing in THINGS for _ in range(PICTURES)])
    things = torch.arange(len(THINGS))
    return (
        torch.from_numpy(texts),
        things.repeat_interleave(len(STYLES)),
        torch.from_numpy(pictures),
        things.repeat_interleave(PICTURES),
    )


@pytest.fixture(scope="module")
def share_right(space):
    """How many of the vectors a reader of text vectors reads rightly."""
    texts, things, *_ = space
    torch.manual_seed(0)
    reader = torch.nn.Linear(texts.shape[1], len(THINGS))
    optimizer = torch.optim.AdamW(reader.parameters(), lr=0.05)
    for _ in range(250):
        batch = torch.randint(len(texts), (256,))
        optimizer.zero_grad()
        cross_entropy(10 * reader(texts[batch]), things[batch]).backward()
        optimizer.step()
    return lambda vectors, right: (reader(vectors).argmax(dim=1) == right).float().mean().item()


def test_projection_and_shift_bridge_the_gap_that_clip_leaves(space, share_right):
    texts, things, pictures, shown = space
    memory = Memory(texts, texts.mean(dim=0), "tiny")
    gap = (pictures.mean(dim=0) - memory.mean).norm().item()
    retrieval = (things[(pictures @ texts.T).argmax(dim=1)] == shown).float().mean().item()
    raw = share_right(pictures, shown)
    shifted = share_right(shift(pictures, pictures.mean(dim=0), memory), shown)
    projected = share_right(project(pictures, memory), shown)
    nearest = share_right(project(pictures, memory, top=16), shown)
    figures = (gap, retrieval, raw, shifted, projected, nearest)
    print(
        "gap {:.2f}, retrieval {:.2f}, raw {:.2f}, shifted {:.2f}, {:.2f}, {:.2f}".format(*figures)
    )
    assert share_right(texts, things) > 0.9
    assert gap > 0.5
    assert raw < retrieval - 0.15  # the pictures hold more than the reader can read
    assert shifted > raw + 0.1
    assert projected > raw + 0.15
    assert nearest > raw + 0.15


def test_a_soft_projection_gives_all_pictures_one_direction(space, share_right):
    texts, _, pictures, shown = space
    memory = Memory(texts, texts.mean(dim=0), "tiny")
    soft, sharp = project(pictures, memory, beta=1.0), project(pictures, memory, beta=100.0)
    assert (soft @ soft.T).min() > 0.9
    assert (sharp @ sharp.T).min() < 0.7
    assert share_right(soft, shown) < share_right(sharp, shown)
