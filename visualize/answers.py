"""Questions of a split and what models answer to them: read, compared and selected for the page.

Nothing is kept on disk. Of 100,000 questions, the lines of the file and a few short texts are kept
in memory for as long as the file stays as it is; what is shown is parsed when it is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from distillation.view import students, teacher_lines, teachers
from qa.judge.verdicts import content_key, judged_texts
from qa.matching import contains
from qa.options import chosen_option
from qa.predictions import Prediction, meta_path, parse_prediction
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, read_json

RIGHT, WRONG, UNANSWERED, DIFFER = "right", "wrong", "unanswered", "the two differ"
OUTCOMES = (RIGHT, WRONG, UNANSWERED, DIFFER)
NOT_KNOWN = "not known"
STUDENT, TEACHER = "student ", "teacher "  # before the name of a run, and of a teacher
Row = dict[str, Any]
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Split:
    """The questions of a split, in the order of the file.

    Attributes:
        lines: of the file.
        places: where the question of an id is.
        types: of the questions, "" where one has none.
    """

    lines: list[bytes]
    places: dict[str, int]
    types: list[str]

    def question(self, place: int) -> Question:
        """The question at a place."""
        try:
            return Question(**orjson.loads(self.lines[place]))
        except TypeError as error:
            raise CorruptLine(f"line {place + 1} of the questions is none ({error})") from None

    @cached_property
    def texts(self) -> list[str]:
        """What a search looks through, in lower case: id, question, options and answer."""
        rows = map(orjson.loads, self.lines)
        return [
            "\n".join([q["id"], q["question"], *(q["choices"] or ()), q["answer"] or ""]).lower()
            for q in rows
        ]


@dataclass(frozen=True, eq=False)
class ModelAnswers:
    """What one file of predictions answers.

    Attributes:
        path: of the file.
        meta: what made it; empty of a file that was made elsewhere.
        lines: id of a question -> line.
        judged: judge -> id of a question -> the judge's row.
        label: of a student or a teacher; "": the file's name is the model's.
    """

    path: Path
    meta: dict[str, Any]
    lines: dict[str, bytes]
    judged: dict[str, dict[str, Row]] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """Of the model, method or control."""
        return self.label or self.path.name.removesuffix(".jsonl")

    @property
    def is_student(self) -> bool:
        """Whether it is a student of distillation's."""
        return self.label.startswith(STUDENT)

    def prediction(self, question: Question) -> Prediction | None:
        """The prediction; None: there is none."""
        line = self.lines.get(question.id)
        return None if line is None else parse_prediction(line, self.path, 1)

    def probabilities(self, question: Question) -> np.ndarray | None:
        """Of the options, (options,) float64; None without log p of each."""
        prediction = self.prediction(question)
        log_p = (prediction and prediction.log_p) or []
        if not log_p or len(log_p) != len(question.choices or ()):
            return None
        odds = np.exp(np.array(log_p) - max(log_p))
        return odds / odds.sum()

    def chosen(self, question: Question) -> int | None:
        """The position of the option that is chosen: the likeliest, or the one that is named."""
        if (probabilities := self.probabilities(question)) is not None:
            return int(probabilities.argmax())
        prediction = self.prediction(question)
        return chosen_option((prediction and prediction.prediction) or "", question.choices or ())

    def right(self, question: Question) -> bool | None:
        """Whether the answer is right; None: it names no option, there is none, or the right one is
        not public.

        An open answer is right where the first judge says so, or, without a judge, where it
        contains the right one.
        """
        if question.answer is None or question.id not in self.lines:
            return None
        if question.choices:
            chosen = self.chosen(question)
            return None if chosen is None else chosen == question.answer_index
        for row in self.verdicts(question).values():
            if row["verdict"]:
                return bool(row["verdict"] == "yes")
        prediction = self.prediction(question)
        if prediction is None or not prediction.prediction:
            return None
        return contains(prediction.prediction, question.answer, *question.references)

    def outcome(self, question: Question) -> str:
        """RIGHT, WRONG, UNANSWERED (no answer, or one that names no option, which scores count as
        wrong), or NOT_KNOWN, where the right answer is not public."""
        if question.answer is None:
            return NOT_KNOWN
        return {True: RIGHT, False: WRONG, None: UNANSWERED}[self.right(question)]

    def verdicts(self, question: Question) -> dict[str, Row]:
        """judge -> its row on this answer; a row on an earlier answer is left out."""
        key = content_key(*judged_texts(question, self.prediction(question)))
        rows = {judge: of_judge.get(question.id) for judge, of_judge in self.judged.items()}
        return {judge: row for judge, row in rows.items() if row and row["sha1"] == key}


