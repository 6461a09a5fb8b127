"""Conversations about videos: what was asked and answered, and what people thought of the answers.

Votes are lines of `<data root>/chat_votes.jsonl`, which are only ever added: of lines about one
answer, which has an `id`, the last one counts, and its `vote` may be null again.
"""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from tools.store.dataset import Dataset, chat_votes
from tools.store.files import Appender, replace_atomically
from tools.store.jsonl import Record, dumps
from tools.store.locks import locked
from visualize.cache import cache_folder

VOTES = ("down", "up")


@dataclass(frozen=True)
class Film:
    """A video that is talked about.

    Attributes:
        record: its video_id, video_path and video_name.
        dataset: where it belongs; of an upload, the viewer's cache.
    """

    dataset: Dataset
    record: Record

    @property
    def name(self) -> str:
        """The name of its file."""
        return str(self.record["video_name"])

    @property
    def id(self) -> str:
        """Its id in its data set."""
        return str(self.record["video_id"])


@dataclass(frozen=True)
class Shown:
    """The frames that an answer is given from.

    Attributes:
        times: when they are shown, seconds.
        pictures: JPEG of each frame and, with a bridge, of the flow at that time.
        spans: (start, end) seconds where the bridge says that the answer is; None: there was no
            bridge, and the frames are spread over the whole video.
        line: HTML of the time line; empty without a bridge.
    """

    times: list[float]
    pictures: list[list[bytes]]
    spans: list[tuple[float, float]] | None = None
    line: str = ""


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        settings: what the answer was made with: JSON values.
        draws: how many answers there were before it to the same question.
        id: of this answer.
    """

    question: str
    shown: Shown
    answer: str
    was_cut_off: bool
    settings: dict[str, Any]
    draws: int = 0
    id: str = field(default_factory=lambda: uuid4().hex)


@dataclass(frozen=True)
class Pending:
    """A question that waits for its answer.

    Attributes:
        again: the turn whose answer is made again, from the same frames.
    """

    question: str
    again: Turn | None = None


@dataclass
class Conversation:
    """The turns about one video.

    Attributes:
        error: why the last question has no answer.
        moment: of the frame that is shown large, seconds.
        is_playing: whether the video plays from there.
    """

    film: Film
    turns: list[Turn] = field(default_factory=list)
    pending: Pending | None = None
    error: str = ""
    moment: float = 0.0
    is_playing: bool = False

    def before(self, turn: Turn | None) -> list[tuple[str, str]]:
        """(question, answer) of the turns before one; of all turns for None."""
        number = self.turns.index(turn) if turn else len(self.turns)
        return [(turn.question, turn.answer) for turn in self.turns[:number]]

    def add(self, turn: Turn) -> None:
        """Add the turn that was pending, or put it in the place of the one that is made again."""
        assert self.pending
        if self.pending.again:
            self.turns[self.turns.index(self.pending.again)] = turn
        else:
            self.turns.append(turn)


def save_upload(name: str, data: bytes) -> Film:
    """Keep an uploaded video in the viewer's cache, named after its content."""
    dataset = Dataset("uploads", cache_folder() / "uploads")
    video_id = hashlib.sha256(data).hexdigest()[:16]
    path = dataset.root / f"{video_id}{Path(name).suffix}"
    if not path.exists():
        with replace_atomically(path) as file:
            file.write(data)
    return Film(dataset, {"video_id": video_id, "video_path": str(path), "video_name": name})


def save_vote(
    data_root: Path,
    film: Film,
    turn: Turn,
    earlier: Sequence[tuple[str, str]],
    vote: str | None,
) -> None:
    """Add a line about an answer.

    Args:
        earlier: (question, answer) of the turns before.
        vote: one of VOTES, or None: it is taken back.

    Raises:
        StorageError: the data folder cannot be written to.
    """
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "id": turn.id,
        "vote": vote,
        "dataset": film.dataset.name,
        "video_id": film.id,
        "video": film.name,
        "earlier": earlier,
        "question": turn.question,
        "answer": turn.answer,
        "frame_times": turn.shown.times,
        "span_time": turn.shown.spans,
        **turn.settings,
    }
    path = chat_votes(data_root)
    with locked(path.with_name(f".{path.name}.lock")), closing(Appender(path)) as log:
        log.append(dumps(line))
