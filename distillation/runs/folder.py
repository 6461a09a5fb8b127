"""The folder of a trained student, exp/cater/<run>/, and what a student answers.

student.safetensors   what was trained, and the statistics of the training set; not CLIP
student.json          what it is made of, how it was trained, what was tried
epochs.json           a row an epoch: loss, and accuracy on the validation questions
predictions/          <split>.jsonl and its controls, <split>.<control>.jsonl, as qa has them
scores/<split>.json   accuracy a video, by which students are compared
"""

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from distillation.inputs.batches import Reader, grouped
from distillation.student import Student, StudentConfig
from qa.records import Question
from tools.errors import UserError
from tools.store.files import read_json, replace_atomically, write_json

WEIGHTS, ABOUT, EPOCHS = "student.safetensors", "student.json", "epochs.json"
GROUPS_AT_ONCE = 64  # views that are read together where nothing is learned
DIGITS = 4  # of log p: what is below depends on which questions share a batch


def save_student(folder: Path, student: Student, about: dict[str, Any]) -> None:
    """Write a student; `about` is kept in student.json beside its config."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in student.state_dict().items()}
    with replace_atomically(folder / WEIGHTS) as file:
        file.write(save(tensors))
    write_json(folder / ABOUT, {"config": asdict(student.config), **about})


def read_about(folder: Path) -> dict[str, Any]:
    """What student.json says.

    Raises:
        UserError: the folder holds no trained student, or is a checkpoint of another code.
    """
    if folder.is_file():
        raise UserError(
            f"{folder} is a file: a student is a folder of {WEIGHTS} and {ABOUT}; a pickled"
            " checkpoint, such as the public code's best.pt, may run code and is not opened"
        )
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict) or "config" not in about:
        raise UserError(
            f"{folder} holds no trained student: python -m distillation.train makes one"
        )
    return about


def open_student(folder: Path, device: str = "cpu") -> Student:
    """The student of a folder, ready to answer.

    Raises:
        UserError: there is none, or its weights are those of another configuration.
    """
    config = read_about(folder)["config"]
    known = {entry.name for entry in fields(StudentConfig)}
    student = Student(StudentConfig(**{k: v for k, v in config.items() if k in known}))
    try:
        student.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder / WEIGHTS} does not fit its student.json ({reason})") from None
    return student.to(device).eval()


@torch.inference_mode()
def log_p_of(
    student: Student, read: Reader, questions: Sequence[Question]
) -> dict[str, list[float]]:
    """{id: log p of each option, nats}."""
    device = next(student.parameters()).device
    was_training = student.training
    student.eval()
    answers: dict[str, list[float]] = {}
    groups = grouped(questions, read.prompts.by_question)
    for start in range(0, len(groups), GROUPS_AT_ONCE):
        part = groups[start : start + GROUPS_AT_ONCE]
        inputs = {name: tensor.to(device) for name, tensor in inputs_of(read(part)).items()}
        logits = student(**inputs).logits.float().log_softmax(-1).cpu()
        asked = [question for group in part for question in group.questions]
        for question, row in zip(asked, logits.tolist(), strict=True):
            own = row[: len(question.choices or ())]
            answers[question.id] = [round(value, DIGITS) for value in own]
    student.train(was_training)
    return answers


def inputs_of(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A batch without what only a loss reads."""
    return {k: v for k, v in batch.items() if k not in ("labels", "teacher", "vectors")}


def accuracy_of(questions: Sequence[Question], answers: dict[str, list[float]]) -> float:
    """Share of the questions whose likeliest option is the right one."""
    right = [
        max(range(len(answers[q.id])), key=answers[q.id].__getitem__) == q.answer_index
        for q in questions
    ]
    return sum(right) / len(right)
