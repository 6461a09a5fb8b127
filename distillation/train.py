"""Train a student on the questions of a data set, with labels, a teacher, or both.

    python -m distillation.train msrvtt --prompt_variant event --distill_mode hybrid \\
        --teacher_name videollava --seed 0
    python -m distillation.train msrvtt --distill_mode none --labels 0.1
    python -m distillation.train msrvtt --preset faithful --distill_mode soft --teacher_name NAME

Needs the features of distillation.features, the lines of distillation.prompts unless the variant is
none, and what the teacher thinks (distillation.teach) unless the mode is none. Several --lr and
--teacher_weight are tried one after the other, and what does best on the validation questions is
kept. exp/cater/<run>/ holds the trained tensors without CLIP, a table of epochs, and answers to the
validation questions. The same command goes on after an interruption.
"""

import shutil
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distillation.student import StudentConfig
from distillation.training.settings import TrainSettings, with_defaults
from tools.cli import (
    add_data_root,
    add_dataset,
    add_foreign_flags,
    add_settings,
    new_folder,
    run_script,
    script_parser,
    settings_from,
)
from tools.errors import UserError
from tools.runner.devices import add_device_flag, device_of
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import read_json, write_json

TRAINING = "training.json"  # what is trained in a folder


def train(
    dataset: Dataset,
    settings: TrainSettings,
    make_config: Callable[..., StudentConfig],
    device: str = "auto",
) -> Path:
    """Train into settings.out, or go on there; returns that folder.

    Args:
        settings: of `with_defaults`.
        make_config: a StudentConfig from its fields that are no flags.

    Raises:
        UserError: features, lines or judgements are missing or do not fit, or the folder holds
            another training.
    """
    from distillation.training.lesson import open_lesson

    assert settings.out and settings.lr
    lesson = open_lesson(dataset, settings, make_config)
    about = {**_plain(asdict(settings)), "dataset": dataset.name, **lesson.about}
    if _claim(settings.out, about):
        print(f"{settings.out}: nothing to do")
        return settings.out
    for line in lesson.remarks:
        print(line)
    # The rate is chosen with the first weight, then the weight with that rate.
    tried: list[dict[str, float]] = []
    place = device_of(device)

    def attempt(lr: float, weight: float) -> float:
        known = [t["val_accuracy"] for t in tried if (t["lr"], t["weight"]) == (lr, weight)]
        if known:
            return known[0]
        folder = _folder_of(settings, lr, weight)
        accuracy = lesson.learn(folder, lr, weight, place)
        tried.append({"lr": lr, "weight": weight, "val_accuracy": accuracy})
        return accuracy

    weight = settings.teacher_weight[0]
    lr = max(settings.lr, key=lambda rate: attempt(rate, weight))
    weight = max(settings.teacher_weight, key=lambda own: attempt(lr, own))
    if len(tried) > 1:
        for row in tried:
            mark = " (chosen)" * ((row["lr"], row["weight"]) == (lr, weight))
            print(
                f"lr {row['lr']:g}, teacher's weight {row['weight']:g}:"
                f" {row['val_accuracy']:.3f} of {settings.val}{mark}"
            )
    chosen = {"lr": lr, "weight": weight}
    about = {**about, "chosen": chosen, "tried": tried}
    lesson.finish(settings.out, _folder_of(settings, lr, weight), about)
    shutil.rmtree(settings.out / "tried", ignore_errors=True)
    for checkpoint in settings.out.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    print(settings.out)
    return settings.out


def _folder_of(settings: TrainSettings, lr: float, weight: float) -> Path:
    """Where one of several attempts is trained; the only one in the run's own folder."""
    assert settings.out and settings.lr
    if len(settings.lr) * len(settings.teacher_weight) == 1:
        return settings.out
    return settings.out / "tried" / f"lr{lr:g}_w{weight:g}"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON has them, without the folder, which does not shape what is learned."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if k != "out"}


def _claim(folder: Path, about: dict[str, Any]) -> bool:
    """Note what is trained in a folder; returns whether that is done already.

    Raises:
        UserError: the folder holds another training.
    """
    from distillation.runs.folder import ABOUT

    before = read_json(folder / TRAINING)
    other = [key for key in about if before is not None and before.get(key) != about[key]]
    if other:
        raise UserError(
            f"{folder} holds another training: {', '.join(other[:3])} differ; choose another --out,"
            " or delete it"
        )
    write_json(folder / TRAINING, about)
    return (
        before is not None and (folder / ABOUT).is_file() and "tried" in read_json(folder / ABOUT)
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Train what the command line says."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, TrainSettings)
    add_settings(parser, StudentConfig)
    add_device_flag(parser)
    add_data_root(parser)
    add_foreign_flags(
        parser,
        "name the data set that python -m qa.read cater --file FILE --dataset NAME --split train"
        " makes of such a file (--val names the split of validation)",
        *("--data_dir", "--train_file", "--val_file"),
    )
    parser.add_argument("--out_dir", dest="out", type=new_folder, default=SUPPRESS, help=SUPPRESS)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = with_defaults(
        settings_from(args, TrainSettings), args.preset == "faithful", dataset.name
    )
    train(dataset, settings, lambda **own: settings_from(args, StudentConfig, **own), args.device)


if __name__ == "__main__":
    run_script(main)
