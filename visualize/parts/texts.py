"""The texts of one pair, as they are in the files now."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.pairs.judgements import Pair
from tools.pairs.perturbation import CLEAN
from tools.pairs.rules import read_side
from tools.store.jsonl import Record
from visualize.index.facts import shown
from visualize.index.view import View


@dataclass(frozen=True)
class Texts:
    """A pair's texts.

    Attributes:
        chosen, rejected: what convert takes of the responses, or all of them if that is nothing.
        order: which clips rejected was written from, in which order, counting from 0.
        clips: the captions of the clips, in the right order; empty if they are not there.
        frames: the key frames' indices, a pair a clip.
        video: what stage 1 knows of the video; None if that is nothing.
    """

    chosen: str
    rejected: str
    order: tuple[int, ...]
    clips: list[str]
    frames: list[list[int]]
    video: Record | None


def read_texts(view: View, pair: Pair) -> Texts:
    """Read them.

    Raises:
        UserError: a file has just been rewritten.
    """
    rows = [view.response(pair, chosen=chosen) or {} for chosen in (True, False)]
    sides = [read_side(row, pair.model) for row in rows]
    chosen, rejected = map(shown, sides, rows)
    clips = [str(text) for text in view.captions(pair.model, pair.video_id)]
    video = view.video(pair.video_id)
    indices = (row.get("frame_indices") for row in (video or {}, *rows))
    frames: list[list[int]] = next(filter(None, indices), [])
    return Texts(chosen, rejected, sides[1].indices, clips, frames, video)


def read_both_texts(view: View, pairs: Sequence[Pair]) -> list[tuple[str, str]]:
    """Read chosen and rejected alone, of many pairs, going through each file once.

    Raises:
        UserError: a file has just been rewritten.
    """
    chosen = [pair._replace(config=CLEAN.name) for pair in pairs]
    videos: dict[tuple[str, int, str], set[str]] = {}
    for side in (*chosen, *pairs):
        videos.setdefault(side[:3], set()).add(side.video_id)
    texts = {
        Pair(*run, row["video_id"]): shown(read_side(row, run[0]), row)
        for run, ids in videos.items()
        for row in view.responses(*run, ids)
    }
    sides = zip(chosen, pairs, strict=True)
    return [(texts.get(clean, ""), texts.get(noisy, "")) for clean, noisy in sides]
