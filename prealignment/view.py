"""What the viewer is given by prealignment: the text videos of a data set, the frames of real
videos that have vectors, and the text frames that these are projected on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from prealignment.texts.parsing import entries
from prealignment.vectors.files import TEXTS, check_texts, features_of, text_index
from prealignment.vectors.rows import sampled
from qa.frames import chosen_indices, frames_of
from qa.records import Question
from tools.errors import UserError
from tools.store.arrays import read_description
from tools.store.dataset import Dataset, dataset_names
from tools.store.files import read_json
from tools.store.jsonl import Record
from tools.video.sampling import shown_at

__all__ = ["GOOD", "RealVideo", "TextMemory", "TextVideos", "entries", "memories", "real_videos"]

GOOD = "good"  # of a text video that passed all checks
FRAMES = 10  # vectors of a video, as the method has it


class TextVideos:
    """The text videos of a data set, also while they are being made.

    Attributes:
        ids: their video_ids, sorted.
        reasons: video_id -> why it was filtered.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._index = dataset.table("tideos").index()
        self.ids = sorted(self._index.places)
        self.reasons = self._index.filtered

    def read(self, video_id: str) -> Record:
        """The record of a text video."""
        [(_, line)] = self._index.lines([video_id])
        record: Record = orjson.loads(line)
        return record

    def outcomes(self) -> list[str]:
        """GOOD, and the reasons for which some were filtered."""
        return [GOOD, *sorted(set(self.reasons.values()))]

    def select(self, outcome: str, text: str) -> list[str]:
        """The ids of those with an outcome that have a text somewhere; "" is any."""
        ids = [i for i in self.ids if outcome in ("", self.reasons.get(i, GOOD))]
        if not text:
            return ids
        lines = self._index.lines(ids)
        return [i for i, line in lines if text.lower() in _texts(orjson.loads(line)).lower()]


def _texts(tideo: Record) -> str:
    """All that a text video says, and what it is named."""
    texts = [tideo["video_id"], tideo.get("seed_text", ""), tideo.get("global_video_caption", "")]
    for frame in tideo.get("frames", ()):
        texts += entries(frame)
    for question in tideo.get("QAs", ()):
        texts += [question["question"], *question["options"]]
    return "\n".join(texts)


@dataclass(frozen=True)
class RealVideo:
    """A video, or a part of one, that has image vectors.

    Attributes:
        record: of `question_videos_<split>`.
        vectors: (F, d) float32, at most FRAMES of them, as a model reads them.
        places: (F,) which of all of its vectors they are.
        rate: how many vectors there are a second.
        params: what made them.
    """

    record: Record
    vectors: np.ndarray
    places: np.ndarray
    rate: float
    params: Record

    @classmethod
    def read(cls, dataset: Dataset, clip: str, record: Record) -> "RealVideo":
        """Raises UserError where there are no vectors."""
        vectors = features_of(dataset, f"image:{clip}", record["video_id"])
        about = read_description(_file(dataset, clip, record))
        places = sampled(np.arange(len(vectors)), FRAMES)
        params = about.get("params", {})
        return cls(record, vectors[places], places, about.get("rate", 1.0), params)

    @property
    def is_film(self) -> bool:
        """Whether it is a video file; else it is pictures."""
        return bool(self.record["context"].get("media", "video") == "video")

    def indices(self, times: np.ndarray, rate: float) -> list[int]:
        """Which frames of the file the vectors are of.

        Args:
            times: (n,) seconds at which its frames appear.
            rate: frames a second.
        """
        if "frames" not in self.params:
            moments = (self.places + 0.5) / self.rate
            return [int(index) for index in shown_at(times, moments).clip(0)]
        start, end = self.record["start"] or 0.0, self.record["end"]
        end = min(np.inf if end is None else end, float(times[-1]) + 1 / rate)
        count, protocol = self.params["frames"], self.params["protocol"]
        taken = chosen_indices(times, rate, start, end, count, protocol)
        return [taken[place] for place in self.places]

    def pictures(self, path: Path) -> list[np.ndarray]:
        """The pictures of a folder of them, or the only one, that the vectors are of.

        Raises:
            VideoError: they cannot be read.
        """
        about = {name: self.record[name] for name in ("start", "end", "context")}
        part = Question(self.record["video_id"], "", "", "", **about)
        count = self.params.get("frames") or self.params.get("fps", 1)
        taken, _ = frames_of(part, path, count, self.params.get("protocol", "per_second"))
        return [taken[min(place, len(taken) - 1)] for place in self.places]


def _file(dataset: Dataset, clip: str, record: Record) -> Path:
    return dataset.vectors(clip, "image") / f"{record['video_id']}.safetensors"


def real_videos(dataset: Dataset) -> dict[tuple[str, str], list[Record]]:
    """(split, CLIP) -> the records of `question_videos_<split>` that have image vectors by it."""
    videos = {}
    for split in dataset.question_splits():
        records = [*dataset.table(f"question_videos_{split}").read()]
        for clip in dataset.vector_clips("image"):
            seen = [record for record in records if _file(dataset, clip, record).is_file()]
            if seen:
                videos[split, clip] = seen
    return videos


def memories(data_root: Path, clip: str) -> list[str]:
    """The data sets of text videos that have a memory by a CLIP."""
    names = dataset_names(data_root)
    return [name for name in names if Dataset(name, data_root / name).memory(clip).is_file()]


class TextMemory:
    """A memory, and the text frames that its rows are the vectors of.

    Attributes:
        rows: how many it has.
        unknown: why the texts of its rows are not known; "" where they are.
    """

    def __init__(self, dataset: Dataset, clip: str) -> None:
        """Raises UserError where it cannot be read."""
        from prealignment.vectors.memory import read_memory  # imports PyTorch

        self.memory = read_memory(dataset.memory(clip))
        self.rows = len(self.memory.vectors)
        self.unknown = ""
        folder = dataset.vectors(clip, "text")
        made_of = read_json(folder / TEXTS) or {}
        if self.memory.texts is None or self.memory.texts != made_of.get("tideos"):
            self.unknown = "the memory was imported, or made of other text videos"
            return
        try:
            check_texts(dataset, clip)
        except UserError as error:
            self.unknown = str(error)
            return
        self._videos = TextVideos(dataset)
        index = text_index(folder)
        self._names = list(index)
        self._ends = np.cumsum([rows for *_, rows in index.values()])

    def nearest(self, vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `nearest_rows`: (n, count) weights, cosines and rows, the heaviest first.

        Raises:
            UserError: the vectors are of another width.
        """
        import torch

        from prealignment.vectors.memory import nearest_rows

        weights, cosines, rows = nearest_rows(torch.from_numpy(vectors), self.memory, count)
        return weights.numpy(), cosines.numpy(), rows.numpy()

    def frames(self, rows: Sequence[int]) -> list[tuple[str, int, list[str]]]:
        """Of each row, the text video, the number of the frame from 1, and the texts of its
        entries."""
        assert self.memory.rows is not None
        frames = []
        for place in self.memory.rows[list(rows)].tolist():
            number = int(np.searchsorted(self._ends, place, "right"))
            name = self._names[number]
            frame = place - int(self._ends[number - 1] if number else 0)
            texts = entries(self._videos.read(name)["frames"][frame])
            frames.append((name, frame + 1, texts))
        return frames
