"""What the tests of qa.read share: rows as files, and a run on them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from qa.records import read_questions
from tools.store.dataset import Dataset


def write_rows(path: Path, rows: Any) -> Path:
    """Write rows as the file's ending says; a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str):
        path.write_text(rows)
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    else:
        path.write_bytes(orjson.dumps(rows))
    return path


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Any], Path]:
    """`write_rows`."""
    return write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of videos."""
    return tmp_path / "videos"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """The data set that `read` reads into."""
    return Dataset("mine", tmp_path / "data" / "mine")


@pytest.fixture
def read(tmp_path: Path, folder: Path, data: Dataset, run_script: Any) -> Callable[..., Any]:
    """Run qa.read on rows, or on a file; gives (questions by id, rejected rows, what was printed),
    or what was said instead.

    `videos` are made as empty files: nothing but a length is read from them.
    """

    def run(
        benchmark: str,
        rows: Any,
        *flags: object,
        name: str = "rows.json",
        videos: Any = (),
        split: str = "val",
    ) -> Any:
        file = rows if isinstance(rows, Path) else write_rows(tmp_path / name, rows)
        for video in videos:
            write_rows(folder / video, "")
        words = ["-m", "qa.read", benchmark, "--file", file, "--dataset", data.name]
        words += ["--split", split, "--data_root", data.root.parent, *flags]
        words += ["--video_dir", folder] if videos else []
        process = run_script(*words)
        if process.returncode:
            return process.stderr
        path = data.rejected_questions(split)
        lines = path.read_bytes().splitlines() if path.exists() else []
        questions = {question.id: question for question in read_questions(data, split)}
        return questions, [orjson.loads(line) for line in lines], process.stdout

    return run


def reasons_of(rejected: list[dict[str, Any]]) -> list[tuple[str | None, str]]:
    """(id or None, reason) of each rejected row."""
    return [(row["id"], row["reason"]) for row in rejected]


@pytest.fixture(scope="session")
def reasons() -> Callable[..., list[tuple[str | None, str]]]:
    """`reasons_of`."""
    return reasons_of
