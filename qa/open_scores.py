"""Scores of written answers without a judge: exact, contains and token F1, always together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from qa.matching import contains, exact, token_f1
from qa.records import Question
from qa.scoring import Answers, rows_of
from tools.statistics import Interval, difference_of, interval_of

OPEN_METRICS: dict[str, Callable[..., float]] = {
    "exact": exact,
    "contains": contains,
    "token_f1": token_f1,
}


@dataclass(frozen=True)
class OpenScore:
    """Everything that is known of open answers without a judge.

    Attributes:
        metrics: {row: (questions, {exact, contains, token_f1: interval})}.
        words, answer_words: mean length of predictions and of right answers.
        empty: predictions without a word.
        baseline: {row: {metric: (interval of the baseline, interval of the difference)}}.
    """

    name: str
    metrics: dict[str, tuple[int, dict[str, Interval]]]
    words: float
    answer_words: float
    empty: int
    questions: int
    videos: int
    baseline_name: str | None = None
    baseline_words: float | None = None
    baseline: dict[str, dict[str, tuple[Interval, Interval]]] = field(default_factory=dict)


def score_open(
    questions: Sequence[Question], model: Answers, baseline: Answers | None = None
) -> OpenScore:
    """Score the open questions that a model, and the baseline if there is one, answered."""
    sides = [model, baseline] if baseline else [model]
    questions = [
        q for q in questions if q.choices is None and all(q.id in s.predictions for s in sides)
    ]
    texts = [{q.id: side.predictions[q.id].prediction or "" for q in questions} for side in sides]
    values = [
        {
            metric: {q.id: float(score(own[q.id], str(q.answer), *q.references)) for q in questions}
            for metric, score in OPEN_METRICS.items()
        }
        for own in texts
    ]
    rows = rows_of(questions)
    metrics, effects = {}, {}
    for row in rows:
        estimates = [
            {metric: row.estimate(questions, own[metric]) for metric in OPEN_METRICS}
            for own in values
        ]
        count = row.count(values[0]["exact"])
        metrics[row.label] = (count, {m: interval_of(*e) for m, e in estimates[0].items()})
        if baseline:
            effects[row.label] = {
                metric: (
                    interval_of(*estimates[1][metric]),
                    interval_of(*difference_of(estimates[0][metric], estimates[1][metric])),
                )
                for metric in OPEN_METRICS
            }
    lengths = [float(np.mean([len(text.split()) for text in own.values()])) for own in texts]
    return OpenScore(
        name=model.name,
        metrics=metrics,
        words=lengths[0],
        answer_words=float(np.mean([len(str(q.answer).split()) for q in questions])),
        empty=sum(not text.strip() for text in texts[0].values()),
        questions=len(questions),
        videos=len({q.unit for q in questions}),
        baseline_name=baseline.name if baseline else None,
        baseline_words=lengths[1] if baseline else None,
        baseline=effects,
    )
