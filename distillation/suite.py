"""The paper's three comparisons on a data set, each arm from several seeds, in one report.

    python -m distillation.suite msrvtt
    python -m distillation.suite toystories --seeds 2 --epochs 2 --d_model 256

1. prompts: event > frame > random > none, and controls;
2. distillation: hybrid > soft > hard > none, at a share of the labels and at all of them;
3. teachers: a student of each teacher that has judged the training questions with log p of the
   options, the more accurate teacher first.

Rate and weight of an arm are chosen on the validation questions with the first seed; the test
questions are asked once. Students of one seed begin with the same weights and see the data in the
same order. exp/cater/<dataset>/ holds the students, report.md with figures, and report.json. Run it
again after an interruption, or with more seeds or teachers: what is trained is kept, and what was
scored with other questions, features or lines is scored again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from distillation.inputs.lines import KINDS
from distillation.judgements import features_path, read_judgements
from distillation.student import StudentConfig
from distillation.training.settings import EXPERIMENTS, TrainSettings, with_defaults
from tools.cli import (
    add_data_root,
    add_dataset,
    add_settings,
    amount,
    new_folder,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
    share,
)
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import read_json, write_json

WEIGHTS = (1.0, 3.0, 9.0)  # of the teacher's terms: the hard one gets 0.5, 1.5 and 4.5
NOTED = "suite.json"
PROMPTS, MODES, TEACHERS = "prompts", "distillation", "teachers"


@dataclass(frozen=True)
class Arm:
    """One kind of student.

    Attributes:
        name: of its folder and in tables.
        settings: in what it differs from the suite's own TrainSettings.
        config: in what it differs from the suite's StudentConfig.
        controls: whether it is tested with controls.
    """

    name: str
    settings: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    controls: bool = False


@dataclass(frozen=True)
class Comparison:
    """Arms that are compared; `pairs` are claims: the first is better than the second; `note` is a
    sentence about the teachers."""

    name: str
    arms: list[Arm]
    pairs: list[tuple[str, str]]
    note: str = ""


@dataclass(frozen=True)
class SuiteSettings:
    """See the help of each field."""

    seeds: int = setting(5, "students of an arm", type=positive, group="the suite")
    labels: float = setting(0.1, "share of the videos that have labels, where few do", type=share)
    distill_prompts: str = setting(
        "none", "lines that students of a teacher read", choices=["none", *KINDS]
    )
    teacher: str | None = setting(
        None,
        "whose students are compared by what they learn from it (default: that of the folder's"
        " first run, which takes the one that is right most often)",
        metavar="NAME",
    )
    captioner: str | None = setting(None, "whose lines (default: the only one's)", metavar="NAME")
    clip: str | None = setting(None, "whose features (default: the only one's)", metavar="NAME")
    epochs: int | None = setting(
        None, "passes of every arm (default: that of distillation.train)", type=positive
    )
    lr: tuple[float, ...] | None = setting(
        None, "learning rates that are tried (default: 3e-4 1e-3 3e-3)", type=amount, nargs="+"
    )
    split: str = setting("test", "whose questions are asked once, at the end", metavar="NAME")
    out: Path | None = setting(
        None, "folder (default: exp/cater/<dataset>)", type=new_folder, metavar="DIR"
    )


def ranked_teachers(dataset: Dataset) -> dict[str, float]:
    """{teacher: accuracy on the labelled training questions}, the most accurate one first. Those
    that did not give log p of all options are left out, in one line each."""
    from distillation.inputs.views import choice_questions
    from distillation.teachers.report import choice_of
    from distillation.training.targets import without_log_p

    names = dataset.teacher_names("train")
    questions = choice_questions(dataset, "train") if names else []
    accuracies: dict[str, float] = {}
    for name in names:
        path = dataset.judgements_of(name, "train")
        judgements, _ = read_judgements(path, questions, allow_missing=True)
        judged = [question for question in questions if question.id in judgements]
        if lacking := len(without_log_p(judgements, judged)):
            print(
                f"{name} is left out: {lacking} of its {len(judged)} judgements lack log p of the"
                " options, which soft and hybrid students learn from"
            )
            continue
        labelled = [question for question in judged if question.answer_index is not None]
        right = sum(choice_of(judgements[q.id]) == q.answer_index for q in labelled)
        accuracies[name] = right / max(1, len(labelled))
    return dict(sorted(accuracies.items(), key=lambda entry: -entry[1]))


def _noted_teacher(settings: SuiteSettings, teachers: Sequence[str], folder: Path) -> str:
    """The teacher of the comparison of distillation. It is noted in the folder, so that a teacher
    that is added later changes nothing.

    Raises:
        UserError: --teacher names none of the teachers.
    """
    if settings.teacher and settings.teacher not in teachers:
        raise UserError(f"--teacher {settings.teacher}: the teachers are {', '.join(teachers)}")
    noted: Any = settings.teacher or (read_json(folder / NOTED) or {}).get("teacher")
    teacher: str = noted if noted in teachers else teachers[0]
    write_json(folder / NOTED, {"teacher": teacher})
    return teacher


def comparisons(dataset: Dataset, settings: SuiteSettings, folder: Path) -> list[Comparison]:
    """The comparisons that a data set allows; what is missing is said in one line.

    Args:
        folder: of the suite, where the teacher is noted.
    """
    made = []
    if all(dataset.prompt_captioners(kind) for kind in KINDS):
        made.append(_of_prompts())
    else:
        print("no comparison of prompts: it needs both event and frame lines")
    accuracies = ranked_teachers(dataset)
    teachers = list(accuracies)
    if teachers:
        teacher = _noted_teacher(settings, teachers, folder)
        path = dataset.judgements_of(teacher, "train")
        made.append(_of_modes(settings, teacher, features_path(path).is_file()))
    else:
        print("no comparison of distillation: no teacher has judged the training questions")
    if len(teachers) > 1:
        made.append(_of_teachers(settings, accuracies))
    elif teachers:
        print(f"no comparison of teachers: {teachers[0]} is the only one")
    if not made:
        raise UserError(
            f"{dataset.name} has neither lines nor teachers: there is nothing to compare"
        )
    for comparison in made:
        if comparison.note:
            print(f"{comparison.name}: {comparison.note}")
    return made


def _of_prompts() -> Comparison:
    arms = [_reading(variant) for variant in ("event", "frame", "random", "none", "shuffled")]
    zeroed = {"prompt_variant": "event", "zero_video": True}
    arms.append(Arm("lines-event-video-zeroed", zeroed))
    names = [arm.name for arm in arms[:4]]
    pairs = [*pairwise(names), ("lines-frame", "lines-none")]
    return Comparison(PROMPTS, arms, [*pairs, ("lines-event", "lines-event-video-zeroed")])


def _reading(variant: str) -> Arm:
    """A student of all labels that reads a variant of the lines, which two comparisons share."""
    return Arm(f"lines-{variant}", {"prompt_variant": variant}, controls=True)


def _of_modes(settings: SuiteSettings, teacher: str, has_vectors: bool) -> Comparison:
    """With the published soft term where the teacher has vectors."""
    arms: list[Arm] = []
    pairs: list[tuple[str, str]] = []
    modes = ("hybrid", "soft", "hard", "none", *["soft-mse"] * has_vectors)
    for part in dict.fromkeys((settings.labels, 1.0)):
        own = [_taught(settings, mode, teacher, part) for mode in modes]
        names = [arm.name for arm in own]
        arms += own
        pairs += [*pairwise(names[:4]), *((name, names[3]) for name in names[4:])]
    return Comparison(MODES, arms, pairs, f"The teacher is {teacher}.")


def _of_teachers(settings: SuiteSettings, accuracies: dict[str, float]) -> Comparison:
    """Claims that the more accurate teacher has the better student."""
    arms = [_taught(settings, "hybrid", name, settings.labels) for name in accuracies]
    names = [arm.name for arm in arms]
    known = ", ".join(f"{name} {accuracy:.3f}" for name, accuracy in accuracies.items())
    note = f"The teachers' accuracy on the labelled training questions: {known}."
    return Comparison(TEACHERS, arms, list(pairwise(names)), note)


def _taught(settings: SuiteSettings, mode: str, teacher: str, part: float) -> Arm:
    """A student of a teacher, or of labels alone; "soft-mse" is the published soft term."""
    if mode == "none" and part == 1:
        return _reading(settings.distill_prompts)
    values: dict[str, Any] = {"prompt_variant": settings.distill_prompts, "labels": part}
    name = f"labels{part:g}-{mode}"
    if settings.distill_prompts != "none":
        name += f"-{settings.distill_prompts}"
    if mode == "none":
        return Arm(name, values)
    values |= {"distill_mode": mode.partition("-")[0], "teacher_name": teacher}
    if mode == "soft-mse":
        values["soft"] = "mse"
    else:
        values["teacher_weight"] = WEIGHTS
    return Arm(f"{name}-{teacher}", values)


def run_arm(
    dataset: Dataset,
    arm: Arm,
    base: TrainSettings,
    config: StudentConfig,
    seeds: Sequence[int],
    folder: Path,
    split: str,
    device: str = "cpu",
) -> list[Path]:
    """Train and test the students of an arm; returns a folder a seed.

    Args:
        base, config: what the arm's own settings are added to.
        folder: of all arms; a student is in <arm>/s<seed>.
    """
    from distillation.runs.answering import answer, is_scored
    from distillation.runs.folder import read_about
    from distillation.train import train

    config = replace(config, **arm.config)
    chosen: dict[str, Any] = {}
    runs = []
    for seed in seeds:
        out = folder / arm.name / f"s{seed}"
        own = replace(base, **{**arm.settings, **chosen}, seed=seed, out=out)
        own = with_defaults(own, config.faithful, dataset.name)
        train(dataset, own, lambda **fields: replace(config, **fields), device)
        made = read_about(out)["chosen"]
        chosen = chosen or {"lr": (made["lr"],), "teacher_weight": (made["weight"],)}
        if not is_scored(out, dataset.root.parent, split, arm.controls):
            answer(out, dataset.root.parent, split, arm.controls, device)
        runs.append(out)
    return runs


def check_split(dataset: Dataset, settings: SuiteSettings, config: StudentConfig) -> None:
    """Find before any training whether the students can be scored.

    Raises:
        UserError: the split has no questions, none with features, or none of these has a label.
    """
    from distillation.features import open_features
    from distillation.training.lesson import covered

    features = open_features(dataset, settings.clip, config.preset)
    if all(q.answer_index is None for q in covered(dataset, settings.split, features, [])):
        raise UserError(
            f"{dataset.name}/{settings.split} has no labels, without which no student is scored:"
            " name another --split"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the suite."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, SuiteSettings)
    add_settings(parser, StudentConfig)
    add_device_flag(parser)
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, SuiteSettings)
    folder = settings.out or EXPERIMENTS / dataset.name
    config = settings_from(args, StudentConfig, clip_width=1, frames=1)
    same = {name: getattr(settings, name) for name in ("captioner", "clip", "epochs", "lr")}
    base = TrainSettings(**same)
    check_split(dataset, settings, config)
    planned = comparisons(dataset, settings, folder)
    device = device_of(args.device)
    arms = {arm.name: arm for comparison in planned for arm in comparison.arms}

    from distillation.runs.report import write_report

    with dataset.lock("suite"):
        runs = {
            name: run_arm(
                *(dataset, arm, base, config, range(settings.seeds), folder, settings.split, device)
            )
            for name, arm in arms.items()
        }
        compared = [
            (own.name, [arm.name for arm in own.arms], own.pairs, own.note) for own in planned
        ]
        write_report(folder, dataset.name, settings.split, compared, runs)


if __name__ == "__main__":
    run_script(main)
