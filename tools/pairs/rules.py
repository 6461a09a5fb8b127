"""What makes two responses a preference pair, and why a pair is dropped.

Pure functions of one chosen and one rejected response. The rules are the method's (arXiv
2503.16929) and a few that keep broken text out of training.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Indel

from tools.text.answers import clean_response, media_or_special_tag

REASONS = {
    "video_gone": "the video file is not there",
    "video_broken": "training cannot read the video",
    "no_clean": "the video has no response to the clean order",
    "skipped": "stage 3 skipped one side, for instance because no other order exists",
    "identity": "the perturbed order is the clean order",
    "empty": "one side is empty once its thinking is removed",
    "cut_off": "one side was cut off at the length limit",
    "looping": "one side repeats itself again and again",
    "unusable": "one side was marked unusable, or lacks its model's usual opening words",
    "tag": "one side holds a media tag or a special token, which training would expand",
    "drop_not_longer": "clips were dropped, yet chosen is not longer than rejected",
    "contained": "rejected contains chosen",
    "length_ratio": "one side is more than 1.5 times as long as the other (not for drop)",
    "too_similar": "the two sides are more similar than --max_similarity",
    "judged_reject": "the latest judgement in the viewer rejects the pair (--judgements)",
    "judged_unsure": "the latest judgement is unsure about the pair (--drop_unsure)",
    "duplicate": "another pair of the video has the same order of clips and is harder",
    "chosen_twice": "the chosen side of the video is a row already (--sft)",
}
"""Why a pair is dropped: short name -> meaning, in the order in which the rules are applied."""

FAULTS = ("empty", "cut_off", "looping", "unusable", "tag")
"""The reasons that concern one response alone, in the order in which they are applied."""

# Longer side over shorter, in characters: for reverse and shuffle (the method's), swap and repeat.
MAX_LENGTH_RATIO = 1.5


@dataclass(frozen=True, slots=True)
class Side:
    """One response, as a side of a pair.

    Attributes:
        text: the response without its thinking.
        indices: which clips it was written from, in which order; empty if its row does not say.
        fault: why no pair can have this side: "skipped", one of FAULTS, or None.
    """

    text: str
    indices: tuple[int, ...]
    fault: str | None = None


def read_side(row: Mapping[str, Any], model: str) -> Side:
    """Read a row of stage 3, filtered or not; `model` wrote the response."""
    info = row.get("info") or {}
    indices = tuple(info.get("selected_indices") or ())
    if row.get("filtered"):
        reason = row.get("filter_reason")
        return Side("", indices, reason if reason in FAULTS else "skipped")
    text = clean_response(row.get("response") or "", model)
    fault = None
    if text == "":
        fault = "empty"
    elif info.get("finish_reason") == "length":
        fault = "cut_off"
    elif text is None or info.get("unusable") or info.get("unusable_reason"):
        fault = "unusable"
    elif media_or_special_tag(text):
        fault = "tag"
    return Side(text or "", indices, fault)


def drop_reason(
    noise: str, chosen: Side | None, rejected: Side, max_similarity: float | None = None
) -> str | None:
    """Why a pair is dropped: the first of REASONS that holds, or None for a good pair.

    Args:
        noise: how the rejected side's clips were perturbed.
        chosen: the response to the clean order; None where there is none.
        max_similarity: drop pairs above this `similarity`; None: keep them.
    """
    if chosen is None:
        return "no_clean"
    faults = (chosen.fault, rejected.fault)
    if "skipped" in faults:
        return "skipped"
    if rejected.indices and rejected.indices == chosen.indices:
        return "identity"
    if any(faults):
        return next(fault for fault in FAULTS if fault in faults)
    lengths = len(chosen.text), len(rejected.text)
    if noise == "drop" and lengths[0] <= lengths[1]:
        return "drop_not_longer"
    if chosen.text in rejected.text:
        return "contained"
    if noise != "drop" and max(lengths) > MAX_LENGTH_RATIO * min(lengths):
        return "length_ratio"
    if max_similarity is not None and similarity(chosen.text, rejected.text) > max_similarity:
        return "too_similar"
    return None


def similarity(chosen: str, rejected: str) -> float:
    """How similar two texts are, 0 to 1: twice the number of words that both have in the same order
    (their longest common subsequence), over the words of both.

    1 is the same words in the same order; a text whose two halves are swapped scores about one
    half.
    """
    return float(Indel.normalized_similarity(chosen.split(), rejected.split()))
