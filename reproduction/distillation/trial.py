"""One seed of the reproduction: its teachers and its students, in the world that all seeds share.

    python -m reproduction.distillation.trial 1 --exp exp/distillation --arms event none

Students are kept in <exp>/students/<arm>/s<seed>, and what is there is not trained again. What an
arm answers is one line of <exp>/seed_<n>/results.jsonl. Seed 0 chooses: its students try the
learning rates and weights, none is tested, and what does best on the validation questions is
written for the other seeds to reproduction/results/distillation_choices.json.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from distillation import suite
from distillation.runs.folder import EPOCHS, read_about
from qa.predictions import control_names, control_path, read_predictions
from qa.records import Question, read_questions
from reproduction.distillation.arms import ARMS, BASE, CONFIG, FURTHER_RATE, RATES, Arm
from reproduction.distillation.questions import TYPES
from reproduction.distillation.results import CHOICES, read_rows
from reproduction.distillation.teachers import write_teacher
from reproduction.distillation.world import SIZES, Size, data_of
from tools.cli import new_folder, run_script, script_parser, whole
from tools.errors import UserError
from tools.store.files import Appender, read_json, write_json
from tools.store.jsonl import dumps
from tools.store.locks import locked

CHOOSING = 0  # the seed whose students choose
GUESS = {"lr": RATES[-1], "weight": 1.0}  # where no choice is needed: one seed proves nothing


@dataclass(frozen=True)
class Trial:
    """A seed.

    Attributes:
        exp: folder of the reproduction, where the world is.
        choices: file of the learning rates and weights.
        guesses: whether an arm that is not in it takes GUESS; else it is an error.
    """

    seed: int
    exp: Path
    size: Size
    choices: Path = CHOICES
    guesses: bool = False

    @property
    def folder(self) -> Path:
        """Of the seed."""
        return self.exp / f"seed_{self.seed}"

    def student(
        self, name: str, settings: dict[str, Any], split: str, folder: str | None = None
    ) -> Path:
        """The folder of an arm's student, trained, and tested on a split.

        Args:
            folder: the name of the folder that holds the arm's seeds (default: the arm's).
        """
        arm: Arm = ARMS[name]
        dataset = data_of(self.exp)
        own = {**arm.every_setting, **settings}
        if arm.teacher:
            own["teacher_name"] = write_teacher(dataset, arm.teacher, self.seed)
        controls = arm.controls and split == "test"
        kind = suite.Arm(folder or name, own, arm.config, controls)
        base = replace(BASE, epochs=self.size.epochs)
        students = self.exp / "students"
        [run] = suite.run_arm(dataset, kind, base, CONFIG, [self.seed], students, split)
        return run

    def choose(self, name: str) -> None:
        """Try an arm's learning rates and weights, and write the best ones."""
        entry = (read_json(self.choices) or {}).get(name)
        if entry is None:
            about = read_about(self.student(name, {}, "val"))
            entry = {**about["chosen"], "tried": about["tried"]}
        if not is_chosen(entry):
            settings = {"lr": (FURTHER_RATE,), "teacher_weight": (entry["weight"],)}
            about = read_about(self.student(name, settings, "val", f"{name}_lr{FURTHER_RATE:g}"))
            tried = [*entry["tried"], *about["tried"]]
            best = max(tried, key=itemgetter("val_accuracy"))  # of equal ones the first
            entry = {"lr": best["lr"], "weight": best["weight"], "tried": tried}
        with locked(self.exp / ".choices.lock"):  # other arms are chosen for at the same time
            write_json(self.choices, {**(read_json(self.choices) or {}), name: entry})
        print(name, entry["lr"], entry["weight"], flush=True)

    def chosen(self, name: str) -> dict[str, float] | None:
        """The learning rate and the weight that an arm is trained with; None: its preset's.

        Raises:
            UserError: none were chosen, and none are guessed.
        """
        known = (read_json(self.choices) or {}).get(name)
        if known:
            return {key: known[key] for key in ("lr", "weight")}
        if not self.guesses:
            raise UserError(
                f"no learning rate was chosen for {name}: python -m reproduction.distillation.run"
                " chooses one"
            )
        guess = None if "preset" in ARMS[name].config else GUESS
        print(
            f"{name}: nothing was chosen for it yet, it takes {guess or 'its preset'}", flush=True
        )
        return guess

    def row(self, name: str) -> dict[str, Any]:
        """An arm's row of results."""
        chosen, start = self.chosen(name), time.process_time()
        # None: the arm has a preset, which has its own.
        settings = {"lr": (chosen["lr"],), "teacher_weight": (chosen["weight"],)} if chosen else {}
        run = self.student(name, settings, "test")
        return {
            "arm": name,
            "chosen": chosen,
            "counts": counts_of(run, read_questions(data_of(self.exp), "test"), name),
            "validation": [round(row["val_accuracy"], 4) for row in read_json(run / EPOCHS)],
            "cpu_s": round(time.process_time() - start, 1),
        }

    def run(self, arms: Sequence[str]) -> None:
        """Score the arms that are not scored yet; seed 0 chooses for those without a choice."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.seed == CHOOSING:
            for name in arms:
                self.choose(name)
            return
        rows = read_rows(self.folder)
        appender = Appender(self.folder / "results.jsonl")
        try:
            for name in arms:
                # A row of another choice is out of date.
                if name not in rows or rows[name]["chosen"] != self.chosen(name):
                    row = self.row(name)
                    appender.append(dumps(row))
                    right, asked = row["counts"]["accuracy"]
                    print(
                        f"{name}: {sum(right) / sum(asked):.3f}, {row['cpu_s']} CPU-s", flush=True
                    )
        finally:
            appender.close()


def is_chosen(entry: dict[str, Any]) -> bool:
    """Whether all rates were tried: FURTHER_RATE too where the highest of RATES was best."""
    rates = [attempt["lr"] for attempt in entry["tried"]]
    return entry["lr"] != RATES[-1] or FURTHER_RATE in rates


def counts_of(run: Path, questions: Sequence[Question], name: str) -> dict[str, list[list[int]]]:
    """{metric: [right ones, questions] as columns over the videos} of a student's answers: all of
    them, each type, and all with less to see, where the arm is tested so."""
    path = run / "predictions" / "test.jsonl"
    videos = sorted({question.unit for question in questions})
    place = {video: number for number, video in enumerate(videos)}
    names = [None, *(n for n in control_names(path) if ARMS[name].controls)]
    counts: dict[str, list[list[int]]] = {}
    for control in names:
        if not (file := control_path(path, control)).is_file():
            continue
        answers = read_predictions(file, questions)
        for question in questions:
            log_p = answers[question.id].log_p or []
            right = log_p.index(max(log_p)) == question.answer_index
            metrics = [control] if control else ["accuracy", question.type or ""]
            for metric in metrics:
                both = counts.setdefault(metric, [[0] * len(videos), [0] * len(videos)])
                both[0][place[question.unit]] += right
                both[1][place[question.unit]] += 1
    assert set(TYPES) <= counts.keys()
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    """Run a seed."""
    parser = script_parser(__doc__)
    parser.add_argument("seed", type=whole, help="1, 2 ...; 0 chooses")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--size", choices=SIZES, default="whole", help="(default: %(default)s)")
    parser.add_argument("--arms", nargs="+", choices=[*ARMS], required=True, metavar="NAME")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    is_quick = args.size == "quick"
    Trial(args.seed, args.exp, SIZES[args.size], guesses=is_quick).run(args.arms)


if __name__ == "__main__":
    run_script(main)
