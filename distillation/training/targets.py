"""From a teacher's log p to the distribution over options that a student learns from.

p = softmax(x / tau), x being log p a token of each option's text ("text"), or the letters' log p
("letter"). tau is fitted on labelled training questions, and "auto" takes whichever of the two
chooses more of them right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from distillation.judgements import Judgement
from qa.predictions import some_ids
from qa.records import Question
from tools.errors import UserError

WAYS = ("auto", "text", "letter")
COMPARED = 200  # labelled questions that "auto" scores both ways
TAUS = (0.01, 100.0)  # between which tau is sought
STEPS = 60  # of the search: the interval shrinks to 1e-12 of its length


@dataclass(frozen=True)
class Targets:
    """A teacher's distributions.

    Attributes:
        probabilities: {id: (C,) float32}; one-hot where a teacher gives its choice alone.
        by: "text", "letter" or "choice", how options were compared.
        tau: what x was divided by.
        accuracy: of the labelled training questions.
    """

    probabilities: dict[str, np.ndarray]
    by: str
    tau: float
    accuracy: float


def make_targets(
    judgements: Mapping[str, Judgement],
    questions: Sequence[Question],
    labelled: Sequence[Question],
    by: str = "auto",
    reads_distribution: bool = False,
) -> Targets:
    """The distributions of `questions`; tau is fitted on `labelled`, some of them with labels.

    Args:
        reads_distribution: whether a loss reads more of them than the choice.

    Raises:
        UserError: the teacher did not give what `by` asks for, or not the log p of each option that
            a distribution takes.
    """
    by = _way(judgements, questions, labelled, by)
    if by == "choice":
        if reads_distribution:
            lacking = without_log_p(judgements, questions)
            raise UserError(
                f"{len(lacking)} of {len(questions)} judgements lack log p of the options, which a"
                f" soft term learns from: {some_ids(lacking)}; take --distill_mode hard, or remove"
                " them from the teacher's file"
            )
        one_hot = {
            q.id: np.eye(len(q.choices or ()), dtype=np.float32)[_place(judgements[q.id])]
            for q in questions
        }
        return Targets(one_hot, by, 1.0, _accuracy(one_hot, labelled))
    values = {q.id: np.array(_values(judgements[q.id], by)) for q in questions}
    tau = fit_tau([values[q.id] for q in labelled], [_label(q) for q in labelled])
    probabilities = {key: softmax(x / tau).astype(np.float32) for key, x in values.items()}
    return Targets(probabilities, by, tau, _accuracy(probabilities, labelled))


def without_log_p(judgements: Mapping[str, Judgement], questions: Sequence[Question]) -> list[str]:
    """Ids of the questions whose options have no log p, in the way of comparing them that the
    teacher has for most questions."""
    lacking = [
        [q.id for q in questions if _values(judgements[q.id], way) is None]
        for way in ("text", "letter")
    ]
    return min(lacking, key=len)


def fit_tau(values: Sequence[np.ndarray], labels: Sequence[int]) -> float:
    """The tau in TAUS whose softmax(x / tau) gives the labels the smallest negative log likelihood
    (Guo et al., arXiv 1706.04599); 1 without a label.

    Args:
        values: (C,) each, C may differ; labels: the right place of each.
    """
    if not labels:
        return 1.0

    table = np.full((len(values), max(map(len, values))), -np.inf)
    for row, x in zip(table, values, strict=True):
        row[: len(x)] = x - x.max()
    own = table[np.arange(len(table)), labels]

    def loss(log_tau: float) -> float:
        tau = np.exp(log_tau)
        return float((np.log(np.exp(table / tau).sum(1)) - own / tau).mean())

    # In 1 / tau the loss is convex, so in log tau it has one minimum: golden section search.
    low, high = np.log(TAUS)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    result: np.ndarray = e / e.sum(axis=-1, keepdims=True)
    return result


def _way(
    judgements: Mapping[str, Judgement],
    questions: Sequence[Question],
    labelled: Sequence[Question],
    by: str,
) -> str:
    """How this teacher's options are compared."""
    own = [judgements[question.id] for question in questions]
    ways = [way for way in ("text", "letter") if all(_values(j, way) is not None for j in own)]
    if by != "auto":
        if by not in ways:
            raise UserError(f"--by {by}: the teacher gave no log p of each {by} for all questions")
        return by
    if not ways:
        return "choice"
    compared = labelled[:COMPARED]
    scores = {}
    for way in ways:
        values = {q.id: np.array(_values(judgements[q.id], way)) for q in compared}
        scores[way] = _accuracy(values, compared)
    return max(ways, key=lambda way: scores[way])  # the first of equal ones


def _values(judgement: Judgement, by: str) -> list[float] | None:
    return judgement.by_text if by == "text" else judgement.letter_log_p


def _place(judgement: Judgement) -> int:
    """The option of a teacher some of whose answers have no log p."""
    if judgement.choice is not None:
        return judgement.choice
    return int(np.argmax(judgement.letter_log_p or judgement.by_text or ()))


def _label(question: Question) -> int:
    assert question.answer_index is not None
    return question.answer_index


def _accuracy(values: Mapping[str, np.ndarray], labelled: Sequence[Question]) -> float:
    right = [int(np.argmax(values[q.id])) == q.answer_index for q in labelled]
    return float(np.mean(right)) if right else float("nan")
