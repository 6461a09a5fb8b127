"""The step that makes the vectors of text videos, their index, and the memory."""

from dataclasses import dataclass

import numpy as np
import orjson

from prealignment.texts.parsing import entries
from prealignment.vectors.files import TEXTS, open_shard
from prealignment.vectors.memory import write_memory
from prealignment.vectors.pickles import read_rows
from prealignment.vectors.rows import fuse, unit
from prealignment.vectors.step import FeatureSettings, VectorsStep
from tools.errors import UserError
from tools.store.arrays import read_arrays
from tools.store.dataset import Dataset
from tools.store.files import file_digest, replace_atomically, write_json
from tools.store.jsonl import Record, Table, dumps, line_at, lines_from

TIDEOS_A_SHARD = 1000  # 10 frames each are 15 MB


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
    made_of = dataset.table("tideo_shards").meta()["fingerprint"]
    write_json(folder / TEXTS, {"tideos": made_of})
    total, [width] = sum(rows for *_, rows in index.values()), widths
    blocks = (unit(read_arrays(shard)[0]["vectors"]) for shard in shards)
    shape, path = (total, width), dataset.memory(clip)
    count = write_memory(
        path, blocks, shape, clip, settings.memory_rows, settings.seed, texts=made_of
    )
    print(f"{len(index)} text videos, {total} vectors of width {width} -> {folder}")
    print(f"memory of {count} vectors -> {path}")
