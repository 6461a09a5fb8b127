"""One seed: what TOPA and the students answer. The other methods have commands of their own.

    python -m reproduction.methods.trial 1 --exp exp/methods --runs exp

TOPA is that of the seed in <runs>/prealignment, whose CLIP and bridge are trained where they are
missing. Students learn rates and weights of reproduction/results/distillation_choices.json.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distillation import suite
from prealignment.model.layouts import Sample
from prealignment.scores.options import option_scores
from prealignment.vectors.memory import project
from qa.predictions import Prediction, read_predictions, write_predictions
from qa.records import Question, read_questions
from reproduction.distillation.arms import BASE, CONFIG
from reproduction.distillation.results import CHOICES as RATES
from reproduction.methods.arms import STUDENTS, TEACHER, TOPA
from reproduction.methods.world import (
    CLIP,
    EVENTS,
    FRAMES,
    SIZES,
    by_video,
    data_of,
    events_of,
)
from reproduction.prealignment.arms import MAIN
from reproduction.prealignment.clips import image_vectors
from reproduction.prealignment.footage import SHOT_PICTURES, SIDE, Footage
from reproduction.prealignment.scoring import BATCH
from reproduction.prealignment.trial import Trial
from tools.cli import new_folder, run_script, script_parser, whole
from tools.store.dataset import Dataset
from tools.store.files import read_json
from tools.video.sampling import squares_at_rate
from toyworld.questions import CHOICES
from toyworld.stories import RATE
from toyworld.truth import read_truth


def predictions_of(dataset: Dataset, arm: str, seed: int) -> Path:
    """What an arm answers."""
    return dataset.predictions(CHOICES, f"{arm}_{seed}")


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

    def answer(self, footage: Footage, asked: Sequence[list[Question]]) -> list[Prediction]:
        """The likelihood of the options of each video's questions."""
        shots = footage.by_video(image_vectors(self.clip, footage))
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


def student(exp: Path, name: str, seed: int, size: str) -> Path:
    """The folder of a trained and tested student."""
    _, labels, is_taught = STUDENTS[name]
    choices = read_json(RATES) or {}
    chosen = choices.get("hybrid_10", {})
    settings: dict[str, Any] = {"prompt_variant": "event", "labels": labels}
    if is_taught:
        settings |= {"distill_mode": "hybrid", "soft": "kl", "teacher_name": f"{TEACHER}_{seed}"}
    kind = suite.Arm(name, settings)
    base = replace(
        BASE,
        clip=CLIP,
        num_video_frames=FRAMES,
        lr=(chosen["lr"],),
        epochs=SIZES[size].epochs,
        teacher_weight=(chosen["weight"],) if is_taught else (1.0,),
    )
    [run] = suite.run_arm(data_of(exp), kind, base, CONFIG, [seed], exp / "students", CHOICES)
    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Answer."""
    parser = script_parser(__doc__)
    parser.add_argument("seed", type=whole, help="1, 2 ...")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--runs", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--size", choices=SIZES, default="whole", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dataset = data_of(args.exp)
    questions = read_questions(dataset, CHOICES)
    meta = {"dataset": dataset.name, "split": CHOICES}
    asked = by_video(questions)
    footage = footage_of(dataset, [own[0].video or "" for own in asked.values()])
    topa = Topa.of_seed(args.seed, args.runs).answer(footage, list(asked.values()))
    write_predictions(
        predictions_of(dataset, TOPA, args.seed), topa, meta | {"model": TOPA, "control": None}
    )
    for name in STUDENTS:
        run = student(args.exp, name, args.seed, args.size)
        answers = read_predictions(run / "predictions" / f"{CHOICES}.jsonl", questions)
        path = predictions_of(dataset, name, args.seed)
        write_predictions(path, answers.values(), meta | {"model": name, "control": None})


if __name__ == "__main__":
    run_script(main)
