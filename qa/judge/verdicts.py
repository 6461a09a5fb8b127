"""A judge's verdicts: how they are read out of its replies, and the file that keeps them.

The file stands beside the predictions as `<name>.judged-<judge>.jsonl`, sorted by id. A row is

    {"id", "verdict": "yes" | "no" | null, "score": 0 to 5 or null, "raw": the reply,
     "finish_reason", "model": as the server reports it, "prompt": digest of the judge's prompt,
     "sha1": of (question, answer, prediction)}

What was judged with the same model and prompt on the same content is not judged again. Of an id
whose prediction has changed only the new row is kept; rows of other prompts and models are kept
before it, so that the last row of an id is that of the last run.
"""

import ast
import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from qa.options import chosen_option
from qa.predictions import Prediction
from qa.records import Question
from tools.store.files import Appender, CorruptLine, replace_atomically
from tools.store.jsonl import dumps, lines_from
from tools.text.answers import parse_response

HIGHEST = 5  # score
FENCED = re.compile(r"```\w*\n?(.*?)```", re.DOTALL)
DICTIONARY = re.compile(r"\{[^{}]*\}")
WORD_ALONE = re.compile(r"\W*(yes|no)\W*", re.IGNORECASE)

Row = dict[str, Any]
KEYS = ("id", "verdict", "score", "raw", "finish_reason", "model", "prompt", "sha1")


@dataclass(frozen=True)
class Verdict:
    """What a reply says.

    Attributes:
        verdict: "yes", "no", or None where that cannot be read.
        score: 0 to 5; None where it is absent or cannot be read.
        rounded: the reply gave the score as a float.
        fault: why the judge must be asked again; empty where the reply can be read.
    """

    verdict: str | None = None
    score: int | None = None
    rounded: bool = False
    fault: str = ""


def read_verdict(reply: str) -> Verdict:
    """Read a reply: JSON, a Python literal, a dictionary inside a fence or a sentence, or the word
    yes or no alone, which has no score. Thinking before it, up to </think>, is left out."""
    text = parse_response(reply)
    if word := WORD_ALONE.fullmatch(text):
        return Verdict(word[1].lower())
    for candidates in ([text], FENCED.findall(text), DICTIONARY.findall(text)):
        dictionaries = [values for piece in candidates if (values := _dictionary(piece))]
        verdicts = {_verdict_of(values) for values in dictionaries}
        if len(verdicts) > 1:
            return Verdict(fault="it holds several different dictionaries")
        if verdicts:
            return verdicts.pop()
    return Verdict(fault="it is no JSON object" if text else "it is empty")


def _dictionary(text: str) -> dict[str, Any] | None:
    """A text's dictionary with its keys in lower case; None where it is something else."""
    text = text.strip()
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return (
        {str(key).lower(): value for key, value in values.items()}
        if isinstance(values, dict)
        else None
    )


def _verdict_of(values: dict[str, Any]) -> Verdict:
    word = WORD_ALONE.fullmatch(str(values.get("pred")))
    verdict = word[1].lower() if word else None
    score, rounded = _score_of(values.get("score"))
    faults = []
    if verdict is None:
        faults.append('"pred" is neither "yes" nor "no"')
    if score is None:
        faults.append(f'"score" is no whole number from 0 to {HIGHEST}')
    return Verdict(verdict, score, rounded, ", and ".join(faults))


def _score_of(value: Any) -> tuple[int | None, bool]:
    """A score, rounded half up, and whether it was a float."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None, False
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None, False
    if not 0 <= number <= HIGHEST:  # nan is not
        return None, False
    rounded = isinstance(value, float) or (isinstance(value, str) and not value.strip().isdigit())
    return math.floor(number + 0.5), rounded


def judged_texts(question: Question, prediction: Prediction | None) -> tuple[str, str, str]:
    """What a verdict is about: the question, the answers that are accepted, and the prediction. Of
    an answer that names an option, the option's text stands for it: a judge sees no letters."""
    text = (prediction and prediction.prediction) or ""
    if question.choices and (place := chosen_option(text, question.choices)) is not None:
        text = question.choices[place]
    return question.question, " or ".join([str(question.answer), *question.references]), text


def content_key(question: str, answer: str, prediction: str) -> str:
    """The SHA-1 of what a verdict is about."""
    return hashlib.sha1("\0".join((question, answer, prediction)).encode()).hexdigest()


class VerdictFile:
    """The rows of one judge on one file of predictions.

    New rows are appended to `<file>.part`, which a killed run leaves behind and the next one reads;
    `close` merges them into the sorted file.

    Args:
        path: the file, which `path_of` names.
        prompt: the digest of the judge's prompt.
        model: what the judge's server calls its model.

    Raises:
        CorruptLine: a line of the file is no row.
    """

    def __init__(self, path: Path, prompt: str, model: str) -> None:
        self.path = path
        self.prompt = prompt
        self.model = model
        self.part = self.path.with_name(f"{self.path.name}.part")
        # (id, prompt, model) -> row; the last one counts.
        self._rows: dict[tuple[str, str, str], Row] = {}
        # sha1 -> row, of this prompt and model.
        self._by_content: dict[str, Row] = {}
        for file, merged in ((self.path, True), (self.part, False)):
            if file.exists():
                for number, _, line in lines_from(file, merged=merged):
                    self._keep(_parse(line, file, number))
        self._appender: Appender | None = None

    @staticmethod
    def path_of(predictions: Path, judge: str) -> Path:
        """Where the verdicts of a judge on a file of predictions stand."""
        name = predictions.name.removesuffix(".jsonl")
        return predictions.with_name(f"{name}.judged-{judge}.jsonl")

    def _keep(self, row: Row) -> None:
        self._rows[row["id"], row["prompt"], row["model"]] = row
        if (row["prompt"], row["model"]) == (self.prompt, self.model) and not was_cut_off(row):
            self._by_content[row["sha1"]] = row

    def known(self, sha1: str) -> Row | None:
        """The row about this content, of whichever id; None where its reply was cut off before a
        verdict, since a longer one may be allowed now."""
        return self._by_content.get(sha1)

    def add(self, ids: Iterable[str], row: Row) -> None:
        """Keep a verdict for all questions that it is about."""
        for id_ in ids:
            own = {**row, "id": id_}
            if self._rows.get((id_, row["prompt"], row["model"])) == own:
                continue
            if self._appender is None:
                self._appender = Appender(self.part)
            self._appender.append(dumps(own))
            self._keep(own)

    def close(self) -> None:
        """Merge the new rows into the sorted file; of an id, this prompt's and model's row is the
        last."""
        if self._appender is not None:
            self._appender.close()
        if self._rows:
            with replace_atomically(self.path) as file:
                file.writelines(
                    dumps(self._rows[key]) + b"\n" for key in sorted(self._rows, key=self._order)
                )
            self.part.unlink(missing_ok=True)

    def _order(self, key: tuple[str, str, str]) -> tuple[str, bool, str, str]:
        id_, prompt, model = key
        return id_, (prompt, model) == (self.prompt, self.model), prompt, model


def was_cut_off(row: Row) -> bool:
    """Whether a reply reached its longest length before it gave a verdict."""
    return row["verdict"] is None and row["finish_reason"] == "length"


def _parse(line: bytes, path: Path, number: int) -> Row:
    try:
        row = orjson.loads(line)
        {key: row[key] for key in KEYS}
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise CorruptLine(f"{path} line {number} is no verdict ({error})") from None
    return row
