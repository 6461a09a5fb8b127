"""Synthetic teachers: right on a set share of the questions, and as sure as they are right.

Their logits are a x (1 for the right option, else 0) + N(0, 1), a being set so that the largest is
right so often; softmax(a x logits) is then the chance that each option is right. A teacher that is
always right is certain.
"""

from collections.abc import Sequence

import numpy as np

from distillation.judgements import Judgement, write_judgements
from qa.records import Question, read_questions
from tools.store.dataset import Dataset

WIDTH = 64  # of a teacher's vector
CERTAIN = 20.0  # nats between the right option and the others
LARGEST = 10.0  # of a
STEPS = 40


def teacher_name(percent: int, seed: int) -> str:
    """What the teacher of a seed is called."""
    return f"right{percent}-s{seed}"


def judge(right: np.ndarray, options: int, accuracy: float, rng: np.random.Generator) -> np.ndarray:
    """(n, C) log p of the options of n questions.

    Args:
        right: (n,) places of the right options.
        accuracy: share of the questions whose largest log p is the right one's.
    """
    is_right = np.eye(options)[right]
    if accuracy == 1:
        logits = CERTAIN * is_right
    else:
        noise = rng.normal(size=is_right.shape)
        low, high = 0.0, LARGEST
        for _ in range(STEPS):  # the share of right ones rises with a
            a = (low + high) / 2
            share = np.mean((noise + a * is_right).argmax(1) == right)
            low, high = (a, high) if share < accuracy else (low, a)
        logits = high * (noise + high * is_right)
    result: np.ndarray = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return result


def vectors_of(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """{text: a random (WIDTH,) vector}, the same each time: what stands for a teacher's state."""
    return {
        text: np.random.default_rng(list(text.encode())).normal(size=WIDTH) for text in set(texts)
    }


def write_teacher(dataset: Dataset, percent: int, seed: int) -> str:
    """Write the teacher of a seed, whose vector of a question is that of the event it chooses,
    where it is not there; returns its name."""
    name = teacher_name(percent, seed)
    path = dataset.judgements_of(name, "train")
    if not path.is_file():
        questions: list[Question] = read_questions(dataset, "train")
        right = np.array([question.answer_index for question in questions])
        options = [question.choices or [] for question in questions]
        rng = np.random.default_rng([seed, percent])
        log_p = judge(right, len(options[0]), percent / 100, rng)
        rows = [
            Judgement(question.id, np.round(row, 6).tolist(), [1] * len(row), frames=0)
            for question, row in zip(questions, log_p, strict=True)
        ]
        chosen = [own[place] for own, place in zip(options, log_p.argmax(1), strict=True)]
        vectors = vectors_of(chosen)
        write_judgements(path, rows, np.stack([vectors[text] for text in chosen]))
    return name
