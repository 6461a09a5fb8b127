"""The student: masks, what reads what, what is trained, and questions grouped by video."""

import pytest
import torch
import torch.nn.functional as F

from distillation.student import Student, StudentConfig
from distillation.training.losses import label_loss

D, T, N, L, C = 16, 4, 3, 5, 4
SMALL = {"heads": 2, "temporal_heads": 2, "ffn": 2, "dropout": 0.0}


def student_of(**fields):
    torch.manual_seed(0)
    return Student(StudentConfig(D, T, **{**SMALL, **fields})).eval()


@pytest.fixture
def inputs():
    """Two views; of the first two questions are asked, of the second one."""
    torch.manual_seed(1)
    return {
        "visual": torch.randn(2, T, N, D),
        "question": torch.randn(3, D),
        "options": torch.randn(3, C, D),
        "is_option": torch.ones(3, C, dtype=torch.bool),
        "owner": torch.tensor([0, 0, 1]),
        "lines": torch.randn(2, T, L, D),
        "live": torch.ones(2, T, L, dtype=torch.bool),
    }


def close(a, b, tolerance=1e-6):
    return (a - b).abs().max().item() < tolerance


def padded(inputs):
    """The same inputs with two more slots a line and one more option, all padding."""
    return {
        **inputs,
        "lines": F.pad(inputs["lines"], (0, 0, 0, 2), value=3.0),
        "live": F.pad(inputs["live"], (0, 2), value=False),
        "options": F.pad(inputs["options"], (0, 0, 0, 1), value=3.0),
        "is_option": F.pad(inputs["is_option"], (0, 1), value=False),
    }


def test_padding_of_lines_and_options_changes_nothing_and_is_never_chosen(inputs):
    student = student_of()
    plain, more = student(**inputs).logits, student(**padded(inputs)).logits
    assert close(plain, more[:, :C])
    assert (more[:, C] < -1e8).all()


def test_the_faithful_student_reads_padding_too(inputs):
    student = student_of(preset="faithful")
    plain, more = student(**inputs).logits, student(**padded(inputs)).logits
    assert not close(plain, more[:, :C], 1e-3)


def test_faithful_logits_are_cosines_of_the_mean_over_frames(inputs):
    """Written out with the module's own weights."""
    student = student_of(preset="faithful")
    v = inputs["visual"].flatten(0, 1)
    lines = student.norm_line(inputs["lines"].flatten(0, 1))
    queries = student.norm_query(v)
    v = student.norm_tokens(v + student.attend(queries, lines, lines)[0])
    frames = v.mean(1).reshape(2, T, D) + student.time
    h = student.norm_out(student.temporal(frames)).mean(1)
    expected = torch.stack(
        [
            F.cosine_similarity(h[view][None], inputs["options"][number], dim=-1)
            for number, view in enumerate((0, 0, 1))
        ]
    )
    assert close(student(**inputs).logits, expected)


def test_permuted_options_permute_the_logits(inputs):
    student, order = student_of(), [2, 0, 3, 1]
    permuted = {**inputs, "options": inputs["options"][:, order]}
    assert close(student(**inputs).logits[:, order], student(**permuted).logits)


def test_a_line_changes_the_vectors_of_its_own_frame_alone(inputs):
    student = student_of()
    vectors = student.frame_vectors(inputs["visual"], inputs["lines"], inputs["live"])
    lines = inputs["lines"].clone()
    lines[1, 2] += 1
    changed = student.frame_vectors(inputs["visual"], lines, inputs["live"])
    assert (vectors != changed).any(-1).nonzero().tolist() == [[1, 2]]


def test_a_frame_without_a_line_is_as_if_there_were_no_cross_attention(inputs):
    student = student_of()
    live = inputs["live"].clone()
    live[0, 1] = False
    with_lines = student.frame_vectors(inputs["visual"], inputs["lines"], live)
    without = student.frame_vectors(inputs["visual"])
    assert close(with_lines[0, 1], without[0, 1])
    assert not close(with_lines[0, 0], without[0, 0], 1e-3)
    none = student.frame_vectors(inputs["visual"], inputs["lines"], live & False)
    assert close(none, without)


def test_a_student_without_lines_has_no_cross_attention_and_the_same_other_weights(inputs):
    reading, blind = student_of(), student_of(reads_lines=False)
    own = dict(blind.named_parameters())
    assert not [name for name in own if name.startswith(("attend", "norm_line", "norm_query"))]
    assert all(torch.equal(own[name], p) for name, p in reading.named_parameters() if name in own)
    assert torch.equal(blind(**inputs).logits, reading(**{**inputs, "lines": None}).logits)


def test_the_order_of_frames_and_the_question_change_the_answer(inputs):
    student = student_of(reads_lines=False)
    logits = student(**inputs).logits
    reversed_ = {**inputs, "visual": inputs["visual"].flip(1)}
    assert not close(logits, student(**reversed_).logits, 1e-3)
    asked = {**inputs, "question": inputs["question"].flip(0)}
    assert not close(logits, student(**asked).logits, 1e-3)


def test_questions_grouped_by_video_give_the_gradients_of_questions_one_by_one(inputs):
    labels = torch.tensor([1, 3, 0])
    gradients = []
    for one_by_one in (False, True):
        student = student_of()
        batch = dict(inputs)
        if one_by_one:
            for name in ("visual", "lines", "live"):
                batch[name] = inputs[name][inputs["owner"]]
            batch["owner"] = torch.arange(3)
        loss = label_loss(student(**batch).logits, labels)
        loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in student.parameters())])
    assert all(close(a, b, 1e-5) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("fields", "millions"), [({"preset": "faithful"}, 7.364), ({}, 7.889), ({"d_model": 64}, 0.159)]
)
def test_how_much_is_trained_at_the_width_of_vit_b_16(fields, millions):
    student = Student(StudentConfig(512, 8, **fields))
    count = sum(p.numel() for p in student.parameters() if p.requires_grad)
    assert count / 1e6 == pytest.approx(millions, abs=0.001)


def test_the_scale_begins_at_14_3_and_never_exceeds_100():
    student = student_of()
    assert student.scale.item() == pytest.approx(14.3)
    student.log_scale.data.fill_(9.0)
    assert student.scale.item() == 100.0
