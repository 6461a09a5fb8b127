"""How good a teacher is, before a student sees it: accuracy, calibration, liking for places."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from distillation.judgements import Judgement
from qa.records import Question
from tools.statistics import Interval, interval

BINS = 15  # of confidence (Guo et al. 2017, arXiv 1706.04599)
LEAST_ERRORS = 3  # standard errors above chance that a teacher must be


@dataclass(frozen=True)
class Report:
    """A teacher's numbers on the questions that it has judged.

    Attributes:
        questions, labelled: how many there are, and how many of them have a public answer.
        accuracy: share right, with its interval over videos; None without a label.
        chance: share that guessing gets right, mean of 1 / options.
        standard_error: of that share, of so many guesses.
        ece: expected calibration error, mean |accuracy - confidence| over bins of confidence; None
            without a label or probabilities.
        entropy: of its distributions, in units of the uniform one's; None without probabilities.
        chosen, right: share of each place among its choices, and among the right options.
    """

    questions: int
    labelled: int
    accuracy: Interval | None
    chance: float
    standard_error: float
    ece: float | None
    entropy: float | None
    chosen: list[float]
    right: list[float]

    @property
    def least(self) -> float:
        """The accuracy below which a teacher may be guessing."""
        return self.chance + LEAST_ERRORS * self.standard_error

    @property
    def is_at_chance(self) -> bool:
        """Whether it may be guessing, as far as labels tell."""
        return self.accuracy is not None and self.accuracy.value < self.least

    def lines(self) -> Iterator[str]:
        """The report for people."""
        if self.accuracy is None:
            yield f"{self.questions} questions without public answers: its accuracy is not known"
        else:
            low, high = self.accuracy.low, self.accuracy.high
            yield (
                f"accuracy {self.accuracy.value:.3f} [{low:.3f}, {high:.3f}] on {self.labelled}"
                f" questions; chance {self.chance:.3f}"
            )
        if self.ece is not None:
            yield f"calibration: expected error {self.ece:.3f} ({BINS} bins)"
        if self.entropy is not None:
            yield f"entropy: {self.entropy:.3f} of a uniform guess's"
        for name, shares in (("chosen", self.chosen), ("right", self.right)):
            if shares:
                places = zip(ascii_uppercase, shares, strict=False)
                text = ", ".join(f"{letter} {share:.2f}" for letter, share in places)
                yield f"places {name}: {text}"


def report_of(questions: Sequence[Question], judgements: Mapping[str, Judgement]) -> Report:
    """The report on the questions that have been judged.

    Args:
        questions: with options; those that are not in `judgements` do not count.
    """
    judged = [question for question in questions if question.id in judgements]
    chosen = {q.id: choice_of(judgements[q.id]) for q in judged}
    labelled = [question for question in judged if question.answer_index is not None]
    is_right = {q.id: chosen[q.id] == q.answer_index for q in labelled}
    videos: dict[str, list[int]] = {}
    for question in labelled:
        videos.setdefault(question.unit, []).append(is_right[question.id])
    shares = [1 / len(question.choices or ()) for question in labelled]
    probabilities = {
        key: own for key, own in ((q.id, probabilities_of(judgements[q.id])) for q in judged) if own
    }
    pairs = [(max(probabilities[q.id]), is_right[q.id]) for q in labelled if q.id in probabilities]
    entropies = [
        -sum(p * math.log(p) for p in own if p) / math.log(len(own))
        for own in probabilities.values()
        if len(own) > 1
    ]
    return Report(
        questions=len(judged),
        labelled=len(labelled),
        accuracy=interval([(sum(own), len(own)) for own in videos.values()]) if videos else None,
        chance=float(np.mean(shares)) if shares else 0.0,
        standard_error=math.sqrt(sum(p * (1 - p) for p in shares)) / max(len(shares), 1),
        ece=calibration_error(pairs) if pairs else None,
        entropy=float(np.mean(entropies)) if entropies else None,
        chosen=_shares(chosen.values()),
        right=_shares(q.answer_index for q in labelled if q.answer_index is not None),
    )


def choice_of(judgement: Judgement) -> int:
    """The option that a teacher takes, the first of equally probable ones."""
    values = _values(judgement)
    if values is None:
        assert judgement.choice is not None
        return judgement.choice
    return int(np.argmax(values))


def probabilities_of(judgement: Judgement) -> list[float] | None:
    """The softmax of log p a token, or of the letters' log p; None of a choice alone."""
    values = _values(judgement)
    if values is None:
        return None
    e = np.exp(np.array(values) - max(values))
    probabilities: list[float] = (e / e.sum()).tolist()
    return probabilities


def _values(judgement: Judgement) -> list[float] | None:
    return judgement.by_text or judgement.letter_log_p


def calibration_error(pairs: Sequence[tuple[float, bool]]) -> float:
    """The expected calibration error of (confidence, whether it was right), in BINS equal bins."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in pairs:
        bins.setdefault(min(int(confidence * BINS), BINS - 1), []).append((confidence, right))
    gaps = (abs(sum(right - confidence for confidence, right in own)) for own in bins.values())
    return sum(gaps) / len(pairs)


def _shares(places: Iterable[int]) -> list[float]:
    """The share of each place, up to the last one that occurs."""
    counts = Counter(places)
    total = sum(counts.values())
    return [counts[place] / total for place in range(max(counts) + 1)] if counts else []
