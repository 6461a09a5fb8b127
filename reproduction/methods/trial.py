"""One seed: what TOPA and the students answer. The other methods have commands of their own.

    python -m reproduction.methods.trial 1-0123abcd --exp exp/methods --runs exp

TOPA is that of the seed in <runs>/prealignment, whose CLIP and bridge are trained where they are
missing. Students learn rates and weights of reproduction/results/distillation_choices.json.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation import suite
from inference.checkpoints import digest
from prealignment.model.layouts import Sample
from prealignment.scores.options import option_scores
from prealignment.vectors.memory import project
from qa.predictions import (
    Prediction,
    benchmark_digest,
    control_path,
    read_predictions,
    write_predictions,
)
from qa.records import Question, read_questions
from reproduction.distillation.arms import BASE, CONFIG
from reproduction.distillation.results import CHOICES as RATES
from reproduction.distillation.world import data_of
from reproduction.methods.arms import BLIND, STUDENTS, TEACHER, TOPA
from reproduction.methods.world import (
    CLIP,
    EVENTS,
    FRAMES,
    SIZES,
    by_video,
)
from reproduction.prealignment.arms import MAIN
from reproduction.prealignment.clips import image_vectors
from reproduction.prealignment.footage import SHOT_PICTURES, SIDE, Footage
from reproduction.prealignment.scoring import BATCH
from reproduction.prealignment.trial import Trial
from tools.cli import new_folder, run_script, script_parser
from tools.store.dataset import Dataset
from tools.store.files import read_json
from tools.video.sampling import squares_at_rate
from toyworld.questions import CHOICES
from toyworld.stories import RATE
from toyworld.truth import events_of, read_truth


def key_of(dataset: Dataset, seed: int, models: Mapping[str, Path]) -> str:
    """What the answers of a seed are named after: it changes with its models and the questions, so
    that none are taken for those of others."""
    about = [benchmark_digest(read_questions(dataset, CHOICES))]
    about += [digest(str(folder)) for folder in models.values()]
    return f"{seed}-{hashlib.sha1(' '.join(about).encode()).hexdigest()[:8]}"


def predictions_of(dataset: Dataset, arm: str, key: str) -> Path:
    """What an arm, or the control of one, `<arm>.<control>`, answers."""
    name, _, control = arm.partition(".")
    return control_path(dataset.predictions(CHOICES, f"{name}_{key}"), control or None)


def footage_of(dataset: Dataset, videos: Sequence[str]) -> Footage:
    """The shots of videos, all of which are as long as one another."""
    events = {line["video_name"]: events_of(line) for line in read_truth(dataset.root)}
    films = [
        [square for _, square in squares_at_rate(dataset.root / "video" / v, float(RATE), SIDE)]
        for v in videos
    ]
    pictures = np.array(films).reshape(-1, SHOT_PICTURES, SIDE, SIDE, 3)
    happens = [event for video in videos for event in events[video]]
    return Footage(pictures, happens, [EVENTS] * len(videos))


class Topa:
    """The projected bridge of a seed of TOPA's reproduction."""

    @classmethod
    def of_seed(cls, seed: int, runs: Path) -> "Topa":
        """That of a seed, trained where it is missing."""
        return cls(Trial(seed, runs / "prealignment" / f"seed_{seed}"))

    def __init__(self, trial: Trial) -> None:
        self.aligned = trial.bridge(MAIN)
        self.clip, self.memory = trial.space.clip, trial.space.texts.memory()

    def answer(
        self, footage: Footage, asked: Sequence[list[Question]], blind: bool = False
    ) -> list[Prediction]:
        """The likelihood of the options of each video's questions; `blind`: without the video."""
        shots = footage.by_video(image_vectors(self.clip, footage) * (not blind))
        samples = [
            (Sample("choice", None, question.question, tuple(question.choices or ())), vectors)
            for vectors, questions in zip(map(self.project, shots), asked, strict=True)
            for question in questions
        ]
        questions = [question for own in asked for question in own]
        scores = option_scores(self.aligned, samples, BATCH)
        return [
            Prediction(question.id, log_p=values)
            for question, values in zip(questions, scores, strict=True)
        ]

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Image vectors as mixtures of text vectors."""
        projected: np.ndarray = project(torch.from_numpy(vectors), self.memory).numpy()
        return projected


def student_of(exp: Path, name: str, key: str) -> Path:
    """The folder of a student."""
    return exp / "students" / key / name / f"s{key.partition('-')[0]}"


def student(exp: Path, name: str, key: str, size: str) -> Path:
    """The folder of a student, trained and tested."""
    _, labels, is_taught = STUDENTS[name]
    chosen = read_json(RATES)["hybrid_10"]
    settings: dict[str, Any] = {"prompt_variant": "event", "labels": labels}
    if is_taught:
        settings |= {"distill_mode": "hybrid", "soft": "kl", "teacher_name": f"{TEACHER}_{key}"}
    kind = suite.Arm(name, settings)
    base = replace(
        BASE,
        clip=CLIP,
        num_video_frames=FRAMES,
        lr=(chosen["lr"],),
        epochs=SIZES[size].epochs,
        teacher_weight=(chosen["weight"],) if is_taught else (1.0,),
    )
    folder = student_of(exp, name, key)
    seed = int(folder.name.removeprefix("s"))
    suite.run_arm(data_of(exp), kind, base, CONFIG, [seed], folder.parents[1], CHOICES)
    return folder


def main(argv: Sequence[str] | None = None) -> None:
    """Answer."""
    parser = script_parser(__doc__)
    parser.add_argument("key", help="of the seed's answers, as run.py names them")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--runs", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--size", choices=SIZES, default="whole", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dataset = data_of(args.exp)
    questions = read_questions(dataset, CHOICES)
    meta = {"dataset": dataset.name, "split": CHOICES, "control": None}
    asked = by_video(questions)
    footage = footage_of(dataset, [own[0].video or "" for own in asked.values()])
    topa = Topa.of_seed(int(args.key.partition("-")[0]), args.runs)
    for name, control in ((TOPA, None), (f"{TOPA}.{BLIND}", BLIND)):
        answers = topa.answer(footage, list(asked.values()), blind=control is not None)
        path = predictions_of(dataset, name, args.key)
        write_predictions(path, answers, meta | {"model": TOPA, "control": control})
    for name in STUDENTS:
        run = student(args.exp, name, args.key, args.size)
        own = read_predictions(run / "predictions" / f"{CHOICES}.jsonl", questions)
        path = predictions_of(dataset, name, args.key)
        write_predictions(path, own.values(), meta | {"model": name})


if __name__ == "__main__":
    run_script(main)
