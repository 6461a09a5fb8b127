"""What all readers stand on: the rows of a published file, and a question before it is checked.

A reader is one function: a row of a benchmark's file and the files beside it go in, a Draft comes
out. It raises `Rejected` where the row is not as published; `qa.checks` does the checks that all
benchmarks share.
"""

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from tools.errors import UserError

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")


class Rejected(Exception):
    """A row that becomes no question: the reason's short name (`qa.checks.REASONS`), and what is
    wrong with this row."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Row(dict[str, Any]):
    """The fields of one row of a published file.

    Attributes:
        origin: {"file", "line" or "place", "sha256"}: a line counts from 1, a place in a list
            from 0.
    """

    def __init__(self, fields: dict[str, Any], origin: dict[str, Any]) -> None:
        super().__init__(fields)
        self.origin = origin

    @property
    def position(self) -> Any:
        """The row's place in its file, for ids of rows that have none of their own."""
        return self.origin["place"] if "place" in self.origin else self.origin["line"]

    def has(self, name: str) -> bool:
        """Whether the row has a field, and something but blanks in it."""
        value = self.get(name)
        return bool(value.strip()) if isinstance(value, str) else value is not None

    def regular(self) -> "Row":
        """The row itself; raises Rejected where its csv line has more fields than the head."""
        if None in self:  # the key that csv.DictReader gives to the surplus
            raise Rejected("unreadable_field", "it has more fields than the file's first line")
        return self

    def text(self, name: str) -> str:
        """A text or a whole number as text, without the blanks around it."""
        value = self.get(name)
        if value is None:
            raise Rejected("missing_field", f"it has no {name!r}")
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise Rejected("unreadable_field", f"{name!r} is no text: {value!r:.60}")
        return str(value).strip()

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        value = self.get(name)
        if value is None:
            raise Rejected("missing_field", f"it has no {name!r}")
        if not isinstance(value, list) or not all(isinstance(part, str | int) for part in value):
            raise Rejected("unreadable_field", f"{name!r} is no list of texts: {value!r:.60}")
        return [str(part).strip() for part in value]

    def whole(self, name: str) -> int:
        """A whole number; in a csv file it is a text."""
        text = self.text(name)
        try:
            return int(text)
        except ValueError:
            raise Rejected("unreadable_field", f"{name!r} is no whole number: {text!r}") from None

    def seconds(self, name: str) -> float | None:
        """A time in seconds; None where the row has none."""
        if not self.has(name):
            return None
        try:
            value = float(self[name])
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise Rejected("unreadable_field", f"{name!r} is no time in seconds: {self[name]!r}")
        return value


