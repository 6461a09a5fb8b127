"""Scores of answers."""

import pytest

from grounding.scores import METRICS


@pytest.mark.parametrize(
    ("answer", "gold", "rouge", "f1", "exact"),
    [
        ("A red circle.", "a red circle", 1, 1, 1),
        ("a red star", "a red circle", 2 / 3, 2 / 3, 0),
        ("It is a red circle, I think", "a red circle", 1, 0.6, 0),
        ("circle red a", "a red circle", 1, 1, 0),
        ("the the the", "the cat", 1 / 2, 2 / 5, 0),
        ("", "a red circle", 0, 0, 0),
        ("a", "", 0, 0, 0),
        ("yes</s>", "Yes!</s>", 1, 1, 1),
        ("deux élèves", "Deux élèves", 1, 1, 1),
    ],
)
def test_scores(answer, gold, rouge, f1, exact):
    scores = {name: metric(answer, gold) for name, metric in METRICS.items()}
    assert scores == pytest.approx({"rouge1_recall": rouge, "token_f1": f1, "exact": exact})
