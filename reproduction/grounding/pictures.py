"""What a bridge reads of pictures in the place of their flow: a token for each pair of them."""

from dataclasses import dataclass

import numpy as np
import torch

from grounding.answerer.answerer import Answerer
from reproduction.grounding.films import Films
from reproduction.grounding.lessons import pixels
from reproduction.grounding.shots import STEP, Shots
from tools.features.flow import GRID, Flow

FEATURES, DIFFERENCES = "features", "differences"
CELLS = 3 * GRID**2  # numbers of a difference


@dataclass(frozen=True)
class Pictures(Flow):
    """What is read of a film's pictures; `speed` is (L, numbers) float32, and has no unit."""

    def normalised(self, how: str = "fixed") -> np.ndarray:
        """The tokens as they are."""
        return self.speed


def with_pictures(films: Films, seen: np.ndarray, kind: str) -> Films:
    """The films with `Pictures` as their flow.

    Args:
        seen: (shots, 4, numbers) of each picture that flow is computed from.
        kind: FEATURES: of the first picture of each pair; DIFFERENCES: second less first.
    """
    read = []
    for film, flow in zip(films.films, films.flow, strict=True):
        pictures = seen[list(film.shots)].reshape(-1, seen.shape[-1])
        tokens = pictures[:-1] if kind == FEATURES else np.diff(pictures, axis=0)
        read.append(Pictures(tokens, flow.times, flow.max_speed))
    return Films(films.shots, films.films, read)


def picture_numbers(kind: str, answerer: Answerer, shots: Shots) -> np.ndarray:
    """(shots, 4, numbers) float32 of the pictures that flow is computed from: all that the image
    model's vision tower makes of each, its class and its patches; or the mean RGB of each cell of
    the flow's grid, 0 to 1."""
    if kind == FEATURES:
        return _features(answerer, shots.pictures[:, ::STEP])
    count, four, side = shots.sampled.shape[:3]
    cells = shots.sampled.reshape(count, four, GRID, side // GRID, GRID, side // GRID, 3)
    return (cells.mean((3, 5), dtype=np.float32) / 255).reshape(count, four, CELLS)


@torch.inference_mode()
def _features(answerer: Answerer, pictures: np.ndarray) -> np.ndarray:
    tower = answerer.model.vision_model
    shots = [
        tower(pixel_values=pixels(answerer, part)).last_hidden_state.flatten(1) for part in pictures
    ]
    return torch.stack(shots).numpy()
