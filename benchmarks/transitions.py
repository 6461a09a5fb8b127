"""How well found shot boundaries match known transitions."""

from collections.abc import Iterable, Sequence
from typing import Any

# Frames around a transition within which a boundary counts as found. Human labels of gradual
# transitions differ by a few frames; 5 is this project's choice for its own truth.
TOLERANCE = 5


def match_transitions(
    truth_cuts: Sequence[dict[str, Any]], found_frames: Iterable[int], tolerance: int = TOLERANCE
) -> dict[str, dict[str, int]]:
    """Count hits, misses and false finds, each transition and each find used at most once.

    Args:
        truth_cuts: transitions {"type": "cut" | "dissolve" | "fade", "frame", "end_frame"} in frame
            indices. A cut's two frames are the new shot's first; those of the others are the first
            and last frame of the transition.
        found_frames: the first frame of every shot found, except the first shot of the video.
        tolerance: frames by which a find may lie outside [frame, end_frame] in "all".

    Returns:
        {"cut": counts, "all": counts}, counts = {"hits", "missed", "false"}; add them up over
        videos before `f1`. "all" takes every transition, with the tolerance. "cut" takes hard cuts
        at the exact frame; there, a find inside a dissolve or a fade (by the tolerance) is
        neither a hit nor false.
    """
    found = sorted(set(found_frames))
    exact = {cut["frame"] for cut in truth_cuts if cut["type"] == "cut"}
    spans = [
        (cut["frame"] - tolerance, cut["end_frame"] + tolerance)
        for cut in truth_cuts
        if cut["type"] != "cut"
    ]
    false = [
        frame
        for frame in found
        if frame not in exact and not any(start <= frame <= end for start, end in spans)
    ]
    hits = len(exact.intersection(found))
    paired = pair(truth_cuts, found, tolerance)
    return {
        "cut": {"hits": hits, "missed": len(exact) - hits, "false": len(false)},
        "all": {
            "hits": paired,
            "missed": len(truth_cuts) - paired,
            "false": len(found) - paired,
        },
    }


def pair(cuts: Sequence[dict[str, Any]], frames: Sequence[int], tolerance: int) -> int:
    """Return the largest number of one-to-one pairs of a cut and a sorted frame inside its span.

    Serving frames in order, each with the open span that ends first, is the optimum for intervals
    on a line (Glover 1967, maximum matching in a convex bipartite graph).
    """
    waiting = sorted(cuts, key=lambda cut: cut["end_frame"])
    pairs = 0
    for frame in frames:
        for i, cut in enumerate(waiting):
            if cut["frame"] - tolerance <= frame <= cut["end_frame"] + tolerance:
                del waiting[i]
                pairs += 1
                break
    return pairs


def f1(counts: dict[str, int]) -> float:
    """The harmonic mean of precision and recall in [0, 1]; 1 where there is nothing to find."""
    wrong = counts["missed"] + counts["false"]
    right = 2 * counts["hits"]
    return right / (right + wrong) if right + wrong else 1.0
