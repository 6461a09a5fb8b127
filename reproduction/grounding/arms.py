"""The arms: from which frames a question is answered, and which bridge has chosen them.

All bridges are trained on films of 8 shots alone, all arms choose 4 frames, and the same image
model answers from them.
"""

from dataclasses import dataclass, field
from typing import Any

NFRAME = 4
LENGTHS = (8, 16, 32, 64, 128)  # shots; the first is that of training
TEST_FILMS = 100  # of each length
GROUNDED, SIMILARITY = "grounded", "similarity"
TUNED = ("refined", "staged")  # of which the image model is trained too
# Arm -> spans of the bridge that films with two moments are answered from; 0: uniform frames, and
# None: the spans that the released code draws.
TWO_MOMENTS: dict[str, int | None] = {
    "two_uniform": 0,
    "two_one_span": 1,
    "two_spans": 2,
    "two_drawn": None,
}
# Arm that chooses in a way of its own -> its bridge, where this is not that of GROUNDED.
BRIDGE_OF = {"released": "released", "raw_flow": "clip_max"}
# Arm -> the arm whose frames a second image model answers from.
SECOND_ANSWERER = {"second_uniform": "uniform", "second_grounded": GROUNDED}
# Of labels that are kept; two shots of one colour in a row outdo a moment of one shot by 0.5.
MIN_CONFIDENCE = 0.75
CORE = ("uniform", "random", "oracle", GROUNDED, "shuffled")
ARMS = {  # what they are called in tables
    "oracle": "frames of the true moment",
    GROUNDED: "grounded",
    "uniform": "uniform frames",
    "random": "random frames",
    "shuffled": "question about another action",
    SIMILARITY: "frames most similar to the question",
    "oracle_labels": "true labels",
    "labels_default": "labels: the command's defaults",
    "labels_top": "all labels: the best frames alone",
    "labels_mean": "all labels: mean subtracted",
    "labels_min": "all labels: minimum subtracted",
    "labels_none": "all labels: nothing subtracted",
    "rope": "RoPE without a window",
    "learned": "learned positions",
    "none": "no positions",
    "reference": "the released code's positions",
    "flows_64": "flow thinned to 64",
    "candidates_32": "frames from 32 of the film",
    "drawn_spans": "spans drawn as released",
    "clip_max": "flow over the film's largest, as released",
    "raw_flow": "the same in training, pixels at test",
    "released": "all of this as released",
    "features": "features of pictures instead of flow",
    "differences": "differences of pictures instead of flow",
    "two_uniform": "two moments: uniform frames",
    "two_one_span": "two moments: the best span",
    "two_spans": "two moments: the two best spans",
    "two_drawn": "two moments: spans drawn as released",
    "second_uniform": "InstructBLIP, uniform frames",
    "second_grounded": "InstructBLIP, grounded",
    "refined": "self-refined, few steps",
    "staged": "staged, as few steps",
}


@dataclass(frozen=True)
class BridgeArm:
    """How a bridge is trained.

    Attributes:
        labels: the baseline of its labels, or "truth".
        min_confidence: of its labels; the public code takes them all.
        config: of BridgeConfig, what differs from the others.
        reads: "flow", or what of the pictures (`reproduction.grounding.pictures`).
    """

    labels: str = "top"
    min_confidence: float = MIN_CONFIDENCE
    config: dict[str, Any] = field(default_factory=dict)
    reads: str = "flow"


def _with_positions(positions: str) -> BridgeArm:
    return BridgeArm(config={"positions": positions, "max_positions": 1024})


BRIDGES = {
    GROUNDED: BridgeArm(),
    "oracle_labels": BridgeArm("truth"),
    "labels_default": BridgeArm("mean", 0.5),  # of grounding.labels
    **{f"labels_{base}": BridgeArm(base, 0.0) for base in ("top", "mean", "min", "none")},
    **{name: _with_positions(name) for name in ("rope", "learned", "none", "reference")},
    "clip_max": BridgeArm(config={"normalise": "clip_max"}),
    "released": BridgeArm(
        "min",
        0.0,
        {"positions": "reference", "max_positions": 1024, "normalise": "clip_max"},
    ),
    **{kind: BridgeArm(reads=kind) for kind in ("features", "differences")},
    # Of which one is chosen on validation films; a shot has 4 tokens.
    **{f"window_{tokens}": BridgeArm(config={"window": tokens}) for tokens in (6, 12, 24)},
}
WINDOWS = tuple(name for name in BRIDGES if name.startswith("window_"))
