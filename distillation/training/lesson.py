"""One training: its questions, features, lines and teacher are made ready once, and learned from
with one learning rate after the other."""

import random
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from distillation.features import Features, open_features
from distillation.inputs.batches import Group, Reader, grouped, set_statistics
from distillation.inputs.lines import Prompts
from distillation.inputs.views import choice_questions, view_of
from distillation.judgements import features_path, judgements_of, read_judgements
from distillation.runs.folder import ABOUT, EPOCHS, WEIGHTS, log_p_of, open_student, save_student
from distillation.student import Student, StudentConfig
from distillation.training.losses import Teaching
from distillation.training.settings import CLIP_NORM, TrainSettings
from distillation.training.targets import Targets, make_targets
from distillation.training.trainer import StudentTrainer, arguments_of, epochs_of
from qa.predictions import Prediction, benchmark_digest, write_predictions
from qa.records import Question
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine, file_digest, read_json, write_json


@dataclass
class Lesson:
    """What a student learns from.

    Attributes:
        labelled: ids of the training questions whose label is read.
        about: what else shapes the training than its settings: digests, and the student's config.
        remarks: what a user should know before it begins.
    """

    settings: TrainSettings
    config: StudentConfig
    features: Features
    training: list[Question]
    validation: list[Question]
    labelled: set[str]
    prompts: Prompts
    targets: Targets | None
    vectors: dict[str, np.ndarray]
    about: dict[str, Any]
    remarks: list[str]

    def new_student(self) -> Student:
        """A student with first weights of the settings' seed."""
        set_seed(self.settings.seed)
        student = Student(self.config)
        if not self.config.faithful:
            set_statistics(student, self.features, self.training)
        return student

    def reader(self, student: Student, training: bool) -> Reader:
        """What gives the student its inputs."""
        taught = self.targets is not None and training
        return Reader(
            self.features,
            self.prompts,
            self.labelled if training else None,
            self.targets.probabilities if taught and self.targets else {},
            self.vectors if taught else {},
            "zeroed" if self.settings.zero_video else None,
            student.visual_mean.clone(),
        )

    def learn(self, folder: Path, lr: float, weight: float, device: str) -> float:
        """Train a student into a folder, or go on there; returns its accuracy on the validation
        questions in its best epoch."""
        done = read_json(folder / EPOCHS)
        if done is not None and (folder / WEIGHTS).is_file():
            return best_of(done)
        settings = self.settings
        assert settings.epochs and settings.batch_size and settings.weight_decay is not None
        assert settings.soft
        student = self.new_student()
        trainer = StudentTrainer(
            student,
            Teaching(settings.distill_mode, settings.soft, weight),
            arguments_of(
                folder,
                lr=lr,
                epochs=settings.epochs,
                batch=settings.batch_size,
                decay=settings.weight_decay,
                clip=0.0 if self.config.faithful else CLIP_NORM,
                seed=settings.seed,
                use_cpu=device == "cpu",
                disable_tqdm=not sys.stderr.isatty(),
            ),
            self._learned_from(),
            self.reader(student, training=True),
            self.validation,
            self.reader(student, training=False),
        )
        trainer.train(resume_from_checkpoint=_last_whole(folder))
        rows = epochs_of(trainer)
        save_student(folder, student.cpu(), {})
        write_json(folder / EPOCHS, rows)
        return best_of(rows)

    def _learned_from(self) -> list[Group]:
        """What an epoch visits: of a teacher all questions, of labels alone those that have one, as
        often as it takes to make as many steps."""
        one_by_one = self.config.faithful or self.prompts.by_question
        groups = grouped(self.training, one_by_one)
        if self.targets is not None:
            return groups
        labelled = grouped((q for q in self.training if q.id in self.labelled), one_by_one)
        return (labelled * ceil(len(groups) / len(labelled)))[: len(groups)]

    def finish(self, out: Path, best: Path, about: dict[str, Any]) -> None:
        """Make the best attempt the run's student, with its answers to the validation questions."""
        if best != out:
            for name in (WEIGHTS, EPOCHS):
                shutil.copyfile(best / name, out / name)
        student = open_student(best)
        answers = log_p_of(student, self.reader(student, training=False), self.validation)
        split = self.settings.val
        path = out / "predictions" / f"{split}.jsonl"
        meta = {"dataset": about["dataset"], "split": split, "model": out.name}
        predictions = [Prediction(key, log_p=log_p) for key, log_p in answers.items()]
        write_predictions(path, predictions, meta)
        write_json(out / ABOUT, {**read_json(best / ABOUT), **about})


