"""What the steps of both towers of CLIP share: their settings, and the files that they write."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prealignment.vectors.memory import ROWS
from prealignment.vectors.pickles import source_digest
from qa.frames import PROTOCOLS
from tools.cli import (
    positive,
    setting,
)
from tools.errors import UserError
from tools.features.clip import CLIP, Clip, check_clip
from tools.runner.step import Step
from tools.store.arrays import write_arrays
from tools.store.dataset import NAME, Dataset


@dataclass(frozen=True)
class FeatureSettings:
    """See the help of each field.

    Raises:
        UserError: two flags do not go together, or a path is not there.
    """

    clip: str = setting(
        CLIP, "a CLIP checkpoint, by its id on the Hugging Face hub or its folder", group="features"
    )
    split: str | None = setting(
        None, "the videos of this split's questions (default: the text videos)", metavar="NAME"
    )
    fps: int | None = setting(
        None,
        "pictures a second (default: 1); of imported vectors, how many there are a second (default:"
        " as many as the pictures in the questions' folders, such as TVQA's 3, else 1)",
        type=positive,
    )
    frames: int | None = setting(
        None,
        "so many pictures of the part that each question is about (default: --fps of the video)",
        type=positive,
    )
    protocol: str = setting(
        "middles", "which --frames are taken", choices=[p for p in PROTOCOLS if p != "per_second"]
    )
    memory_rows: int = setting(
        ROWS, "most text vectors in the memory, drawn by --seed", type=positive
    )
    seed: int = setting(0, "of the memory's rows")
    source: Path | None = None

    def __post_init__(self) -> None:
        if self.source and not self.source.exists():
            raise UserError(f"--import {self.source}: no such file or folder")
        if self.source and self.frames:
            raise UserError("--frames does not go with --import, whose vectors have a rate: --fps")
        if self.frames and not self.split:
            raise UserError("--frames is for real videos: name a split of questions with --split")

    @property
    def clip_name(self) -> str:
        """What the folder of the vectors is called."""
        name = Path(self.clip).name
        if not NAME.fullmatch(name):
            raise UserError(f"--clip {self.clip}: its last part cannot name a folder")
        return name

    def params(self) -> dict[str, Any]:
        """What shapes the vectors."""
        made_by = "import" if self.source else "clip"
        made = {"source": source_digest(self.source)} if self.source else {}
        taken: dict[str, Any] = {"fps": self.fps or 1}
        if self.frames:
            taken = {"frames": self.frames, "protocol": self.protocol}
        taken = taken if self.split else {}
        return {"clip": self.clip_name, "made_by": made_by, **made, **taken}


@dataclass
class VectorsStep(Step):
    """What the two towers' steps share: CLIP, or the vectors that are imported instead."""

    dataset: Dataset
    settings: FeatureSettings

    def params(self) -> dict[str, Any]:
        return self.settings.params()

    def versions(self) -> dict[str, str]:
        from importlib.metadata import version

        names = () if self.settings.source else ("av", "torch", "transformers")
        return {name: version(name) for name in names}

    def check(self, device: str) -> None:
        """Find the weights, or fetch them once."""
        if not self.settings.source:
            self.folder = check_clip(self.settings.clip)

    def setup(self, device: str, threads: int) -> None:
        if not self.settings.source:
            self.clip = Clip(self.folder, device, threads)
        self.description = {
            key: self.writes[0].meta()[key] for key in ("fingerprint", "build", "params")
        }

    def write(self, file: Path, vectors: np.ndarray, **others: Any) -> None:
        """Write vectors, whose length of 1 half precision keeps to 0.001."""
        arrays: dict[str, np.ndarray] = {"vectors": vectors.astype(np.float16)}
        write_arrays(file, arrays, {**self.description, "unit": "length 1", **others})
