"""Answers to held-out questions, and how near they are to the right ones."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from grounding.answerer.answerer import Answerer, Example
from grounding.answerer.decoding import Decoding
from grounding.training.experiment import Experiment
from qa.predictions import Prediction, write_predictions
from qa.records import Question


def validate(
    answerer: Answerer,
    questions: Sequence[Question],
    shown: Iterable[Example],
    experiment: Experiment,
    output: Path,
) -> float:
    """BLEU-1 of the answers, which go to <output>/<split>.jsonl as predictions.

    Args:
        shown: each question with its frames.
    """
    decoding = Decoding(**vars(experiment.model.generate_configs))
    answers: list[str] = []
    frames = iter(shown)
    while rows := list(islice(frames, experiment.data.batch_size)):
        answers += answerer.answer(rows, decoding)
    predictions = [
        Prediction(question.id, answer) for question, answer in zip(questions, answers, strict=True)
    ]
    first = questions[0]
    meta = {"dataset": first.dataset, "split": first.split, "model": experiment.experiment}
    write_predictions(output / f"{first.split}.jsonl", predictions, meta)
    score = bleu_1(answers, [str(question.answer) for question in questions])
    print(f"{first.split}: BLEU-1 {score:.3f} of {len(answers)} answers")
    return score


def bleu_1(answers: Sequence[str], right: Sequence[str]) -> float:
    """BLEU of single words over all answers (Papineni et al., 2002), in lower case: the share of
    their words that the right ones hold, each as often as it stands there, times
    exp(1 - right words / words) where the answers are shorter."""
    pairs = [(a.lower().split(), b.lower().split()) for a, b in zip(answers, right, strict=True)]
    words, wanted = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    if not words:
        return 0.0
    shared = sum((Counter(a) & Counter(b)).total() for a, b in pairs)
    return shared / words * min(1.0, math.exp(1 - wanted / words))
