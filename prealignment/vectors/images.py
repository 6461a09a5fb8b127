"""The step that makes the vectors of real videos, or of the parts that questions are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prealignment.vectors.files import part_name
from prealignment.vectors.pickles import read_rows, read_vectors
from prealignment.vectors.rows import unit
from prealignment.vectors.step import FeatureSettings, VectorsStep
from qa.frames import frames_of
from qa.records import Question, read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.video.decode import VideoError


@dataclass
class ImageVectorsStep(VectorsStep):
    """The vectors of pictures of a video, or of the part of one that questions are about."""

    name = "image_vectors"

    def __post_init__(self) -> None:
        split, clip = self.settings.split, self.settings.clip_name
        self.reads = self.dataset.table(f"question_videos_{split}")
        self.writes = (self.dataset.table(f"image_vectors_{split}_{clip}"),)

    def setup(self, device: str, threads: int) -> None:
        super().setup(device, threads)
        source = self.settings.source
        self.given = read_vectors(source) if source and source.is_file() else None

    def process(self, record: Record) -> Record:
        """Write the vectors' file, and add how many rows it has, and how many a second."""
        if self.settings.source:
            vectors = unit(self._imported(record["names"]))
            pictures = record["context"].get("frames", {})
            rate = float(self.settings.fps or pictures.get("fps", 1))
        else:
            vectors, rate = self._seen(record)
        folder = self.dataset.vectors(self.settings.clip_name, "image")
        self.write(folder / f"{record['video_id']}.safetensors", vectors, rate=rate)
        return {"video_id": record["video_id"], "rows": len(vectors), "rate": rate}

    def _imported(self, names: Sequence[str]) -> np.ndarray:
        """The vectors under the first of the names that has some."""
        source = self.settings.source
        assert source
        for name in names:
            if isinstance(self.given, dict) and name in self.given:
                return np.asarray(self.given[name])
            for file in (source / f"{name}.npy", source / f"{name}.pkl"):
                if file.is_file():
                    return read_rows(file)
        raise VideoError(f"no vectors: {names[0]} is not in {source.name}")

    def _seen(self, record: Record) -> tuple[np.ndarray, float]:
        about = {name: record[name] for name in ("start", "end", "context")}
        part = Question(record["video_id"], self.dataset.name, "", "", **about)
        count = self.settings.frames or self.settings.fps or 1
        protocol = self.settings.protocol if self.settings.frames else "per_second"
        pictures, rate = frames_of(part, Path(record["path"]), count, protocol)
        return self.clip.embed(pictures), rate


def write_videos(dataset: Dataset, settings: FeatureSettings) -> None:
    """List what the questions of a split are about, each video or part once."""
    assert settings.split
    folder, records = dataset.video_dir(), {}
    for question in read_questions(dataset, settings.split):
        name = question.video or question.context.get("missing_video")
        if name is None:
            continue
        start, end = (question.start, question.end) if settings.frames else (None, None)
        key = part_name(question.video_id or question.id, start, end)
        context = {k: v for k, v in question.context.items() if k in ("media", "frames")}
        records[key] = {
            "video_id": key,
            "path": str(folder / name) if folder else name,
            "names": list(dict.fromkeys([Path(name).stem, name, Path(name).name, key])),
            **{"start": start, "end": end, "context": context},
        }
    if not records:
        raise UserError(f"the questions of {dataset.name}/{settings.split} are about no videos")
    dataset.table(f"question_videos_{settings.split}").write(records.values())
