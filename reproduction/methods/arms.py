"""Who answers: every method of the toolkit, and the controls that stand beside it."""

from dataclasses import dataclass

from grounding.answer_settings import NFRAME
from reproduction.grounding.toybridge import MOVING
from toyworld.language import CONTENT_KINDS, ORDER_KINDS

BASE = "base"
TEACHER = "temple"  # teaches the students, and answers from chosen frames
BLIND = "question_only"
CONTROLS = (BLIND, "frames_shuffled")  # that are shown of the teacher
CHANCE = "chance"
FEW = 0.1  # share of the videos whose labels are known, where few are


@dataclass(frozen=True)
class Arm:
    """Who answers.

    Attributes:
        cost: whose cost an answer has, a key of cost.json; empty where none is measured.
    """

    label: str
    cost: str = "video LLM"


VIDEO_LLMS = {
    BASE: Arm("toyvl, as it is"),
    "sft": Arm("SFT"),
    "chosen_sft": Arm("SFT on chosen, SFT"),
    TEACHER: Arm("TEMPLE"),
}
FRAMES = {  # the flag of grounding.answer -> who answers from such frames
    frames: (f"{TEACHER}_{frames}", Arm(f"TEMPLE, {NFRAME} {label}", cost))
    for frames, label, cost in (
        ("uniform", "frames spread evenly", "video LLM, a third of the frames"),
        ("grounded", "frames by the bridge", "bridge and video LLM"),
        ("annotated", "frames of the true moment", "video LLM, a third of the frames"),
    )
}
TOPA = "topa"
STUDENTS = {  # -> its label, the share of labels, whether it has a teacher
    "student": ("CaTeR student, all labels", 1.0, True),
    "student_few": (f"CaTeR student, {FEW:.0%} labels", FEW, True),
    "student_alone": ("the same student without a teacher, all labels", 1.0, False),
    "student_alone_few": (f"the same student without a teacher, {FEW:.0%} labels", FEW, False),
}
ARMS = {
    **VIDEO_LLMS,
    **dict(FRAMES.values()),
    TOPA: Arm("TOPA", "TOPA"),
    **{name: Arm(label, "student") for name, (label, *_) in STUDENTS.items()},
    **{f"{TEACHER}.{name}": Arm(f"TEMPLE, {name.replace('_', ' ')}", "") for name in CONTROLS},
    f"{TOPA}.{BLIND}": Arm("TOPA, question only", ""),
    CHANCE: Arm("an option at random", ""),
}
KINDS = {  # of questions, counted together
    "content": CONTENT_KINDS,
    "order": ORDER_KINDS,
    "first, last": ("first", "last"),  # no video LLM here has been asked these
    "after, before": ("after", "before"),  # fine-tuning asks these
    "one moment": MOVING,  # the bridge has learned to point at one
}
