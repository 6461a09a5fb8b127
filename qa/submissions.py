"""Files for the servers that score benchmarks whose labels are hidden."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qa.records import Question
from tools.errors import UserError
from tools.store.files import storage_error, write_json

Chosen = Mapping[str, int]


def _by_id(questions: Sequence[Question], chosen: Chosen) -> dict[str, int]:
    return {question.id: chosen[question.id] for question in questions}


def _by_type(questions: Sequence[Question], chosen: Chosen) -> dict[str, list[dict[str, Any]]]:
    rows = defaultdict(list)
    for question in questions:
        rows[str(question.type)].append({"question_id": question.id, "answer": chosen[question.id]})
    return dict(rows)


# Benchmark -> what its server takes. EgoSchema: {q_uid: 0 to 4}; TVQA: {qid: 0 to 4}; STAR: {type:
# [{"question_id", "answer": 0 to 3}]}.
FORMATS: dict[str, Callable[[Sequence[Question], Chosen], Any]] = {
    "egoschema": _by_id,
    "star": _by_type,
    "tvqa": _by_id,
}


def submission_format(dataset: str) -> str:
    """The benchmark that a data set is of, by the beginning of its name.

    Raises:
        UserError: nothing is submitted of it.
    """
    for benchmark in FORMATS:
        if dataset.lower().startswith(benchmark):
            return benchmark
    raise UserError(
        f"--submission: no format is known for {dataset!r}; data sets whose names begin with"
        f" {', '.join(FORMATS)} have one"
    )


def write_submission(
    path: Path, questions: Sequence[Question], chosen: Mapping[str, int | None]
) -> int:
    """Write the chosen options of all questions; returns how many have none.

    The servers take a number for every question, so that the first option stands for none.

    Raises:
        UserError: see `submission_format`; a question has no prediction, or no options; or the file
            cannot be written.
    """
    benchmark = submission_format(questions[0].dataset)
    if missing := [q.id for q in questions if q.choices is None or q.id not in chosen]:
        raise UserError(
            f"--submission: {len(missing)} of {len(questions)} questions have no options or no"
            f" prediction, such as {missing[0]!r}; the server of {benchmark} wants all of them"
        )
    unanswered = [key for key, place in chosen.items() if place is None]
    write_document(path, FORMATS[benchmark](questions, {k: v or 0 for k, v in chosen.items()}))
    return len(unanswered)


def write_document(path: Path, document: Any) -> None:
    """Write a JSON document where the user wants it; raises StorageError for any refusal."""
    try:
        write_json(path, document)
    except OSError as error:
        raise storage_error(path, error) from error
