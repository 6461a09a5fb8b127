"""The arms: what a student reads, and what it learns from.

All have the same tiny CLIP, first weights and order of the data a seed, and as many steps; the
faithful ones have a CLIP's features, a student and batches of their own.
"""

from dataclasses import dataclass, field
from typing import Any

from distillation.student import StudentConfig
from distillation.training.settings import TrainSettings
from reproduction.distillation.world import CAPTIONER, CLIP, FAITHFUL

FEW = 0.1  # share of the videos whose labels are known, where few are
RATES = (1e-3, 3e-3)  # learning rates that are tried
FURTHER_RATE = 1e-2  # tried too where the highest of them is best, with the weight that was chosen
WEIGHTS = (1.0, 3.0, 9.0)  # of the teacher's terms: that of its choice gets .5, 1.5 and 4.5
PERCENT = 90  # of the questions that the teacher has right, where nothing else is said

BASE = TrainSettings(captioner=CAPTIONER, clip=CLIP, lr=RATES)
CONFIG = StudentConfig(clip_width=1, frames=1, heads=4, ffn=2, dropout=0.05)


@dataclass(frozen=True)
class Arm:
    """A kind of student.

    Attributes:
        settings: of TrainSettings, what differs from BASE.
        teacher: the percentage of questions that its teacher has right; None: it has none.
        weights: of the teacher's terms that are tried; the published terms keep their own.
        config: of StudentConfig, what differs from CONFIG.
        controls: whether it is also tested with less to see.
    """

    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    teacher: int | None = None
    weights: tuple[float, ...] = (1.0,)
    config: dict[str, Any] = field(default_factory=dict)
    controls: bool = False

    @property
    def every_setting(self) -> dict[str, Any]:
        """With what is tried."""
        return {"teacher_weight": self.weights, **self.settings}


def _reading(variant: str, label: str, controls: bool = False) -> Arm:
    return Arm(label, {"prompt_variant": variant}, controls=controls)


def _taught(
    labels: float,
    label: str,
    mode: str,
    soft: str = "kl",
    weights: tuple[float, ...] = WEIGHTS,
    percent: int = PERCENT,
) -> Arm:
    settings: dict[str, Any] = {"labels": labels, "distill_mode": mode}
    if mode != "hard":
        settings["soft"] = soft
    return Arm(f"{label}, {labels:.0%} labels", settings, percent, weights)


PUBLISHED = (1.0,)
_MODES: dict[str, tuple[Any, ...]] = {  # name -> what it is called, its mode, its soft term ...
    "hard": ("hard", "hard"),
    "hard_published": ("hard (published weight)", "hard", "kl", PUBLISHED),
    "mse": ("soft (published)", "soft", "mse", PUBLISHED),
    "kl": ("soft (KL)", "soft", "kl"),
    "hybrid_mse": ("hybrid (published)", "hybrid", "mse", PUBLISHED),
    "hybrid": ("hybrid (hard + KL)", "hybrid", "kl"),
}
_FAITHFUL = {"preset": "faithful", "heads": 8, "ffn": 4, "dropout": 0.1}  # but for its width

ARMS = {
    "event": _reading("event", "event lines", controls=True),
    "frame": _reading("frame", "frame lines", controls=True),
    "random": _reading("random", "another video's lines"),
    "none": _reading("none", "no lines", controls=True),
    "empty": _reading("empty", "a text without words"),
    "shuffled": _reading("shuffled", "event lines in a wrong order"),
    "static": _reading("static", "event lines up to the verb"),
    "zeroed": Arm("event lines, no video", {"prompt_variant": "event", "zero_video": True}),
    "none_10": Arm(f"no teacher, {FEW:.0%} labels", {"labels": FEW}),
    # With a teacher, every batch holds videos without a label.
    "unheard_10": _taught(FEW, "a teacher that weighs nothing", "soft", "mse", (0.0,)),
    **{f"{name}_10": _taught(FEW, *own) for name, own in _MODES.items()},
    **{f"{name}_100": _taught(1.0, *own) for name, own in _MODES.items()},
    **{
        f"hybrid_10_{percent}": _taught(
            FEW, f"hybrid (hard + KL), teacher {percent} %", "hybrid", percent=percent
        )
        for percent in (70, 100)
    },
    "faithful": Arm(
        "the faithful preset: event lines, hybrid (published), 100% labels",
        {
            "prompt_variant": "event",
            "distill_mode": "hybrid",
            "clip": FAITHFUL,
            **dict.fromkeys(("lr", "epochs", "batch_size", "weight_decay", "soft")),
        },
        PERCENT,
        config=_FAITHFUL,
    ),
    "faithful_student": Arm(
        "the faithful student, as many epochs and a rate of its choice: event lines",
        {"prompt_variant": "event", "clip": FAITHFUL},
        config=_FAITHFUL,
    ),
}
CORE = (
    *("event", "frame", "random", "none", "none_10", "unheard_10", "mse_10"),
    *("hybrid_10", "hybrid_10_70", "hybrid_10_100"),
)
# A student that is tested with less to see -> the arm, and its control.
TESTED = {
    "event_without": ("event", "without_lines"),
    "event_shuffled": ("event", "shuffled_lines"),
    "event_random": ("event", "random_lines"),
    "event_static": ("event", "static_lines"),
    "event_video_zeroed": ("event", "video_zeroed"),
    "event_frames_shuffled": ("event", "frames_shuffled"),
    "frame_without": ("frame", "without_lines"),
    "none_frames_shuffled": ("none", "frames_shuffled"),
    "none_question_only": ("none", "question_only"),
    "none_choices_only": ("none", "choices_only"),
}


def label_of(name: str) -> str:
    """What an arm, or an arm that is tested with less to see, is called in tables."""
    if name in ARMS:
        return ARMS[name].label
    arm, control = TESTED[name]
    return f"{ARMS[arm].label}; at test {control.replace('_', ' ')}"
