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


# Colours of one brightness, so that optical flow does not see the cuts between them.
TINTS = {"red": (1.5, 0.5, 0.5), "green": (0.5, 1.01, 0.5)}
FILM_RATE = 8
# Name -> (tint, whether it moves, seconds) one after the other.
FILMS = {
    "late": (("green", False, 5), ("red", True, 2), ("green", False, 1)),
    "early": (("green", False, 1), ("red", True, 2), ("green", False, 5)),
}


def film(parts):
    """The frames of a film: a texture that moves to the right where it moves, and stands still
    elsewhere."""
    texture = np.random.default_rng(0).integers(40, 160, (8, 12))
    texture = np.kron(texture, np.ones((8, 8)))
    shift = 0
    for tint, moves, seconds in parts:
        for _ in range(seconds * FILM_RATE):
            shift += moves
            picture = np.roll(texture, shift, 1)[..., None] * TINTS[tint]
            yield picture.clip(0, 255).astype(np.uint8)


@pytest.fixture
def films(dataset, make_video, tmp_path):
    """A data set of FILMS with their optical flow; what moves, and when, is red: "late" at 5 to 7 s
    of 8, "early" at 1 to 3 s. "unread" has no flow, "gone" is not there at all."""
    from qa.records import Question, write_questions
    from tools.features.flow import Dis, video_flow
    from tools.store.arrays import write_arrays

    folder = tmp_path / "videos"
    params = {"extractor": "dis", "flow_fps": 2.0, "grid": 14}
    for name, parts in {**FILMS, "unread": FILMS["late"]}.items():
        video = make_video(folder / f"{name}.mp4", frames=film(parts), size=(96, 64), rate=8)
        if name in FILMS:
            flow = video_flow(video, Dis())
            about = {"params": params, "max_speed": flow.max_speed}
            arrays = {"flow": flow.speed, "times": flow.times}
            write_arrays(dataset.flow("dis", name), arrays, about)
    dataset.remember_video_dir(folder)

    def question(key, video, **others):
        where = {"video_id": video, "video": f"{video}.mp4", "dataset": "mine", "split": "test"}
        return Question(key, question="what colour moves", answer="red", **{**where, **others})

    truth = {"media": "video", "spans": [[5.0, 7.0]]}
    questions = [
        question("q1", "late", context=truth),
        question("q2", "early", context={**truth, "spans": [[1.0, 3.0]]}),
        question("q3", "late", start=0.0, end=4.0),
        question("q4", "late", choices=["a blue scene", "a red scene"], answer_index=1),
        question("q5", "gone"),
    ]
    write_questions(dataset.questions("test"), questions)
    return dataset


@pytest.fixture
def watcher(tmp_path):
    """The folder of a bridge that points at what moves to the right, whatever is asked."""
    import torch

    from grounding.bridge import Bridge, BridgeConfig
    from grounding.sampler import Sampler
    from inference.tiny.blip import wordpiece

    tokenizer = wordpiece(["what", "moves"])
    size = {"layers": 0, "dim": 4, "heads": 2, "vocabulary": len(tokenizer)}
    bridge = Bridge(BridgeConfig(positions="none", **size))
    with torch.no_grad():
        for parameter in (bridge.tokens.projection.weight, bridge.head.weight, bridge.head.bias):
            parameter.zero_()
        bridge.tokens.weights.fill_(1 / 49)
        bridge.tokens.projection.weight[0, :4] = 1 / 4  # the speed to the right
        bridge.tokens.projection.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.0]))
        bridge.head.weight[:, 0] = 20.0
    folder = tmp_path / "watcher"
    Sampler(bridge, tokenizer).save(folder)
    return folder
