"""The arms: what a bridge has learned from, and how the vectors of real videos are given to it.

All read with the same language model, which has learned from plain text alone.
"""

from dataclasses import dataclass, field
from typing import Any

STEPS = 300  # of a bridge that begins from nothing
TUNING = 60  # further steps, on labelled videos
RATE, TUNING_RATE = 5e-3, 2e-3
TEST_VIDEOS = 60

# How vectors are given at test; `prealignment.answer` has the first three, and the blind control.
PROJECTED, SHIFTED, RAW, BLIND, TEXT = "projected", "shifted", "raw", "blind", "text"
SHUFFLED, ONE, THREE, THREE_FLOOR = "shuffled", "one", "three", "three_floor"

WORDS = "words"  # no bridge: the language model reads a word for each event


@dataclass(frozen=True)
class Bridge:
    """How a bridge is trained.

    Attributes:
        video: on image vectors of labelled videos, as they are, in the place of text vectors.
        init: the bridge that it goes on from, for TUNING steps; None: from nothing.
        labels: share of the labelled films that it learns from; None: films that are drawn without
            end from the labelled shots.
        steps: where it begins from nothing.
        config: of AlignmentConfig, what differs from the others.
        choices: share of its rows that are answered by a letter.
        default_scale: with a CLIP whose logit scale is learned from the library's start on.
        misplaced: the vectors of every second row stand a position too early, as those of captions
            do in the released code (there by three).
        stale_letters: from the second visit on the right letters are random ones, as the released
            code's are, since it shuffles options in place.
    """

    video: bool = False
    init: str | None = None
    labels: float | None = None
    steps: int = STEPS
    config: dict[str, Any] = field(default_factory=dict)
    choices: float = 0.0
    default_scale: bool = False
    misplaced: bool = False
    stale_letters: bool = False


MAIN = "text"
BRIDGES = {
    MAIN: Bridge(),
    "video": Bridge(video=True),
    "lora": Bridge(config={"adapter": "lora", "rank": 3}),
    "none": Bridge(config={"adapter": "none"}),
    "temporal_1": Bridge(config={"temporal_std": 1.0}),
    "released": Bridge(config={"temporal_std": 1.0, "gate2": -3.5}),
    "default": Bridge(config={"gate2": -3.5}),  # of prealignment.train
    "misplaced": Bridge(misplaced=True),
    "letters": Bridge(choices=0.5),
    "stale_letters": Bridge(choices=0.5, stale_letters=True),
    "default_scale": Bridge(default_scale=True),
    "tuned_10": Bridge(video=True, init=MAIN, labels=0.1),
    "tuned_100": Bridge(video=True, init=MAIN, labels=1.0),
    "nothing_10": Bridge(video=True, labels=0.1, steps=STEPS + TUNING),
    "nothing_100": Bridge(video=True, labels=1.0, steps=STEPS + TUNING),
    # As in the paper, twice the passes of fine-tuning.
    "short_10": Bridge(video=True, labels=0.1, steps=2 * TUNING),
    "short_100": Bridge(video=True, labels=1.0, steps=2 * TUNING),
}


@dataclass(frozen=True)
class Arm:
    """A bridge, and the way in which vectors are given to it."""

    label: str
    bridge: str = MAIN
    way: str = PROJECTED


ARMS = {
    WORDS: Arm("plain text, no bridge", WORDS, TEXT),
    "text": Arm("text vectors", way=TEXT),
    "projected": Arm("projected"),
    "shifted": Arm("shifted", way=SHIFTED),
    "raw": Arm("raw", way=RAW),
    "blind": Arm("blind", way=BLIND),
    "video": Arm("trained on video, raw", "video", RAW),
    "shuffled": Arm("projected, frames shuffled", way=SHUFFLED),
    "one_frame": Arm("projected, one frame", way=ONE),
    "three_frames": Arm("projected, three frames", way=THREE),
    "three_floor": Arm("projected, three frames by floor", way=THREE_FLOOR),
    "lora": Arm("LoRA, projected", "lora"),
    "none": Arm("W and t alone, projected", "none"),
    "temporal_1": Arm("t ~ N(0, 1), projected", "temporal_1"),
    "released": Arm("t ~ N(0, 1), gate2 = -3.5, projected", "released"),
    "default": Arm("gate2 = -3.5, our default, projected", "default"),
    "misplaced": Arm("slots misplaced, projected", "misplaced"),
    "letters": Arm("half choices, projected", "letters"),
    "stale_letters": Arm("half choices of other orders, projected", "stale_letters"),
    "default_projected": Arm("default logit scale, projected", "default_scale"),
    "default_raw": Arm("default logit scale, raw", "default_scale", RAW),
    "tuned_10": Arm("pre-aligned, 10 % of the labels, raw", "tuned_10", RAW),
    "tuned_100": Arm("pre-aligned, all labels, raw", "tuned_100", RAW),
    "nothing_10": Arm("from nothing, 10 % of the labels, raw", "nothing_10", RAW),
    "nothing_100": Arm("from nothing, all labels, raw", "nothing_100", RAW),
    "short_10": Arm("from nothing, twice the passes, 10 % of the labels, raw", "short_10", RAW),
    "short_100": Arm("from nothing, twice the passes, all labels, raw", "short_100", RAW),
}
CORE = (WORDS, "text", "projected", "shifted", "raw", "blind", "shuffled", "video")
