"""What a student learns from labels and from a teacher.

| mode | terms beside the cross-entropy of labelled questions |
|---|---|
| none | |
| hard | cross-entropy of the option that the teacher chooses, weight 0.5 |
| soft | divergence from the teacher's distribution, both softened by a temperature of 2, weight 1 |
| hybrid | both |

Terms of a teacher are over all questions, labelled or not. `--soft feature` replaces the divergence
by the cosine with the teacher's own vector (weight 0.4); the faithful preset by the mean squared
difference from a random projection of it, as published, which is at most 4 / d and so of no weight.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distillation.student import NO_OPTION, Reading

MODES = ("none", "hard", "soft", "hybrid")
SOFT = ("kl", "feature", "mse")
# Weights of the terms (the public code's, but for kl, which it does not have).
HARD_WEIGHT = 0.5
SOFT_WEIGHTS = {"kl": 1.0, "feature": 0.4, "mse": 0.4}
TEMPERATURE = 2.0
SMALLEST = 1e-6  # a probability below counts as this much, so that its logarithm exists


@dataclass(frozen=True)
class Teaching:
    """Which terms there are.

    Attributes:
        weight: times the terms' own weights.
    """

    mode: str = "none"
    soft: str = "kl"
    weight: float = 1.0

    @property
    def hard_weight(self) -> float:
        """Of the teacher's choice."""
        return self.weight * HARD_WEIGHT * (self.mode in ("hard", "hybrid"))

    @property
    def soft_weight(self) -> float:
        """Of its distribution or its vector."""
        return self.weight * SOFT_WEIGHTS[self.soft] * (self.mode in ("soft", "hybrid"))

    @property
    def reads_distribution(self) -> bool:
        """Whether it needs the teacher's probabilities of all options."""
        return bool(self.soft_weight) and self.soft == "kl"

    @property
    def reads_vectors(self) -> bool:
        """Whether it needs the teacher's vectors."""
        return bool(self.soft_weight) and self.soft != "kl"


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of (Q, C) logits over the questions with a label, 0 where none has one;
    labels (Q,) are -1 elsewhere."""
    labelled = labels >= 0
    if not labelled.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[labelled], labels[labelled])


def divergence(logits: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Mean over questions of temperature^2 KL(teacher || student), in nats, both distributions
    softened: softmax(log p / temperature) (Hinton et al., arXiv 1503.02531).

    Args:
        logits: (Q, C); teacher: (Q, C) probabilities, 0 of options that are padding.
    """
    is_option = logits > NO_OPTION / 2
    log_p = teacher.clamp_min(SMALLEST).log().masked_fill(~is_option, -torch.inf)
    target = (log_p / temperature).softmax(-1)
    student = (logits / temperature).log_softmax(-1)
    per_question = F.kl_div(student, target, reduction="none").sum(-1)
    return temperature**2 * per_question.mean()


def random_projection(vectors: Tensor, width: int, seed: int = 0) -> Tensor:
    """(n, width) vectors of length 1: a Gaussian projection, drawn by a seed, of (n, D) vectors."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(vectors.shape[-1], width, generator=generator)
    return F.normalize(vectors @ matrix.to(vectors), dim=-1)


def teacher_loss(
    teaching: Teaching, reading: Reading, teacher: Tensor, vectors: Tensor | None = None
) -> Tensor:
    """The terms of a teacher, weighted.

    Args:
        reading: of the student.
        teacher: (Q, C) the teacher's probabilities.
        vectors: (Q, D) its vectors, minus their training mean for "feature"; None: not needed.
    """
    loss = reading.logits.sum() * 0.0
    if teaching.hard_weight:
        loss = loss + teaching.hard_weight * F.cross_entropy(reading.logits, teacher.argmax(-1))
    if not teaching.soft_weight:
        return loss
    if teaching.soft == "kl":
        return loss + teaching.soft_weight * divergence(reading.logits, teacher)
    assert vectors is not None
    if teaching.soft == "feature":
        assert reading.taught is not None
        cosines = F.cosine_similarity(reading.taught, vectors, dim=-1)
        return loss + teaching.soft_weight * (1 - cosines).mean()
    target = random_projection(vectors, reading.h.shape[-1])
    return loss + teaching.soft_weight * F.mse_loss(F.normalize(reading.h, dim=-1), target)
