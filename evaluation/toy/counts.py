"""A model's answers about one story, counted: (numerator, denominator) of every metric.

0 / 0 is a metric that this story has nothing to say about.
"""

from collections.abc import Sequence
from itertools import combinations
from math import comb
from operator import attrgetter

from evaluation.toy.events import find_events
from evaluation.toy.questions import Questions
from evaluation.toy.stories import Story
from inference.likelihood import LogLikelihood
from toyworld.language import Event

Counts = dict[str, tuple[float, int]]


def description_counts(truth: Sequence[Event], mentioned: Sequence[Event]) -> Counts:
    """Of the distinct events that a description mentions, in the order of their first mention.

    recall: true events that are mentioned; precision: mentioned events that are true; ordered:
    pairs of true events that are mentioned in their true order, of all pairs of them; order: the
    same, of the pairs that are mentioned, (tau + 1) / 2 for Kendall's tau; exact: all are
    mentioned, and in order (false events count in precision alone).
    """
    places = [truth.index(event) for event in mentioned if event in truth]
    pairs = list(combinations(places, 2))
    in_order = sum(first < second for first, second in pairs)
    return {
        "recall": (len(places), len(truth)),
        "precision": (len(places), len(mentioned)),
        "ordered": (in_order, comb(len(truth), 2)),
        "order": (in_order, len(pairs)),
        "exact": (int(places == list(range(len(truth)))), 1),
    }


def neighbour_counts(story: Story, questions: Questions, answers: Sequence[str]) -> Counts:
    """Right answers to what happens right after, then right before, an event.

    Right is an answer whose first event is the right one; the event that was asked about may be
    repeated before it, as in "After a red circle moves left, a blue star turns".
    """
    right = []
    for (about, answer), text in zip((*questions.after, *questions.before), answers, strict=True):
        others = [event for event in find_events(text) if event != story.events[about]]
        right.append(others[:1] == [story.events[answer]])
    after = len(questions.after)
    return {
        "after": (sum(right[:after]), after),
        "before": (sum(right[after:]), len(questions.before)),
    }


def clip_counts(story: Story, questions: Questions, captions: Sequence[str]) -> Counts:
    """Clip captions whose first event is the clip's."""
    right = sum(
        find_events(caption)[:1] == [story.events[place]]
        for place, caption in zip(questions.clips, captions, strict=True)
    )
    return {"clip": (right, len(questions.clips))}


def preference_counts(questions: Questions, likelihoods: Sequence[LogLikelihood]) -> Counts:
    """Perturbed narratives that are less likely than the truth.

    Compared by the sum of log p over the answer, and where events are dropped by its mean a token:
    a text of half the tokens has half the factors below 1, for which alone a sum would favour it.
    log_p_true and log_p_moved are nats and tokens of the truth, and of all its events in another
    order: what training does to either side.

    Args:
        likelihoods: of the true narrative, then of the perturbed ones.
    """
    truth, others = likelihoods[0], iter(likelihoods[1:])
    counts: Counts = {}
    moved: list[LogLikelihood] = []
    for metric, texts in questions.perturbed.items():
        is_dropped = metric == "prefer_dropped"
        log_p = attrgetter("mean" if is_dropped else "total")
        own = [next(others) for _ in texts]
        counts[metric] = (sum(log_p(truth) > log_p(other) for other in own), len(texts))
        moved += [] if is_dropped else own
    for metric, found in (("log_p_true", [truth]), ("log_p_moved", moved)):
        nats = sum(likelihood.total for likelihood in found)
        counts[metric] = (round(nats, 1), sum(likelihood.tokens for likelihood in found))
    return counts
