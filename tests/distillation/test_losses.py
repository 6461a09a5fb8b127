"""Losses, by hand; and what each mode moves."""

import math

import pytest
import torch

from distillation.student import NO_OPTION, Reading, Student, StudentConfig
from distillation.training.losses import (
    Teaching,
    divergence,
    label_loss,
    random_projection,
    teacher_loss,
)


def reading(logits, h=None, taught=None):
    h = torch.zeros(len(logits), 4) if h is None else h
    return Reading(torch.tensor(logits), h, taught)


def test_questions_without_a_label_are_left_out_of_the_cross_entropy():
    logits = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    assert label_loss(logits, torch.tensor([1, -1])).item() == pytest.approx(math.log(2))
    assert label_loss(logits, torch.tensor([-1, -1])).item() == 0.0


def test_the_divergence_by_hand():
    """At temperature 2 the teacher's (0.8, 0.2) is (2/3, 1/3), and the student's (1/2, 1/2)."""
    value = divergence(torch.zeros(1, 2), torch.tensor([[0.8, 0.2]]), temperature=2.0)
    by_hand = 4 * (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3))
    assert value.item() == pytest.approx(by_hand, abs=1e-6)


def test_a_padded_option_does_not_change_the_divergence():
    student, teacher = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.3, 0.7]])
    plain = divergence(student, teacher)
    padded = divergence(torch.tensor([[1.0, -1.0, NO_OPTION]]), torch.tensor([[0.3, 0.7, 0.0]]))
    assert plain.item() == pytest.approx(padded.item(), abs=1e-6)


def test_the_hard_term_is_half_of_the_cross_entropy_of_the_teachers_choice():
    loss = teacher_loss(
        Teaching("hard"), reading([[0.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.1, 0.7, 0.1, 0.1]])
    )
    assert loss.item() == pytest.approx(0.5 * math.log(4))


def test_hybrid_is_the_sum_of_hard_and_soft_and_a_weight_multiplies_both():
    given = (reading([[0.3, -0.2]]), torch.tensor([[0.8, 0.2]]))
    hard, soft, hybrid = (
        teacher_loss(Teaching(mode), *given).item() for mode in ("hard", "soft", "hybrid")
    )
    assert hybrid == pytest.approx(hard + soft)
    assert teacher_loss(Teaching("hybrid", weight=9.0), *given).item() == pytest.approx(9 * hybrid)
    assert teacher_loss(Teaching("none"), *given).item() == 0.0


def test_the_published_soft_term_of_orthogonal_vectors_is_0_4_times_2_over_d():
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
    target = random_projection(vectors, 4)
    assert target.norm().item() == pytest.approx(1.0)
    h = torch.stack([-target[0, 1], target[0, 0], -target[0, 3], target[0, 2]])[None]
    loss = teacher_loss(
        Teaching("soft", "mse"), reading([[0.0, 0.0]], 7 * h), torch.tensor([[0.5, 0.5]]), vectors
    )
    assert loss.item() == pytest.approx(0.4 * 2 / 4, abs=1e-6)


@pytest.mark.parametrize(
    ("teaching", "head", "options"),
    [
        (Teaching("hard"), False, True),
        (Teaching("soft"), False, True),
        (Teaching("soft", "feature"), True, False),
        (Teaching("soft", "mse"), False, False),
        (Teaching("hybrid", "feature"), True, True),
    ],
)
def test_which_tensors_a_mode_moves(teaching, head, options):
    torch.manual_seed(0)
    student = Student(
        StudentConfig(8, 2, False, 6 if head else None, heads=2, temporal_heads=2, dropout=0.0)
    )
    batch = {"visual": torch.randn(1, 2, 3, 8), "question": torch.randn(2, 8)}
    batch |= {"options": torch.randn(2, 3, 8), "is_option": torch.ones(2, 3, dtype=torch.bool)}
    outcome = student(**batch, owner=torch.tensor([0, 0]))
    teacher = torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    teacher_loss(teaching, outcome, teacher, torch.randn(2, 6)).backward()
    moved = {n for n, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    scored = {"log_scale", "option.weight", "option.bias"}
    everything = {name for name, _ in student.named_parameters()}
    untouched = set() if options else scored
    # A bias of keys adds the same to all scores of a softmax; rounding alone moves it.
    missing = {name for name in everything - moved if "in_proj" not in name}
    assert missing == untouched
