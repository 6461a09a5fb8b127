"""Vectors by CLIP: of text videos, with the memory for projection, and of real videos.

    python -m prealignment.features textvid 8                      # text vectors and the memory
    python -m prealignment.features textvid 8 --import features    # <video_id>.pkl, as released
    python -m prealignment.features textvid 1 --import memory.pkl  # the memory alone
    python -m prealignment.features nextqa 8 --split val           # the videos of these questions
    python -m prealignment.features mvbench 8 --split test --frames 10 --protocol mvbench
    python -m prealignment.features nextqa 1 --split val --import clipvitl14.pth

Without --split, the entries of each frame of anno/tideos.jsonl are read by CLIP's text tower and
become one vector. With it, pictures are read by the image tower: --fps a second of the whole video,
or --frames of the part that a question is about. The vectors are in
data/<dataset>/features/<clip>/. After a Ctrl-C or a crash, run the same command again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from prealignment.memory import ROWS, write_memory
from prealignment.parsing import entries
from prealignment.pickles import read_rows, read_vectors, source_digest
from prealignment.vectors import TEXTS, fuse, open_shard, part_name, unit
from qa.frames import PROTOCOLS, frames_of
from qa.records import Question, read_questions
from tools.cli import (
    add_dataset,
    add_settings,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import UserError
from tools.features.clip import CLIP, Clip, check_clip
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.arrays import read_arrays, write_arrays
from tools.store.dataset import NAME, Dataset, open_dataset
from tools.store.files import file_digest, replace_atomically, write_json
from tools.store.jsonl import Record, Table, dumps, line_at, lines_from
from tools.video.decode import VideoError

TIDEOS_A_SHARD = 1000  # 10 frames each are 15 MB


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
    fps: int = setting(
        1, "pictures a second; of imported vectors, how many there are a second", type=positive
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
        taken: dict[str, Any] = {"fps": self.fps}
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


@dataclass
class TextVectorsStep(VectorsStep):
    """The vectors of the frames of text videos; a record is a shard, some lines of tideos.jsonl."""

    name = "text_vectors"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table("tideo_shards")
        self.writes = (self.dataset.table(f"text_vectors_{self.settings.clip_name}"),)

    def process(self, record: Record) -> Record:
        """Write the shard's file, and add `rows`, {video_id: [first row, rows]}, and `without`,
        {video_id: why it has none}."""
        lines = line_at(self.dataset.table("tideos").path, record["offset"], record["length"])
        vectors: list[np.ndarray] = []
        rows, without, count = {}, {}, 0
        for tideo in map(orjson.loads, lines.splitlines()):
            if "filtered" in tideo:
                continue
            try:
                own = self._vectors(tideo)
                if vectors and own.shape[1] != (width := vectors[0].shape[1]):
                    raise ValueError(f"vectors of width {own.shape[1]}, those before it {width}")
            except (UserError, ValueError) as error:  # of imported files alone
                without[tideo["video_id"]] = str(error)
                continue
            vectors.append(own)
            rows[tideo["video_id"]] = [count, len(own)]
            count += len(own)
        folder = self.dataset.vectors(self.settings.clip_name, "text")
        if vectors:
            self.write(folder / f"{record['video_id']}.safetensors", np.concatenate(vectors))
        return {"video_id": record["video_id"], "rows": rows, "without": without}

    def _vectors(self, tideo: Record) -> np.ndarray:
        """(frames, width); each text video by itself, so that its bits do not hang on others."""
        texts = [entries(frame) for frame in tideo["frames"]]
        if self.settings.source:
            given = read_rows(self.settings.source / f"{tideo['video_id']}.pkl")
        else:
            given = self.clip.embed_texts([text for of_frame in texts for text in of_frame])
        return fuse(given, [len(of_frame) for of_frame in texts])


def write_shards(dataset: Dataset) -> None:
    """Bring the list of shards up to date: which bytes of tideos.jsonl each is made of."""
    tideos, shards = dataset.table("tideos"), dataset.table("tideo_shards")
    if not tideos.path.is_file():
        raise UserError(
            f"{dataset.name} has no text videos: python -m prealignment.tideos writes them; for"
            " real videos, name a split of questions with --split"
        )
    if tideos.parts():
        raise UserError(
            f"{tideos.path.name} is not finished: run the command of its text videos again"
        )
    records: list[Record] = []
    for number, (_, offset, line) in enumerate(lines_from(tideos.path, merged=True)):
        if number % TIDEOS_A_SHARD == 0:
            name = f"{number // TIDEOS_A_SHARD:06d}"
            records.append({"video_id": name, "offset": offset, "length": 0})
        records[-1]["length"] = offset + len(line) - records[-1]["offset"]
    shards.write(records)
    write_json(shards.meta_path, {"fingerprint": file_digest(tideos.path)})


def write_index(dataset: Dataset, settings: FeatureSettings, table: Table) -> None:
    """Write where the vectors of each text video are, and the memory of them."""
    clip = settings.clip_name
    folder = dataset.vectors(clip, "text")
    index: dict[str, tuple[str, int, int]] = {}
    without: dict[str, str] = {}
    for record in table.sorted_records():
        for video_id, (first, rows) in record["rows"].items():
            index[video_id] = (record["video_id"], first, rows)
        without |= record["without"]
    for video_id, why in [*without.items()][:1]:
        print(f"{len(without)} text videos without vectors, such as {video_id}: {why}")
    if not index:
        raise UserError(f"no text video of {dataset.name} has vectors")
    names = dict.fromkeys(shard for shard, *_ in index.values())
    shards = [folder / f"{name}.safetensors" for name in names]
    widths = {open_shard(shard).get_shape()[1]: shard.name for shard in shards}
    if len(widths) > 1:
        where = ", ".join(f"{width} in {name}" for width, name in widths.items())
        raise UserError(f"{folder} has vectors of several widths ({where}): one CLIP has one")
    with replace_atomically(folder / "index.json") as file:
        file.write(dumps(index))
    write_json(folder / TEXTS, {"tideos": dataset.table("tideo_shards").meta()["fingerprint"]})
    total, [width] = sum(rows for *_, rows in index.values()), widths
    blocks = (unit(read_arrays(shard)[0]["vectors"]) for shard in shards)
    count = write_memory(
        dataset.memory(clip), blocks, (total, width), clip, settings.memory_rows, settings.seed
    )
    print(f"{len(index)} text videos, {total} vectors of width {width} -> {folder}")
    print(f"memory of {count} vectors -> {dataset.memory(clip)}")


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
            rate = float(self.settings.fps)
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
        count = self.settings.frames or self.settings.fps
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


def main(argv: Sequence[str] | None = None) -> None:
    """Make or import the vectors of a data set."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument(
        "--import",
        dest="source",
        type=Path,
        metavar="PATH",
        help="take the vectors of others: with --split a dict of tensors by the videos' names, or a"
        " folder of <name>.npy or .pkl; without it a folder of <video_id>.pkl, one row for each"
        " entry of each frame, or the file of a memory",
    )
    add_settings(parser, FeatureSettings)
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, FeatureSettings)
    options = settings_from(args, Options)

    from tools.runner.run import run

    if settings.split:
        step = ImageVectorsStep(dataset, settings)
        run([step], dataset, options, prepare=lambda: write_videos(dataset, settings))
    elif settings.source and settings.source.is_file():
        rows, clip = read_rows(settings.source), settings.clip_name
        path = dataset.memory(clip)
        blocks = [unit(rows)]
        count = write_memory(path, blocks, rows.shape, clip, settings.memory_rows, settings.seed)
        print(f"memory of {count} vectors -> {path}")
    else:
        texts = TextVectorsStep(dataset, settings)
        run([texts], dataset, options, prepare=lambda: write_shards(dataset))
        write_index(dataset, settings, texts.writes[0])


if __name__ == "__main__":
    run_script(main)
