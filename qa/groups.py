"""How benchmarks group their types of questions, and what they call them."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Groups:
    """The convention of one benchmark.

    Attributes:
        names: type -> what it is.
        grouped: name of a group -> its types, whose questions are pooled.
        remark: which of the numbers is the benchmark's own.
    """

    names: dict[str, str] = field(default_factory=dict)
    grouped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    remark: str = ""


NEXTQA = Groups(
    {
        "CW": "CW why",
        "CH": "CH how",
        "TN": "TN next",
        "TC": "TC at the same time",
        "TP": "TP before",
        "DL": "DL where",
        "DC": "DC how many",
        "DO": "DO other",
        "DB": "DB yes or no",
    },
    {
        "C causal": ("CW", "CH"),
        "T temporal": ("TN", "TC", "TP"),
        "D descriptive": ("DL", "DC", "DO", "DB"),
    },
    "NExT-QA reports accuracy over all questions, and over those of C, T and D.",
)
STAR = Groups(
    {name: name for name in ("Interaction", "Sequence", "Prediction", "Feasibility")},
    remark="STAR's server ranks by the mean of the four types; most papers' total is that of all"
    " questions.",
)
# Source: MILVLG/activitynet-qa, evaluation/eval.py.
ACTIVITYNETQA = Groups(
    {
        "0": "motion",
        "1": "spatial relation",
        "2": "temporal relation",
        "3": "yes or no",
        "4": "colour",
        "5": "object",
        "6": "location",
        "7": "number",
        "8": "other",
    },
    remark="ActivityNet-QA's own score is `exact` over all questions; later papers have a judge.",
)
MVBENCH = Groups(
    {
        name: name.replace("_", " ")
        for name in (
            *("action_antonym", "action_count", "action_localization", "action_prediction"),
            *("action_sequence", "character_order", "counterfactual_inference"),
            *("egocentric_navigation", "episodic_reasoning", "fine_grained_action"),
            *("fine_grained_pose", "moving_attribute", "moving_count", "moving_direction"),
            *("object_existence", "object_interaction", "object_shuffle", "scene_transition"),
            *("state_change", "unexpected_action"),
        )
    },
    remark="MVBench's score is the mean of its tasks.",
)


def groups_of(types: Iterable[str]) -> Groups:
    """The convention that knows all of these types, with the groups that have questions; an empty
    one where none does."""
    present = set(types)
    for groups in (NEXTQA, STAR, ACTIVITYNETQA, MVBENCH):
        if present and present <= groups.names.keys():
            grouped = {
                name: tuple(member for member in members if member in present)
                for name, members in groups.grouped.items()
            }
            return Groups(
                groups.names, {name: own for name, own in grouped.items() if own}, groups.remark
            )
    return Groups()
