"""Settings that are flags: of what is added to the language model, and of captions."""

from dataclasses import dataclass
from pathlib import Path

from tools.cli import positive, setting
from tools.errors import UserError

ADAPTERS = ("prefix", "lora", "none")


@dataclass(frozen=True)
class AlignmentConfig:
    """What is added to the language model; see the help of each field that is a flag.

    Attributes:
        width: numbers of a video's vector.
    """

    width: int
    frames: int = setting(
        10,
        "slots: the vectors of a video, at most",
        type=positive,
        group="what is trained, of a new alignment",
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


@dataclass(frozen=True)
class CaptionSettings:
    """See the help of each field.

    Raises:
        UserError: --top is given without --memory.
    """

    checkpoint: Path = setting(
        Path("exp/topa/run"), "the folder of an alignment", type=Path, metavar="DIR"
    )
    memory: str | None = setting(
        None,
        "project on the memory of this data set of text videos, or on this file (default: raw"
        " vectors)",
        metavar="DATASET",
    )
    top: int | None = setting(
        None,
        "project on the N nearest rows of the memory alone (default: on all of them)",
        type=positive,
        metavar="N",
    )
    llm: str | None = setting(
        None, "the language model, where it is elsewhere now", metavar="MODEL"
    )
    split: str = setting("test", "whose references the captions are scored by", metavar="NAME")
    question: str | None = setting(
        None,
        "ask this, as an open question (default: the instruction of descriptions)",
        metavar="TEXT",
    )
    begin: str = setting("", "how the caption begins, which is not part of it (default: nothing)")
    max_new_tokens: int = setting(10, "longest caption, tokens", type=positive)
    name: str | None = setting(
        None, "name of the captions' files (default: that of the checkpoint's folder)"
    )

    def __post_init__(self) -> None:
        check_top(self.top, self.memory)


def check_top(top: int | None, memory: str | None) -> None:
    """Raise UserError where a number of rows is given, and no memory that has them."""
    if top and not memory:
        raise UserError("--top is for the projection on a memory: name one with --memory")
