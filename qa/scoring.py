"""Scores of chosen options: accuracy, controls, differences, positions.

Intervals are bootstraps over videos, and two models are compared by the same draws
(`tools.statistics`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qa.groups import groups_of
from qa.options import chosen_option
from qa.predictions import Prediction
from qa.records import Question
from tools.statistics import Estimate, Interval, difference_of, estimate_of, interval_of, mean_of

CHANCE, MOST_FREQUENT = "chance", "most_frequent_position"
Values = Mapping[str, float]
"""A number for each question, by id."""


@dataclass(frozen=True)
class Answers:
    """What one model, or one control of it, answers.

    Attributes:
        name: what tables call it.
        predictions: {id: prediction}.
        meta: what made them; empty of a file from elsewhere.
    """

    name: str
    predictions: Mapping[str, Prediction]
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice:
    """The option that a prediction chooses, and whether others were as likely."""

    place: int | None
    tie: bool = False


def choice_of(question: Question, prediction: Prediction) -> Choice:
    """By likelihood where there are some, the first of the most likely; else by what is written."""
    assert question.choices is not None
    if prediction.log_p is not None:
        best = max(prediction.log_p)
        return Choice(prediction.log_p.index(best), prediction.log_p.count(best) > 1)
    return Choice(chosen_option(prediction.prediction or "", question.choices))


def choices_of(questions: Sequence[Question], answers: Answers) -> dict[str, Choice]:
    """Of the questions with options that have a prediction, by id."""
    answered = [q for q in questions if q.choices is not None and q.id in answers.predictions]
    return {q.id: choice_of(q, answers.predictions[q.id]) for q in answered}


def estimate(questions: Sequence[Question], values: Values) -> Estimate:
    """The mean of values over questions, resampled over the videos of all of `questions`; those
    without a value are left out."""
    units = {unit: place for place, unit in enumerate(sorted({q.unit for q in questions}))}
    answered = [question for question in questions if question.id in values]
    places = [units[question.unit] for question in answered]
    sums = np.bincount(places, [values[q.id] for q in answered], len(units))
    result = estimate_of(np.stack([sums, np.bincount(places, minlength=len(units))], axis=1))
    return result or (float("nan"), np.full(1, np.nan))


@dataclass(frozen=True)
class TableRow:
    """A row of a table: a mean over questions, or the mean of several such means."""

    label: str
    parts: list[set[str]]  # ids

    def estimate(self, questions: Sequence[Question], values: Values) -> Estimate:
        """See `estimate`."""
        own = [{key: values[key] for key in part if key in values} for part in self.parts]
        return mean_of([estimate(questions, part) for part in own if part])

    def count(self, values: Values) -> int:
        """Questions that have a value."""
        return sum(key in values for part in self.parts for key in part)


def rows_of(questions: Sequence[Question]) -> list[TableRow]:
    """All questions, the mean of the types, the benchmark's groups of types, and each type."""
    types: dict[str, set[str]] = {}
    for question in questions:
        if question.type is not None:
            types.setdefault(question.type, set()).add(question.id)
    groups = groups_of(types)
    rows = [TableRow("all questions", [{question.id for question in questions}])]
    if len(types) > 1:
        rows.append(TableRow(f"mean of {len(types)} types", list(types.values())))
    for name, members in groups.grouped.items():
        rows.append(TableRow(name, [set().union(*(types[member] for member in members))]))
    if len(types) > 1:
        rows += [
            TableRow(f"  {groups.names.get(name, name)}", [types[name]]) for name in sorted(types)
        ]
    return rows


@dataclass(frozen=True)
class Control:
    """What is reached without understanding the video.

    Attributes:
        accuracy: of the control; None: it was not run.
        questions: that it has predictions of.
        videos: that they are about.
        difference: of the model and the control, over the questions that both have.
        note: how it was made in another way than the model's own predictions; or nothing.
    """

    name: str
    accuracy: Interval | None
    questions: int = 0
    videos: int = 0
    difference: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class ChoiceScore:
    """Everything that is known of multiple-choice predictions.

    Attributes:
        accuracy: {row: (questions, interval)}.
        at_chance: the rows whose interval does not lie above the chance of their questions.
        positions: share of the questions in which each position is chosen.
        right_positions: share in which it is right.
        unanswered: predictions that name no option: they are wrong.
        ties: questions in which several options were the most likely.
        baseline: {row: (interval of the baseline, interval of the difference)}.
        orders: of written answers with options in other orders, see `score_orders`.
    """

    name: str
    accuracy: dict[str, tuple[int, Interval]]
    at_chance: list[str]
    controls: list[Control]
    positions: list[float]
    right_positions: list[float]
    unanswered: int
    ties: int
    questions: int
    videos: int
    baseline_name: str | None = None
    baseline: dict[str, tuple[Interval, Interval]] = field(default_factory=dict)
    orders: dict[str, Any] = field(default_factory=dict)

    @property
    def chance(self) -> float:
        """Accuracy of choosing at random."""
        return next(c.accuracy.value for c in self.controls if c.name == CHANCE and c.accuracy)