@dataclass
class Draft:
    """A question as a file has it, before it is checked.

    Attributes:
        id, question, choices, type, start, end, references, context: as in `qa.records.Question`.
        videos: names of its video, the likeliest first: paths or their ends, with or without an
            extension; none of a question without media.
        media: one of `qa.records.MEDIA`; a video may turn out as a folder of pictures where
            `context` has `frames`.
        answer, answer_index: the right answer, as the file gives it: one of them, or none where
            labels are hidden.
        subtitles: name of the file of subtitles, without `.srt`; None: that of the video.
        notes: what was changed in reading, in the words of a count.
    """

    id: str
    question: str
    videos: Sequence[str] = ()
    media: str = "video"
    choices: list[str] | None = None
    answer: str | None = None
    answer_index: int | None = None
    type: str | None = None
    start: float | None = None
    end: float | None = None
    references: list[str] = field(default_factory=list)
    context: dict[str, Any] = field(default_factory=dict)
    subtitles: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class QuestionFiles:
    """The files that the questions of a split come from; `answers` and `map` mean what the
    benchmark's line in `qa.readers.table` says."""

    file: Path
    split: str
    answers: Path | None = None
    map: Path | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """The rows of the file."""
        return rows_of(self.file)

    @cached_property
    def times_of_id(self) -> Counter[str]:
        """How often each `id` comes in the file."""
        return Counter(str(row.get("id")) for row in self.rows)

    @cached_property
    def answer_table(self) -> dict[str, Any]:
        """The JSON object in the file of answers; empty where none was given."""
        return json_object(self.answers) if self.answers else {}

    def answer_row(self, row: Row) -> Row:
        """The row of the answers that belongs to a row of the questions."""
        by_id, answers = self._answer_rows
        key = str(row["question_id"] if by_id else row.position)
        if key not in answers:
            raise Rejected("no_answer", f"{self.answers} has none for {key!r}")
        return answers[key].regular()

    @cached_property
    def _answer_rows(self) -> tuple[bool, dict[str, Row]]:
        """Whether questions and answers are joined by `question_id`, and the answers by what joins
        them. Where either file has no ids they are joined by position, which takes equal lengths.

        Raises:
            UserError: an id comes twice, or the lengths differ.
        """
        assert self.answers
        answers = rows_of(self.answers)
        if not all(row.has("question_id") for row in [*answers, *self.rows]):
            if len(answers) != len(self.rows):
                raise UserError(
                    f"{self.file} has {len(self.rows)} rows and {self.answers} {len(answers)}:"
                    " without question_id in both they can only be joined by position"
                )
            return False, {str(row.position): row for row in answers}
        by_id = {str(row["question_id"]): row for row in answers}
        if len(by_id) < len(answers):
            raise UserError(f"{self.answers}: {len(answers) - len(by_id)} question_id come twice")
        return True, by_id

    @cached_property
    def names(self) -> dict[str, Any]:
        """The map of names: a JSON object, or two names a line, which then count both ways."""
        if not self.map:
            return {}
        if self.map.suffix == ".json":
            return json_object(self.map)
        text = read_bytes(self.map).decode("utf-8-sig", "replace")
        pairs = [line.split() for line in text.splitlines()]
        if wrong := [number for number, pair in enumerate(pairs, 1) if len(pair) not in (0, 2)]:
            raise UserError(f"{self.map} line {wrong[0]}: not two names parted by a blank")
        pairs = [pair for pair in pairs if pair]
        return dict(pairs) | {second: first for first, second in pairs}


def entry(table: dict[str, Any], key: str, kind: type) -> Any:
    """What a table has under a key, None where it has nothing; raises Rejected where that is of
    another kind."""
    value = table.get(key)
    if value is not None and not isinstance(value, kind):
        raise Rejected("unreadable_field", f"what goes with {key!r} is {value!r:.60}")
    return value


def read_bytes(path: Path) -> bytes:
    """A file's bytes; raises UserError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def parse_json(path: Path, content: bytes) -> Any:
    """What a JSON file holds; raises UserError where it is not JSON."""
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from None


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises UserError where it holds anything else."""
    value = parse_json(path, read_bytes(path))
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__}, where a JSON object was expected")
    return value


def document(path: Path) -> tuple[Any, dict[str, Any]]:
    """What a JSON file holds, and {"file", "sha256"}, where its rows come from."""
    content = read_bytes(path)
    origin = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
    return parse_json(path, content), origin


def rows_of(path: Path) -> list[Row]:
    """The rows of a csv, tab-separated, JSON or JSONL file.

    A JSON file holds a list of rows, or an object of rows, whose keys are then their places.

    Raises:
        UserError: the file cannot be read, is of another kind, or holds anything but rows.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{path} is none of {' '.join(SUFFIXES)}")
    if suffix == ".json":
        value, origin = document(path)
        if not isinstance(value, list | dict):
            raise UserError(f"{path} holds {value!r:.60}, where a list of rows was expected")
        places = value.items() if isinstance(value, dict) else enumerate(value)
        return [Row(_fields(row, path), {**origin, "place": place}) for place, row in places]
    content = read_bytes(path)
    origin = {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}
    if suffix == ".jsonl":
        lines = [(n, line) for n, line in enumerate(content.splitlines(), 1) if line.strip()]
        return [
            Row(_fields(parse_json(path, line), path), {**origin, "line": number})
            for number, line in lines
        ]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start})") from None
    tab = "\t" in text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if tab else ",")
    try:
        return [Row(fields, {**origin, "line": reader.line_num}) for fields in reader]
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from None


def _fields(row: Any, path: Path) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{path} holds {row!r:.60}, where rows with named fields were expected")
    return row
