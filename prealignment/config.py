"""What is added to the language model: how many slots, which adapter, how it begins."""

from dataclasses import dataclass

from tools.cli import positive, setting

ADAPTERS = ("prefix", "lora", "none")


@dataclass(frozen=True)
class AlignmentConfig:
    """What is added to the language model; see the help of each field that is a flag.

    Attributes:
        width: numbers of a video's vector.
    """

    width: int
    frames: int = setting(
        10, "slots: the vectors of a video, at most", type=positive, group="what is trained"
    )
    adapter: str = setting(
        "prefix",
        "what is trained beside the projection: prefix (the method's), lora, or none",
        choices=list(ADAPTERS),
    )
    prefix_length: int = setting(50, "prefix: learned keys a layer", type=positive)
    gate2: float = setting(
        -3.5, "prefix: the video's first gate, added to attention scores", type=float
    )
    rank: int = setting(
        12, "lora: its rank (default 12: as many parameters as the prefix of 50)", type=positive
    )
    temporal_std: float = setting(
        0.02,
        "standard deviation of the slots' first vectors (default 0.02, as embeddings have; the"
        " released models began with 1, which drowns the video)",
    )
