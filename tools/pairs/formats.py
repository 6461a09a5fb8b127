"""What stage 4 writes: preference pairs, or their chosen sides alone, as trainers read them.

swift         JSON array: ms-swift's custom dataset format (3.7 to 4.6)
trl           JSON lines: messages and `images` for TRL, which takes no video; its path stands there
llamafactory  JSON array in LLaMA-Factory's sharegpt format, and dataset_info.json beside it
parquet       one table for `datasets.load_dataset`, with where each pair comes from
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tools.errors import UserError
from tools.pairs.swift_rows import swift_row
from tools.store.files import json_array, read_json, replace_atomically, write_json
from tools.store.jsonl import dumps

SUFFIXES = {"swift": ".json", "trl": ".jsonl", "llamafactory": ".json", "parquet": ".parquet"}
DATASET_INFO = "dataset_info.json"  # where LLaMA-Factory looks up its data sets
ROWS_AT_ONCE = 10_000  # of a Parquet file, in memory


@dataclass(frozen=True, slots=True)
class Row:
    """One row of training.

    Attributes:
        question: without media tags.
        chosen, rejected: the answers; rejected is None in fine-tuning rows.
        video: its path.
        images: paths of frames of the video in time order, where the format wants pictures.
        dataset, video_id, config: what it was made of; config names the order of the clips behind
            the rejected side, and is empty in fine-tuning rows.
    """

    question: str
    chosen: str
    rejected: str | None
    video: str
    images: tuple[str, ...]
    dataset: str
    video_id: str
    config: str


def message(role: str, text: str) -> dict[str, str]:
    """A message of a chat."""
    return {"role": role, "content": text}


def trl_row(row: Row) -> dict[str, Any]:
    """As TRL's DPOTrainer or SFTTrainer reads it once `images` are cast to pictures."""
    media = {"images": row.images, "video": row.video}
    question = [message("user", row.question)]
    if row.rejected is None:
        return {"messages": [*question, message("assistant", row.chosen)], **media}
    sides = {"chosen": row.chosen, "rejected": row.rejected}
    answers = {side: [message("assistant", text)] for side, text in sides.items()}
    return {"prompt": question, **answers, **media}


def llamafactory_row(row: Row) -> dict[str, Any]:
    """As LLaMA-Factory reads it, in the sharegpt format with its default names of roles."""
    question = {"from": "human", "value": f"<video>{row.question}"}
    chosen = {"from": "gpt", "value": row.chosen}
    if row.rejected is None:
        return {"conversations": [question, chosen], "videos": [row.video]}
    rejected = {"from": "gpt", "value": row.rejected}
    return {
        "conversations": [question],
        "chosen": chosen,
        "rejected": rejected,
        "videos": [row.video],
    }


def dataset_info(file: Path, has_pairs: bool) -> dict[str, Any]:
    """LLaMA-Factory's entry of a file of rows."""
    columns = {"messages": "conversations", "videos": "videos"}
    sides = {"chosen": "chosen", "rejected": "rejected"} if has_pairs else {}
    ranking = {"ranking": True} if has_pairs else {}
    return {
        "file_name": file.name,
        "formatting": "sharegpt",
        **ranking,
        "columns": {**columns, **sides},
    }


def named_files(folder: Path) -> dict[str, Any]:
    """The entries of LLaMA-Factory's dataset_info.json in a folder, none where there is no such.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    entries = read_json(folder / DATASET_INFO)
    if not isinstance(entries, dict | None):
        raise UserError(f"{folder / DATASET_INFO} is no JSON object: fix or delete it")
    return entries or {}


@contextmanager
def row_writer(path: Path, file_format: str, has_pairs: bool) -> Iterator[Callable[[Row], None]]:
    """A function that adds a row to a file, which is at `path` once the block has ended well."""
    if file_format == "parquet":
        with _parquet(path, has_pairs) as write:
            yield write
    elif file_format == "trl":
        with replace_atomically(path) as file:

            def write_row(row: Row) -> None:
                file.write(dumps(trl_row(row)) + b"\n")

            yield write_row
    else:
        with json_array(path) as write_line:
            if file_format == "swift":
                yield lambda row: write_line(
                    dumps(swift_row(row.question, row.chosen, row.rejected, row.video))
                )
            else:
                yield lambda row: write_line(dumps(llamafactory_row(row)))
    if file_format == "llamafactory":
        entry = {path.stem: dataset_info(path, has_pairs)}
        write_json(path.parent / DATASET_INFO, {**named_files(path.parent), **entry})


@contextmanager
def _parquet(path: Path, has_pairs: bool) -> Iterator[Callable[[Row], None]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    left_out = {"images"} | (set() if has_pairs else {"rejected", "config"})
    names = [field.name for field in fields(Row) if field.name not in left_out]
    schema = pa.schema([(name, pa.string()) for name in names])
    rows: list[Row] = []
    with replace_atomically(path) as file, pq.ParquetWriter(file, schema) as table:

        def flush() -> None:
            columns = [[getattr(row, name) for row in rows] for name in names]
            table.write_table(pa.table(columns, schema=schema))
            rows.clear()

        def write(row: Row) -> None:
            rows.append(row)
            if len(rows) == ROWS_AT_ONCE:
                flush()

        yield write
        flush()
