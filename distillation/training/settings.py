"""Settings of a training, which are flags of distillation.train."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distillation.inputs.lines import VARIANTS
from distillation.training.losses import MODES, SOFT, Teaching
from distillation.training.targets import WAYS
from tools.cli import amount, new_folder, positive, setting, share
from tools.errors import UserError

EXPERIMENTS = Path("exp/cater")
RATES = (3e-4, 1e-3, 3e-3)
CLIP_NORM = 1.0  # largest norm of a gradient; the public code does not clip


@dataclass(frozen=True)
class TrainSettings:
    """See the help of each field. A default of None is the preset's: FAITHFUL, or OURS."""

    prompt_variant: str = setting(
        "none",
        "text lines that are read beside the frames: event, frame; none; and the controls random"
        " (another video's), shuffled, static (without what happens), empty",
        choices=list(VARIANTS),
        group="what is learned from",
    )
    captioner: str | None = setting(None, "whose lines (default: the only one's)", metavar="NAME")
    clip: str | None = setting(None, "whose features (default: the only one's)", metavar="NAME")
    num_video_frames: int | None = setting(
        None, "frames a video, as of the features (default: as they are)", type=positive
    )
    zero_video: bool = setting(False, "show no video, as a control")
    distill_mode: str = setting("none", "terms of the teacher", choices=list(MODES))
    teacher_name: str | None = setting(
        None, "who has judged the training questions (distillation.teach)", metavar="NAME"
    )
    by: str = setting(
        "auto",
        "how the teacher compares options: by the log p of their text or of their letter (default"
        " auto: whichever is right more often on labelled questions)",
        choices=list(WAYS),
    )
    soft: str | None = setting(
        None,
        "the soft term: kl, the distribution over options; feature, the teacher's vector; mse, as"
        " published (default: kl; mse in the faithful preset)",
        choices=list(SOFT),
    )
    labels: float = setting(1.0, "share of the training videos whose labels are read", type=share)
    split: str = setting("train", "whose questions are learned from", metavar="NAME")
    val: str = setting("val", "whose questions decide", metavar="NAME")
    lr: tuple[float, ...] | None = setting(
        None,
        "learning rates that are tried (default: 3e-4 1e-3 3e-3; 5e-5 in the faithful preset)",
        type=amount,
        nargs="+",
        group="optimisation",
    )
    teacher_weight: tuple[float, ...] = setting(
        (1.0,),
        "weights that are tried, times 0.5 of the hard term and 1 of the divergence (default: 1)",
        type=amount,
        nargs="+",
    )
    epochs: int | None = setting(
        None, "passes (default: 12; 6 in the faithful preset)", type=positive
    )
    batch_size: int | None = setting(
        None, "videos of a step (default: 32; 16 questions in the faithful preset)", type=positive
    )
    weight_decay: float | None = setting(
        None, "of AdamW (default: 0.05; 0.01 in the faithful preset)", type=float
    )
    seed: int = setting(0, "of first weights, of the order of the data, and of who has labels")
    out: Path | None = setting(
        None,
        "folder of the run (default: exp/cater/<dataset>-<variant>-<mode>-<teacher>-<seed>)",
        type=new_folder,
        metavar="DIR",
    )


OURS: dict[str, Any] = {
    "lr": RATES,
    "epochs": 12,
    "batch_size": 32,
    "weight_decay": 0.05,
    "soft": "kl",
}
FAITHFUL: dict[str, Any] = {
    "lr": (5e-5,),
    "epochs": 6,
    "batch_size": 16,
    "weight_decay": 0.01,
    "soft": "mse",
}


def with_defaults(settings: TrainSettings, faithful: bool, dataset: str) -> TrainSettings:
    """The settings with the preset's values and the run's folder in the place of None.

    Raises:
        UserError: a mode without a teacher, a teacher without a mode, or a flag that the mode does
            not read.
    """
    if (settings.distill_mode == "none") == (settings.teacher_name is not None):
        raise UserError(
            f"--distill_mode {settings.distill_mode} and --teacher_name {settings.teacher_name}:"
            " none goes without a teacher, the other modes need one"
        )
    preset = FAITHFUL if faithful else OURS
    missing = {key: value for key, value in preset.items() if getattr(settings, key) is None}
    parts = [dataset, settings.prompt_variant, settings.distill_mode]
    parts += [name for name in (settings.teacher_name,) if name]
    parts += ["faithful"] * faithful + [f"s{settings.seed}"]
    out = settings.out or EXPERIMENTS / "-".join(parts)
    chosen = replace(settings, **missing, out=out, teacher_weight=tuple(settings.teacher_weight))
    if unread := _unread(settings, chosen):
        raise UserError(
            f"--{unread[0]} is not read with --distill_mode {chosen.distill_mode} and --soft"
            f" {chosen.soft}: leave it out"
        )
    return replace(chosen, lr=tuple(chosen.lr or ()))


def _unread(given: TrainSettings, chosen: TrainSettings) -> list[str]:
    """Flags that are given and do not change what is learned from a teacher."""
    assert chosen.soft
    terms = Teaching(chosen.distill_mode, chosen.soft)
    reads_options = terms.hard_weight or (terms.soft_weight and chosen.soft == "kl")
    unread = {
        "teacher_weight": chosen.distill_mode == "none" and chosen.teacher_weight != (1.0,),
        "soft": given.soft is not None and not terms.soft_weight,
        "by": given.by != "auto" and not reads_options,
    }
    return [flag for flag, is_unread in unread.items() if is_unread]