@dataclass(frozen=True)
class Wanted:
    """Which questions; an empty value asks for nothing."""

    types: tuple[str, ...] = ()
    outcome: str = ""
    text: str = ""


def stamp(*paths: Path) -> Stamp:
    """(path, size, time of change in ns) of the files that are there: as long as it is the same,
    they are."""
    present = [(path, path.stat()) for path in paths if path.exists()]
    return tuple((str(path), info.st_size, info.st_mtime_ns) for path, info in present)


def judged_files(dataset: Dataset, split: str, name: str) -> dict[str, Path]:
    """judge -> its file beside some predictions."""
    start = f"{name}.judged-"
    folder = dataset.predictions(split, name).parent
    paths = sorted(path for path in folder.glob("*.jsonl") if path.name.startswith(start))
    return {path.name.removeprefix(start).removesuffix(".jsonl"): path for path in paths}


def read_split(dataset: Dataset, split: str) -> Split:
    """Read the questions.

    Raises:
        CorruptLine: a line is no question.
    """
    path = dataset.questions(split)
    read = Split(path.read_bytes().splitlines(), {}, [])
    for place, line in enumerate(read.lines):
        try:
            row = orjson.loads(line)
            read.places[row["id"]] = place
            read.types.append(row["type"] or "")
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptLine(f"{path} line {place + 1} is no question ({error})") from None
    return read


def answer_files(dataset: Dataset, split: str) -> dict[str, Path]:
    """{name: file} of all that has answered a split: models, then students, then teachers."""
    models = {name: dataset.predictions(split, name) for name in dataset.prediction_names(split)}
    own = {STUDENT + name: path for name, path in students(dataset, split).items()}
    return models | own | teacher_files(dataset, split)


def teacher_files(dataset: Dataset, split: str) -> dict[str, Path]:
    """{name: file} of the teachers that have judged a split."""
    return {TEACHER + name: path for name, path in teachers(dataset, split).items()}


def read_answers(dataset: Dataset, split: str, name: str) -> ModelAnswers:
    """Read a file of predictions or judgements, of whichever questions, and the files of its
    judges.

    Args:
        name: as in `answer_files`.

    Raises:
        UserError: the predictions were made for others, or a line is none.
    """
    path = answer_files(dataset, split).get(name) or dataset.predictions(split, name)
    if name.startswith(TEACHER):
        made = (read_json(path.with_suffix(".meta.json")) or {}).get("made_by", {})
        shown = {"frames": made.get("count"), "protocol": made.get("protocol")}
        return ModelAnswers(path, shown, dict(teacher_lines(path)), label=name)
    meta = read_json(meta_path(path)) or {}
    made_for = meta.get("dataset", dataset.name), meta.get("split", split)
    if made_for != (dataset.name, split):
        raise UserError(f"{path} was made for {'/'.join(made_for)}")
    lines = {
        parse_prediction(line, path, number).id: line
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
    }
    judged = {}
    for judge, file in judged_files(dataset, split, name).items():
        try:
            rows = map(orjson.loads, file.read_bytes().splitlines())
            judged[judge] = {row["id"]: row for row in rows if "sha1" in row and "verdict" in row}
        except (ValueError, TypeError, KeyError) as error:
            raise CorruptLine(f"{file}: a line is no verdict ({error})") from None
    return ModelAnswers(path, meta, lines, judged, name if name.startswith(STUDENT) else "")


def outcomes(split: Split, answers: ModelAnswers) -> np.ndarray:
    """The outcome of each question, (questions,) str."""
    questions = map(split.question, range(len(split.lines)))
    return np.array([answers.outcome(question) for question in questions])


def select(split: Split, wanted: Wanted, compared: Sequence[np.ndarray]) -> np.ndarray:
    """The places of the questions that pass, rising, (n,) int64.

    Args:
        compared: `outcomes` of the one or two models; needed only where an outcome is wanted.
    """
    passes = np.ones(len(split.lines), bool)
    if wanted.types:
        passes &= np.isin(split.types, wanted.types)
    if text := wanted.text.strip().lower():
        passes &= np.array([text in own for own in split.texts])
    if wanted.outcome == DIFFER:
        passes &= (compared[0] == RIGHT) != (compared[-1] == RIGHT)
    elif wanted.outcome:
        passes &= compared[0] == wanted.outcome
    return np.flatnonzero(passes)