def open_lesson(
    dataset: Dataset, settings: TrainSettings, make_config: Callable[..., StudentConfig]
) -> Lesson:
    """Read all that a training needs; see `distillation.train.train` for the errors."""
    first = make_config(clip_width=1, frames=1)
    features = open_features(dataset, settings.clip, first.preset)
    if settings.num_video_frames not in (None, features.frames):
        raise UserError(
            f"--num_video_frames {settings.num_video_frames}: the features by {features.name} have"
            f" {features.frames} frames a video; make others with python -m distillation.features"
            " --name"
        )
    remarks: list[str] = []
    training = covered(dataset, settings.split, features, remarks)
    validation = [
        question
        for question in covered(dataset, settings.val, features, remarks)
        if question.answer_index is not None
    ]
    if not validation:
        raise UserError(f"{dataset.name}/{settings.val} has no labels, which choose the epoch")
    if shared := {q.unit for q in training} & {q.unit for q in validation}:
        raise UserError(
            f"{len(shared)} videos, such as {min(shared)}, are in {settings.split} and in"
            f" {settings.val}: splits are by video"
        )
    labelled = labelled_ids(training, settings.labels, settings.seed)
    if not labelled:
        raise UserError(f"--labels {settings.labels:g} of {len(training)} questions leaves none")
    prompts = Prompts(dataset, settings.prompt_variant, settings.captioner, training, settings.seed)
    about: dict[str, Any] = {
        "features": {"name": features.name, **features.params},
        "questions": [benchmark_digest(training), benchmark_digest(validation)],
        "captioner": prompts.captioner,
        "lines": prompts.digest([*training, *validation]),
    }
    targets: Targets | None = None
    vectors: dict[str, np.ndarray] = {}
    if settings.teacher_name:
        path = judgements_of(dataset, settings.teacher_name, settings.split)
        judgements, vectors = read_judgements(path, training, allow_missing=True)
        if missing := sum(question.id not in judgements for question in training):
            remarks.append(f"{path} lacks {missing} of {len(training)} questions: left out")
            training = [question for question in training if question.id in judgements]
            labelled &= judgements.keys()
        known = [question for question in training if question.id in labelled]
        assert settings.soft
        is_soft = Teaching(settings.distill_mode, settings.soft).reads_distribution
        targets = make_targets(judgements, training, known, settings.by, is_soft)
        about["teacher"] = {"digest": file_digest(path), "by": targets.by, "tau": targets.tau}
        remarks.append(
            f"{settings.teacher_name}: {targets.accuracy:.3f} of {len(known)} labelled training"
            f" questions by {targets.by}, tau {targets.tau:.2f}"
        )
        vectors = _needed_vectors(settings, vectors, path)
        if vectors:
            about["teacher"]["vectors"] = file_digest(features_path(path))
    config = make_config(
        clip_width=features.width,
        frames=features.frames,
        reads_lines=prompts.variant != "none",
        teacher_width=_width(vectors) if settings.soft == "feature" else None,
    )
    if config.width % config.heads or config.width % config.temporal_heads:
        raise UserError(f"a width of {config.width} cannot be shared by the heads: see --heads")
    about["config"] = asdict(config)
    remarks.append(
        f"{len(labelled)} of {len(training)} training questions have labels;"
        f" {len(validation)} questions of {settings.val}"
    )
    parts = (training, validation, labelled, prompts, targets, vectors, about, remarks)
    return Lesson(settings, config, features, *parts)


def labelled_ids(questions: Sequence[Question], part: float, seed: int) -> set[str]:
    """Ids of the labelled questions of a share of the videos, drawn by a seed; a smaller share is a
    part of a larger one."""
    videos = sorted({question.unit for question in questions})
    random.Random(f"{seed}/labels").shuffle(videos)
    kept = set(videos[: ceil(part * len(videos))])
    return {q.id for q in questions if q.unit in kept and q.answer_index is not None}


def best_of(rows: Sequence[dict[str, float]]) -> float:
    """The accuracy of the best epoch."""
    return max(row["val_accuracy"] for row in rows)


def covered(dataset: Dataset, split: str, features: Features, remarks: list[str]) -> list[Question]:
    """The questions of a split whose view has features; how many have none is remarked.

    Raises:
        UserError: there are none.
    """
    questions = choice_questions(dataset, split)
    kept = [question for question in questions if features.has(view_of(question))]
    if not kept:
        raise UserError(
            f"no question of {dataset.name}/{split} has features by {features.name}: run python -m"
            f" distillation.features {dataset.name} WORLD_SIZE again"
        )
    if missing := len(questions) - len(kept):
        remarks.append(f"{dataset.name}/{split}: {missing} questions without features: left out")
    return kept


def _needed_vectors(
    settings: TrainSettings, vectors: dict[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """The teacher's vectors where the soft term reads them, minus their mean for "feature".

    Raises:
        UserError: it has none.
    """
    assert settings.soft
    if not Teaching(settings.distill_mode, settings.soft).reads_vectors:
        return {}
    if not vectors:
        raise UserError(
            f"--soft {settings.soft} needs the teacher's vectors, and {path} has none beside it:"
            " take --soft kl"
        )
    if settings.soft == "mse":
        return vectors
    mean = np.mean(list(vectors.values()), axis=0, dtype=np.float32)
    return {key: row.astype(np.float32) - mean for key, row in vectors.items()}


def _width(vectors: dict[str, np.ndarray]) -> int | None:
    return len(next(iter(vectors.values()))) if vectors else None


def _last_whole(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end, where its trainer_state.json stands."""
    steps = {int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-[0-9]*")}
    for step in sorted(steps, reverse=True):
        with suppress(CorruptLine):
            if read_json(steps[step] / "trainer_state.json"):
                return str(steps[step])
        print(f"{steps[step]} is not whole and is passed over", file=sys.stderr)
    return None
