"""The vectors that a model reads: those of text videos to train, of real ones to answer."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.checkpoints import digest, sampled_digest
from prealignment.training.visits import Item
from prealignment.vectors.files import (
    check_texts,
    clip_of,
    features_of,
    part_name,
    question_vectors,
    text_index,
    vectors_name,
)
from prealignment.vectors.memory import Memory, project, read_memory, shift
from prealignment.vectors.rows import sampled
from prealignment.weights.alignments import llm_folder, read_settings
from qa.records import Question
from tools.errors import UserError
from tools.store.arrays import read_description
from tools.store.dataset import Dataset, open_dataset

ROWS_AT_ONCE = 1000  # vectors that are projected in one pass over the memory
VectorsOf = Callable[[Question], np.ndarray]


@dataclass(frozen=True)
class Source:
    """The vectors of a data set by one tower of one CLIP.

    Attributes:
        tower: "text" or "image".
    """

    dataset: Dataset
    tower: str
    clip: str

    @property
    def kind(self) -> str:
        """As `features_of` takes it."""
        return f"{self.tower}:{self.clip}"

    def read(self, item: Item) -> np.ndarray:
        """(T, width) float32 of a text video, or of what a question is about; raises UserError
        where there are none."""
        if isinstance(item, Question):
            return question_vectors(self.dataset, self.kind, item)
        return features_of(self.dataset, self.kind, item["video_id"])

    def width(self, items: Sequence[Item]) -> int:
        """Numbers of a vector; raises UserError where no item has any."""
        error = None
        for item in items:
            try:
                return self.read(item).shape[1]
            except UserError as missing:
                error = error or missing
        raise error or UserError(f"{self.dataset.name} has nothing to learn from")

    def check_width(self, items: Sequence[Item], width: int) -> None:
        """See that the vectors have as many numbers as a model reads.

        Raises:
            UserError: they have not, or no item has any.
        """
        if (own := self.width(items)) != width:
            raise UserError(
                f"the {self.tower} vectors of {self.dataset.name} by {self.clip} have {own}"
                f" numbers, and the model reads {width}: they are of another CLIP than they say"
            )

    def covered(self, items: Sequence[Any]) -> list[Any]:
        """The text videos, or the questions about videos, that have vectors; says how many have
        none.

        Raises:
            UserError: none has.
        """
        if self.tower == "text":
            index = text_index(self.dataset.vectors(self.clip, "text"))
            covered = [item for item in items if item["video_id"] in index]
        else:
            covered = [item for item in items if self._file(item).is_file()]
        missing = len(items) - len(covered)
        if items and not covered:
            self.read(items[0])  # its message says what to run
        if missing:
            which = "text videos have no" if self.tower == "text" else "questions' videos have no"
            print(f"{missing} of {len(items)} {which} vectors")
        return covered

    def runs(self, questions: Iterable[Question]) -> list[str]:
        """The fingerprints of the runs that made the image vectors of questions; they stay the same
        where such a run adds videos."""
        files = {self._file(question) for question in questions}
        made_by = (read_description(file).get("fingerprint") for file in files)
        return sorted({run for run in made_by if run})

    def _file(self, question: Question) -> Path:
        name = vectors_name(self.dataset, self.clip, question)
        return self.dataset.vectors(self.clip, self.tower) / f"{name}.safetensors"


def open_source(dataset: Dataset, kind: str) -> Source:
    """Look vectors up.

    Args:
        kind: "text" or "image", with ":" and the name of the CLIP where there are several.

    Raises:
        UserError: there are none, or text vectors are of other texts than the data set has now.
    """
    source = Source(dataset, *clip_of(dataset, kind))
    if source.tower == "text":
        check_texts(dataset, source.clip)
    return source


def real_source(dataset: Dataset, trained_on: str) -> Source:
    """The image vectors of a data set by the CLIP that a model was trained on.

    Args:
        trained_on: the kind of vectors of the training.

    Raises:
        UserError: there are none by that CLIP.
    """
    clip = trained_on.partition(":")[2]
    clips = dataset.vector_clips("image")
    if clip not in clips:
        there = ", ".join(clips) or "none"
        raise UserError(
            f"the model reads vectors by {clip}, and {dataset.name} has image vectors by {there}:"
            f" run python -m prealignment.features {dataset.name} WORLD_SIZE"
        )
    return Source(dataset, "image", clip)


def memory_of(name: str | None, clip: str, data_root: Path) -> Path | None:
    """The memory of a data set of text videos, or the file of one.

    Args:
        name: of the data set, or the path of the file; None: none is used.
    """
    if name is None or Path(name).is_file():
        return None if name is None else Path(name)
    return open_dataset(name, data_root).memory(clip)


def open_memory(path: Path | None, clip: str) -> Memory | None:
    """Map a memory; None where none is used.

    Raises:
        UserError: it is missing, or is of another CLIP than `clip`.
    """
    if path is None:
        return None
    memory = read_memory(path)
    if memory.clip != clip:
        raise UserError(
            f"{path} holds text vectors by {memory.clip}, and the videos' are by {clip}: both must"
            " come from one CLIP"
        )
    return memory


def shaped_by(
    checkpoint: Path,
    llm: str | None,
    source: Source,
    questions: Iterable[Question],
    memory_path: Path | None,
) -> dict[str, Any]:
    """What shapes all that an aligned model says of the videos of questions, by its content."""
    return {
        "alignment": digest(str(checkpoint)),
        "llm": digest(str(llm_folder(read_settings(checkpoint, llm).llm))),
        "vectors": source.kind,
        "vectors_made_by": source.runs(questions),
        "memory": memory_path and sampled_digest([memory_path]),
    }


def projected(
    videos: Sequence[np.ndarray], memory: Memory, device: str, top: int | None = None
) -> list[np.ndarray]:
    """The (F, width) vectors of videos as means of the text vectors that are near to them.

    Args:
        top: of the so many nearest ones; None: of all of them.
    """
    rows = torch.from_numpy(np.concatenate(videos))
    # Many at a time: reading the memory is what costs.
    parts = [project(block.to(device), memory, top=top).cpu() for block in rows.split(ROWS_AT_ONCE)]
    ends = np.cumsum([len(vectors) for vectors in videos])
    return np.split(torch.cat(parts).numpy(), ends[:-1])


def ways_of(
    source: Source,
    questions: Sequence[Question],
    frames: int,
    memory: Memory | None,
    device: str,
    top: int | None = None,
) -> dict[str, VectorsOf]:
    """{way: the vectors of a question}: projected on the memory, shifted by the difference of the
    means, raw; without a memory, raw alone.

    Each part of a video is read and projected once. The mean of the image vectors is that of these
    questions' videos; no answer is needed for it.

    Args:
        top: project on the so many nearest rows alone; None: on all of them.
    """

    def part(question: Question) -> str:
        return part_name(question.unit, question.start, question.end)

    parts = {part(question): question for question in questions}
    raw = {name: sampled(source.read(question), frames) for name, question in parts.items()}
    tables = {"raw": raw}
    if memory:
        mean = torch.from_numpy(np.concatenate(list(raw.values())).mean(0))
        tables = {
            "projected": dict(
                zip(raw, projected(list(raw.values()), memory, device, top), strict=True)
            ),
            "shifted": {
                name: shift(torch.from_numpy(rows), mean, memory).numpy()
                for name, rows in raw.items()
            },
            "raw": raw,
        }
    return {
        way: lambda question, table=table: table[part(question)]  # type: ignore[misc]
        for way, table in tables.items()
    }
