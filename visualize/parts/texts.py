"""The texts of one pair, as they stand in the files now."""

from dataclasses import dataclass

from tools.pairs.judgements import Pair
from tools.pairs.rules import read_side
from tools.text.answers import cleaner, media_or_special_tag
from visualize.index.segments import shown
from visualize.session import Session


@dataclass(frozen=True)
class Texts:
    """A pair's texts.

    Attributes:
        chosen, rejected: what counts of the responses, or all of them where nothing does.
        told: which clips rejected was written from, in which order, counting from 0.
        clips: the captions of the clips, in the right order; empty if they are not there.
        frames: the key frames' indices, a pair a clip.
    """

    chosen: str
    rejected: str
    told: tuple[int, ...]
    clips: list[str]
    frames: list[list[int]]


def read_texts(session: Session, pair: Pair) -> Texts:
    """Read them.

    Raises:
        UserError: a file is being written anew at this moment.
    """
    clean = cleaner(pair.model)
    chosen = session.view.response(pair, chosen=True) or {}
    rejected = session.view.response(pair, chosen=False) or {}
    sides = [read_side(row, clean, media_or_special_tag) for row in (chosen, rejected)]
    return Texts(
        shown(sides[0], chosen),
        shown(sides[1], rejected),
        sides[1].indices,
        [str(text) for text in session.view.captions(pair.model, pair.video_id)],
        chosen.get("frame_indices") or rejected.get("frame_indices") or [],
    )
