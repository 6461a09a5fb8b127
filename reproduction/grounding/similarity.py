"""Frames that look most like the question: the image model's own vision tower and a bag of words,
matched by a contrastive loss as CLIP's towers are (arXiv 2103.00020)."""

import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grounding.answerer.answerer import Answerer
from reproduction.grounding.lessons import pixels, words
from reproduction.grounding.shots import SHOT_FRAMES, Shots

STEPS, BATCH, RATE = 250, 128, 5e-3
TEMPERATURE = 0.07
WIDTH = 64


class Similarity(nn.Module):
    """How well pictures and texts match, -1 to 1."""

    def __init__(self, answerer: Answerer) -> None:
        super().__init__()
        self._answerer = [answerer]  # in a list: its weights are not this module's
        self.ids = {word: number for number, word in enumerate(words())}
        self.words = nn.EmbeddingBag(len(self.ids), WIDTH)
        self.of_text = nn.Linear(WIDTH, WIDTH)
        self.of_picture = nn.Linear(answerer.model.config.vision_config.hidden_size, WIDTH)

    def forward(self, pictures: np.ndarray, texts: Sequence[str]) -> Tensor:
        """(pictures, texts) of (n, 56, 56, 3) uint8 pictures."""
        [answerer] = self._answerer
        with torch.no_grad():
            seen = answerer.model.vision_model(pixel_values=pixels(answerer, pictures))
        rows = [torch.tensor([self.ids[w] for w in re.findall(r"\w+", text)]) for text in texts]
        starts = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
        text = self.of_text(self.words(torch.cat(rows), starts))
        picture = self.of_picture(seen.last_hidden_state.mean(1))
        return F.normalize(picture, dim=-1) @ F.normalize(text, dim=-1).T


def teach_similarity(answerer: Answerer, shots: Shots, seed: int) -> Similarity:
    """Match single pictures of shots with what happens in them."""
    torch.manual_seed(seed)
    model, rng = Similarity(answerer), np.random.default_rng([seed, 2])
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    right = torch.arange(BATCH)
    for _ in range(STEPS):
        chosen = rng.integers(len(shots.events), size=BATCH)
        pictures = shots.pictures[chosen, rng.integers(SHOT_FRAMES, size=BATCH)]
        scores = model(pictures, [shots.events[shot].text for shot in chosen]) / TEMPERATURE
        loss = F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