def score_choices(
    questions: Sequence[Question],
    model: Answers,
    controls: Mapping[str, Answers | None],
    baseline: Answers | None = None,
) -> ChoiceScore:
    """Score the questions with options that a model, and the baseline if there is one, answered.

    Args:
        controls: {name: its predictions, or None where it was not run}.
    """
    questions = [q for q in questions if q.choices is not None]
    chosen = choices_of(questions, model)
    base = choices_of(questions, baseline) if baseline else chosen
    questions = [q for q in questions if q.id in chosen and q.id in base]
    chosen = {q.id: chosen[q.id] for q in questions}
    right = right_of(questions, chosen)
    rows = rows_of(questions)
    effects = {}
    if baseline:
        theirs = right_of(questions, base)
        for row in rows:
            pair = [row.estimate(questions, values) for values in (right, theirs)]
            effects[row.label] = (interval_of(*pair[1]), interval_of(*difference_of(*pair)))
    accuracy = {
        row.label: (row.count(right), interval_of(*row.estimate(questions, right))) for row in rows
    }
    chance = {q.id: 1 / len(q.choices or ()) for q in questions}
    expected = {row.label: row.estimate(questions, chance)[0] for row in rows}
    most = max(len(q.choices or ()) for q in questions)
    places = [choice.place for choice in chosen.values()]
    return ChoiceScore(
        name=model.name,
        accuracy=accuracy,
        at_chance=[label for label, (_, own) in accuracy.items() if own.low <= expected[label]],
        controls=list(_controls(questions, model, right, controls)),
        positions=[places.count(place) / len(places) for place in range(most)],
        right_positions=[
            sum(q.answer_index == place for q in questions) / len(questions)
            for place in range(most)
        ],
        unanswered=places.count(None),
        ties=sum(choice.tie for choice in chosen.values()),
        questions=len(questions),
        videos=len({q.unit for q in questions}),
        baseline_name=baseline.name if baseline else None,
        baseline=effects,
    )


def right_of(questions: Sequence[Question], chosen: Mapping[str, Choice]) -> dict[str, float]:
    """{id: 1 where the chosen option is right, else 0} of the questions that were answered."""
    return {q.id: float(chosen[q.id].place == q.answer_index) for q in questions if q.id in chosen}


def _controls(
    questions: Sequence[Question],
    model: Answers,
    right: Values,
    controls: Mapping[str, Answers | None],
) -> Iterator[Control]:
    chance = {q.id: 1 / len(q.choices or ()) for q in questions}
    indices = [q.answer_index for q in questions]
    position = max(sorted(set(indices), key=str), key=indices.count)
    frequent = {q.id: float(q.answer_index == position) for q in questions}
    for name, values in ((CHANCE, chance), (MOST_FREQUENT, frequent)):
        yield _control(name, questions, right, values)
    for name, answers in controls.items():
        values = right_of(questions, choices_of(questions, answers)) if answers else {}
        if answers is None or not values:
            yield Control(name, None)
            continue
        yield _control(name, questions, right, values, _other_settings(model.meta, answers.meta))


def _control(
    name: str, questions: Sequence[Question], right: Values, values: Values, note: str = ""
) -> Control:
    both = [question for question in questions if question.id in values]
    own = estimate(both, values)
    effect = difference_of(estimate(both, right), own)
    videos = len({question.unit for question in both})
    return Control(name, interval_of(*own), len(both), videos, interval_of(*effect), note)


def _other_settings(meta: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """In what a control's predictions were made otherwise than the model's own."""
    names = ("frames", "protocol", "whole_video", "subtitles", "write", "per_token", "instruction")
    pairs = [(name, meta.get(name), other.get(name)) for name in names if meta and other]
    return ", ".join(
        f"{name} {theirs}, not {ours}" for name, ours, theirs in pairs if ours != theirs
    )


def score_orders(
    questions: Sequence[Question],
    orders: Sequence[Answers],
    listed: Callable[[Question, int], list[int]],
) -> dict[str, Any]:
    """How much the order of the options decides.

    Args:
        orders: predictions with the options in the published order, then in each other one.
        listed: (question, number of the order) -> the options' places in the order of the list.

    Returns:
        accuracy of each order, the share of questions in which all orders have the same option
        chosen, and the share in which each position of the list is; empty where no question is
        answered in all orders.
    """
    chosen = [choices_of(questions, answers) for answers in orders]
    answered = [q for q in questions if all(q.id in own for own in chosen)]
    if not answered:
        return {}
    most = max(len(q.choices or ()) for q in answered)
    positions = np.zeros(most)
    for question in answered:
        for number, own in enumerate(chosen):
            place = own[question.id].place
            if place is not None:
                positions[listed(question, number).index(place)] += 1
    same = [len({own[q.id].place for own in chosen}) == 1 for q in answered]
    return {
        "accuracies": [estimate(answered, right_of(answered, own))[0] for own in chosen],
        "same_option": float(np.mean(same)),
        "positions": (positions / (len(answered) * len(orders))).tolist(),
    }
