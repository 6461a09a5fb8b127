"""Tiny answerers, and pictures that they can tell apart."""

from functools import cache

import numpy as np
import pytest

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (40, 60, 230),
    "yellow": (240, 220, 40),
    "purple": (150, 40, 170),
    "orange": (250, 140, 20),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """family of inference.tiny.blip -> the folder of a tiny checkpoint; read it only."""
    from inference.tiny import blip

    @cache
    def folder_of(family):
        folder = tmp_path_factory.mktemp("tiny_base") / family
        return blip.build(
            family, folder, words=[*COLOURS, "a", "ball", "what", "colour", "is", "it"]
        )

    return folder_of


@pytest.fixture
def open_tiny(tiny_base):
    """(family, **settings) -> a new answerer."""
    from grounding.answerer_weights import open_answerer

    return lambda family, **settings: open_answerer(str(tiny_base(family)), **settings)


@pytest.fixture(scope="session")
def colours():
    """Names of colours, as the tiny checkpoints know them."""
    return list(COLOURS)


@pytest.fixture(scope="session")
def ball():
    """colour or None, noise's seed -> a gray picture, with a ball of the colour."""

    def draw(colour, seed=0):
        picture = 128 + np.random.default_rng(seed).integers(-8, 8, (56, 56, 3))
        if colour:
            down, right = np.mgrid[:56, :56]
            picture[np.hypot(down - 28, right - 28) < 20] = COLOURS[colour]
        return picture.astype(np.uint8)

    return draw
