"""Where vectors are: those of a text video, of a video, and of what a question is about."""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from prealignment.vectors.rows import unit
from qa.records import Question
from tools.errors import UserError
from tools.store.arrays import read_arrays, read_description
from tools.store.dataset import Dataset
from tools.store.files import file_digest, read_json

TEXTS = "texts.json"  # beside the index of text vectors: the digest of the texts they were made of


def clip_of(dataset: Dataset, kind: str) -> tuple[str, str]:
    """The tower and the CLIP of a kind of vectors: "text" or "image", or with the name of the CLIP
    behind it, as in "image:clip-vit-large-patch14".

    Raises:
        UserError: the name is missing, and there are vectors of no CLIP or of several.
    """
    tower, _, clip = kind.partition(":")
    clips = [clip] if clip else dataset.vector_clips(tower)
    if len(clips) != 1:
        there = ", ".join(f"{tower}:{name}" for name in clips) or "none"
        raise UserError(
            f"{dataset.name} has {tower} vectors of {len(clips)} CLIPs ({there}): name one, or run"
            f" python -m prealignment.features {dataset.name} WORLD_SIZE"
        )
    return tower, clips[0]


def features_of(dataset: Dataset, kind: str, video_id: str) -> np.ndarray:
    """The vectors of a text video or of a video: (T, d) float32 rows of length 1.

    Args:
        kind: see `clip_of`.

    Raises:
        UserError: there are none.
    """
    tower, clip = clip_of(dataset, kind)
    folder = dataset.vectors(clip, tower)
    if tower == "text":
        shard, first, rows = text_index(folder).get(video_id, (None, 0, 0))
        if shard is not None:
            return unit(open_shard(folder / f"{shard}.safetensors")[first : first + rows])
    elif (file := folder / f"{video_id}.safetensors").is_file():
        return unit(read_arrays(file)[0]["vectors"])
    raise UserError(
        f"{dataset.name} has no {tower} vectors of {video_id} by {clip}: run python -m"
        f" prealignment.features {dataset.name} WORLD_SIZE{' --split SPLIT' * (tower == 'image')}"
    )


def check_texts(dataset: Dataset, clip: str) -> None:
    """Raise UserError where the text vectors by a CLIP are not known to be those of the data set's
    text videos: their names alone may be the same."""
    made_of = read_json(dataset.vectors(clip, "text") / TEXTS) or {}
    if made_of.get("tideos") != file_digest(dataset.table("tideos").path):
        raise UserError(
            f"the text vectors of {dataset.name} by {clip} are of other text videos than those of"
            f" tideos.jsonl: run python -m prealignment.features {dataset.name} WORLD_SIZE again"
        )


def part_name(video_id: str, start: float | None, end: float | None) -> str:
    """What the vectors of a part of a video are named by; those of all of it by its video_id."""
    return video_id if start is None else f"{video_id}@{start:g}-{end:g}"


def vectors_name(dataset: Dataset, clip: str, question: Question) -> str:
    """What the image vectors that a question is about are named by.

    They are those of its part of the video where the pictures of its split were last taken by
    --frames, and those of the whole video where they were taken by --fps: files of both kinds may
    lie side by side. Of a split that no run was for, those of the part count if there are some.
    """
    part = part_name(question.unit, question.start, question.end)
    taken = dataset.table(f"image_vectors_{question.split}_{clip}").meta().get("params")
    if taken:
        return part if "frames" in taken else question.unit
    file = dataset.vectors(clip, "image") / f"{part}.safetensors"
    return part if file.is_file() else question.unit


def question_vectors(dataset: Dataset, kind: str, question: Question) -> np.ndarray:
    """The image vectors of what a question is about: (T, d), of frames that were taken for its part
    of the video, or those rows of the whole video that its part covers, at least one.

    Raises:
        UserError: there are none.
    """
    tower, clip = clip_of(dataset, kind)
    name = vectors_name(dataset, clip, question)
    vectors = features_of(dataset, kind, name)
    if question.start is None or question.end is None or name != question.unit:
        return vectors
    rate = read_description(dataset.vectors(clip, tower) / f"{name}.safetensors")["rate"]
    first = min(int(question.start * rate), len(vectors) - 1)
    return vectors[first : max(first + 1, math.ceil(question.end * rate))]


def text_index(folder: Path) -> dict[str, tuple[str, int, int]]:
    """{text video: [shard, first row, rows]} of a folder of vectors; {} where there are none."""
    file = folder / "index.json"
    return _read_index(file, file.stat().st_mtime_ns) if file.is_file() else {}


def open_shard(file: Path) -> Any:
    """The vectors of a shard, of which only the rows that are asked for are read."""
    return _open_shard(file, file.stat().st_mtime_ns)


@lru_cache(4)
def _read_index(file: Path, changed: int) -> dict[str, tuple[str, int, int]]:
    """{video_id: [shard, first row, rows]}"""
    index: dict[str, tuple[str, int, int]] = orjson.loads(file.read_bytes())
    return index


@lru_cache(1024)
def _open_shard(file: Path, changed: int) -> Any:
    from safetensors import safe_open

    return safe_open(file, framework="numpy").get_slice("vectors")
