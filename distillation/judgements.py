"""What a teacher thinks of the options of each question: the file between teachers and students.

`data/<dataset>/teachers/<name>/<split>.jsonl` holds a line a question, sorted by id:

    {"id", "log_p": [C] or null, "tokens": [C] or null, "letter_log_p": [C] or null,
     "choice": place or null, "frames": how many it saw}

log_p is log p(option's text | video, question) in nats, summed over its `tokens`; letter_log_p is
the log-softmax over the letters of the options, where they are listed in the prompt; choice is for
a teacher that gives nothing but its letter. `<split>.features.npy` beside it, where there is one,
is float16 (rows, D): a vector of each question, in the order of the ids. Whoever has another
teacher writes these two files: they are the interface. Rows of CaTeR's public code are read too:
"teacher_hard_idx" is the choice, "teacher_embedding" the vector.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from qa.predictions import some_ids
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, replace_atomically
from tools.store.jsonl import dumps

PUBLIC_CHOICE = "teacher_hard_idx"  # of a row of CaTeR's public code


@dataclass(frozen=True)
class Judgement:
    """A teacher's view of one question with C options; see the module.

    Raises:
        ValueError: it has neither likelihoods nor a choice, or their numbers differ.
    """

    id: str
    log_p: list[float] | None = None
    tokens: list[int] | None = None
    letter_log_p: list[float] | None = None
    choice: int | None = None
    frames: int | None = None

    def __post_init__(self) -> None:
        values = [row for row in (self.log_p, self.tokens, self.letter_log_p) if row is not None]
        if (self.log_p is None) != (self.tokens is None):
            raise ValueError("log_p and tokens belong together")
        if len({len(row) for row in values}) > 1:
            raise ValueError("log_p, tokens and letter_log_p have different lengths")
        if not values and self.choice is None:
            raise ValueError("it has no log_p, no letter_log_p and no choice")
        if any(not np.isfinite(row).all() for row in values) or min(self.tokens or [1]) < 1:
            raise ValueError("a value is not finite, or an option has no tokens")

    @property
    def by_text(self) -> list[float] | None:
        """log p a token of each option, nats."""
        if self.log_p is None or self.tokens is None:
            return None
        return [total / count for total, count in zip(self.log_p, self.tokens, strict=True)]


def features_path(path: Path) -> Path:
    """Where the vectors of a file of judgements are."""
    return path.with_name(f"{path.stem}.features.npy")


def write_judgements(
    path: Path, judgements: Sequence[Judgement], features: np.ndarray | None = None
) -> None:
    """Write judgements, sorted by id.

    Args:
        features: (n, D) vectors in the order of `judgements`; None: this teacher has none.
    """
    order = sorted(range(len(judgements)), key=lambda place: judgements[place].id)
    if features is None:
        features_path(path).unlink(missing_ok=True)
    else:
        assert len(features) == len(judgements)
        with replace_atomically(features_path(path)) as file:
            np.save(file, features[order].astype(np.float16))
    with replace_atomically(path) as file:
        file.writelines(dumps(asdict(judgements[place])) + b"\n" for place in order)


def read_judgements(
    path: Path, questions: Sequence[Question], allow_missing: bool = False
) -> tuple[dict[str, Judgement], dict[str, np.ndarray]]:
    """{id: judgement} and {id: vector} of a file, the second empty where there are no vectors.

    Args:
        questions: that must have a judgement, with as many options.
        allow_missing: some of them may have none, as where a video could not be read.

    Raises:
        UserError: there is no such file, a line is none, a question has no judgement or another
            number of options, or there are more or fewer vectors than lines.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        raise UserError(
            f"{path} is not there: python -m distillation.teach makes it; or write it yourself in"
            " the format of docs/distillation.md"
        ) from None
    judgements: dict[str, Judgement] = {}
    embeddings: dict[str, list[float]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = orjson.loads(line)
            if PUBLIC_CHOICE in row:
                embeddings[str(row["id"])] = row.get("teacher_embedding") or []
                row = {"id": str(row["id"]), "choice": int(row[PUBLIC_CHOICE])}
            judgement = Judgement(**row)
        except (TypeError, ValueError, KeyError) as error:
            raise CorruptLine(f"{path} line {number} is no judgement ({error})") from None
        if judgement.id in judgements:
            raise CorruptLine(f"{path} line {number}: the id {judgement.id!r} comes twice")
        judgements[judgement.id] = judgement
    if allow_missing:
        questions = [question for question in questions if question.id in judgements] or questions
    _check(path, judgements, questions)
    if any(embeddings.values()):
        widths = {len(embedding) for embedding in embeddings.values()}
        if len(widths) > 1 or len(embeddings) < len(judgements):
            raise UserError(f"{path}: the vectors of its lines are of several lengths: {widths}")
        return judgements, {key: np.array(v, np.float16) for key, v in embeddings.items()}
    vectors: dict[str, np.ndarray] = {}
    if (file := features_path(path)).is_file():
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        if rows.ndim != 2 or len(rows) != len(judgements):
            raise UserError(f"{file} has shape {rows.shape}, and {path.name} {len(lines)} lines")
        vectors = dict(zip(judgements, rows, strict=True))
    return judgements, vectors


def judgements_of(dataset: Dataset, teacher: str, split: str) -> Path:
    """The file of a teacher that has judged a split.

    Raises:
        UserError: it has not; the message names those that have.
    """
    path = dataset.judgements_of(teacher, split)
    if not path.is_file():
        names = ", ".join(dataset.teacher_names(split)) or "none"
        raise UserError(
            f"{teacher} has not judged {dataset.name}/{split} (these have: {names}): python -m"
            f" distillation.teach {dataset.name} WORLD_SIZE --teacher_name {teacher}"
        )
    return path


def _check(path: Path, judgements: dict[str, Judgement], questions: Sequence[Question]) -> None:
    missing = [question.id for question in questions if question.id not in judgements]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of {len(questions)} questions: {some_ids(missing)}"
        )
    for question in questions:
        own, count = judgements[question.id], len(question.choices or ())
        sizes = {len(row) for row in (own.log_p, own.letter_log_p) if row is not None}
        if sizes - {count} or (own.choice is not None and not 0 <= own.choice < count):
            raise UserError(f"{path}: {question.id!r} has not the {count} options of its question")
