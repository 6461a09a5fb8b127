"""A tiny CLIP, which learns from single frames and never what comes first.

A frame is told by its event, as any caption has verbs in it, or by what can be seen in it: the
thing, and where it is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.tiny import clip as tiny_clip
from reproduction.distillation.questions import TYPES
from reproduction.grounding.lessons import training
from tools.features.clip import Clip
from tools.video.sampling import squares_at_rate
from toyworld.language import WORDS, Event
from toyworld.sprites import RGB
from toyworld.stories import RATE, SHOT_SECONDS

SIDE, PATCH = 56, 14  # pixels: 4 x 4 patches
TOWER = {"hidden_size": 96, "intermediate_size": 192}
VISION = {**TOWER, "num_hidden_layers": 3, "image_size": SIDE, "patch_size": PATCH}
BATCH = 192
RATE_OF_LEARNING = 2e-3
PLACED = 0.6  # share of the texts that say where the thing is
NOISE = 0.05  # of pixels, in the processor's units
NEAR = 70  # of a shape's pixels to its colour, RGB
FEWEST_PIXELS, LARGE = 12, 330  # of a shape that is there; of a large one
THIRDS = (0.42, 0.58)  # of the picture, between left, middle and right
SHOT_FRAMES = round(SHOT_SECONDS * RATE)
PLACES = "small large at top centre bottom left middle right"
QUESTIONS = "what happens first last does the do ?"


def words() -> list[str]:
    """What is one token."""
    return list(dict.fromkeys([*WORDS, *PLACES.split(), *QUESTIONS.split(), *TYPES]))


def placed(picture: np.ndarray, event: Event) -> str | None:
    """What a (SIDE, SIDE, 3) uint8 frame shows, without what happens, such as "a red star , large
    at top left ."; None where the thing is nearly out of sight."""
    distance = np.linalg.norm(picture.astype(np.float32) - RGB[event.colour], axis=-1)
    rows = np.argwhere(distance < NEAR)
    if len(rows) < FEWEST_PIXELS:
        return None
    y, x = np.digitize(rows.mean(0) / SIDE, THIRDS)
    size = "large" if len(rows) > LARGE else "small"
    height, side = ("top", "centre", "bottom")[y], ("left", "middle", "right")[x]
    return f"{event.thing} , {size} at {height} {side} ."


def loss_of(logits: Tensor, texts: Sequence[str]) -> Tensor:
    """CLIP's loss of (texts, pictures) logits, where equal texts are right for each other."""
    names = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    numbers = torch.tensor([names[text] for text in texts])
    same = (numbers[:, None] == numbers).float()
    target = same / same.sum(1, keepdim=True)
    rows, columns = logits.log_softmax(1), logits.T.log_softmax(1)
    return -(target * (rows + columns)).sum(1).mean() / 2


def train_clip(
    films: Sequence[tuple[Path, Sequence[Event]]],
    folder: Path,
    steps: int,
    vocabulary: Sequence[str] = (),
) -> None:
    """Build a CLIP in a folder, and train it on the frames of videos whose shots show one event
    each.

    Args:
        vocabulary: what is one token beside `words()`.
    """
    pictures, texts = [], []
    for video, events in films:
        for number, (_, picture) in enumerate(squares_at_rate(video, float(RATE), SIDE)):
            event = events[min(number // SHOT_FRAMES, len(events) - 1)]
            text = placed(picture, event)
            if text:
                pictures.append(picture)
                texts.append((text, event.text))
    tiny_clip.build(
        "clip",
        folder,
        0,
        list(dict.fromkeys([*words(), *vocabulary])),
        1 / 0.07,
        text=TOWER,
        vision=VISION,
    )
    clip = Clip(str(folder))
    model: Any = clip._model.train()
    processor: Any = clip._processor
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    for step in training([model], steps, RATE_OF_LEARNING):
        chosen = rng.choice(len(pictures), BATCH, replace=False)
        shown = torch.from_numpy(np.stack([pictures[place] for place in chosen]))
        pixels = ((shown / 255 - mean) / std).permute(0, 3, 1, 2)
        told = [texts[place][int(rng.random() >= PLACED)] for place in chosen]
        tokens = clip._tokenizer(told, padding=True, return_tensors="pt")
        output = model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=pixels + NOISE * torch.randn(pixels.shape),
        )
        loss = loss_of(output.logits_per_text, told)
        loss.backward()
        if (step + 1) % 50 == 0:
            print(f"CLIP: step {step + 1}, loss {loss.item():.3f}", flush=True)
    model.eval().save_pretrained(folder)
