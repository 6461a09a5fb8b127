"""Asking a model the questions of a split, and keeping what it answers.

Every answer is appended to `<predictions>.answers` with a key of all that shaped it: the model, the
prompt, the frames, the way of asking. What has been asked with the same key is not asked again, so
that a run which was interrupted, or asked fewer questions, or the same ones another way, goes on.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from inference.captioner import Captioner, Request, Sampling
from qa.answers import made_by, without_libraries
from qa.asking import AHEAD, Asking, Frames, answers_to, gives_log_p, prediction_of
from qa.frames import frames_of
from qa.predictions import write_predictions
from qa.records import Question
from tools.store.files import Appender
from tools.store.jsonl import Record, dumps, lines_from
from tools.video.decode import VideoError


@dataclass
class AskedModel:
    """A model that is asked, loaded when it is first needed.

    Attributes:
        load: loads the captioner.
        video_path: where a question's video is.
        threads: that decode.
    """

    captioner: Captioner
    load: Callable[[], None]
    video_path: Callable[[Question], Path]
    threads: int = 1
    is_loaded: bool = False

    def ask(
        self,
        asking: Asking,
        questions: Sequence[Question],
        path: Path,
        meta: dict[str, Any],
    ) -> list[tuple[Question, Exception]]:
        """Ask what has not been asked yet, write the predictions; returns what failed."""
        if not gives_log_p(self.captioner):
            asking = replace(asking, write=True)
        if asking.whole_video:
            questions = [replace(question, start=None, end=None) for question in questions]
        journal = path.with_name(f"{path.name}.answers")
        rows = read_answers(journal)
        keys = {question.id: self._key(asking, question) for question in questions}
        left = [question for question in questions if keys[question.id] not in rows]
        # Questions about one part of a video follow one another: it is decoded once.
        left.sort(key=lambda q: (q.video or "", q.start or 0.0, q.end or 0.0, q.id))
        failures: list[tuple[Question, Exception]] = []
        if left:
            if not self.is_loaded:
                self.load()
                self.is_loaded = True
            appender = Appender(journal)
            try:
                with tqdm(total=len(left), desc=asking.arm or "questions", disable=None) as bar:
                    for question, answer in self._answers(asking, left):
                        if isinstance(answer, Exception):
                            failures.append((question, answer))
                        else:
                            row = {"key": keys[question.id], "id": question.id, **answer}
                            appender.append(dumps(row))
                            rows[row["key"]] = row
                        bar.update()
            finally:
                appender.close()
        answered = [(q, rows[keys[q.id]]) for q in questions if keys[q.id] in rows]
        cut_off = sum(row["finish_reason"] == "length" for _, row in answered)
        predictions = [prediction_of(asking, question, row) for question, row in answered]
        about = {**asdict(asking), "control": asking.arm, "cut_off": cut_off}
        write_predictions(path, predictions, {**meta, **about})
        return failures

    @cached_property
    def _made_by(self) -> dict[str, Any]:
        """What shapes the model's answers; libraries are updated without asking all again."""
        return without_libraries(made_by(self.captioner))

    def _file(self, question: Question) -> list[int] | None:
        """Size and time of change of a question's video, or folder of pictures; None: there is
        none."""
        try:
            info = self.video_path(question).stat()
        except (OSError, VideoError):
            return None
        return [info.st_size, info.st_mtime_ns]

    def _key(self, asking: Asking, question: Question) -> str:
        shown: dict[str, Any] = {}
        if asking.shows_video(question):
            shown = {"video": question.video, "start": question.start, "end": question.end}
            shown |= {"frames": asking.frames, "protocol": asking.protocol}
            shown |= {"file": self._file(question), "media": question.context.get("media")}
            shown["pictures"] = question.context.get("frames")
            if asking.control == "frames_shuffled":
                shown["seed"] = asking.seed
            if asking.control in ("frames_shuffled", "single_frame"):
                shown["control"] = asking.control
        sent: dict[str, Any] = {"prompt": asking.prompt(question), **shown}
        sent["conversation"] = asking.conversation(question)
        written = asking.is_written(question)
        sent |= {"limit": asking.max_new_tokens} if written else {"options": question.choices}
        document = [self._made_by, self.captioner.name, question.id, sent]
        return hashlib.sha1(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def _answers(
        self, asking: Asking, questions: Sequence[Question]
    ) -> Iterator[tuple[Question, Record | Exception]]:
        """See `answers_to`."""

        @lru_cache(AHEAD)
        def decoded(question: "_SamePart") -> Frames:
            path = self.video_path(question.question)
            return frames_of(question.question, path, asking.frames, asking.protocol)

        def request(question: Question) -> Request:
            shown: Frames = ([], 1.0)
            if asking.shows_video(question):
                shown = decoded(_SamePart(question))
            return asking.request(question, shown)

        sampling = Sampling.greedy(asking.max_new_tokens)
        return answers_to(self.captioner, asking, questions, request, sampling, self.threads)


class _SamePart:
    """Questions about one part of one video are equal, as keys of a cache."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.part = (question.video, question.start, question.end)

    def __hash__(self) -> int:
        return hash(self.part)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SamePart) and self.part == other.part


def read_answers(journal: Path) -> dict[str, Record]:
    """{key: row} of the answers that have been kept."""
    if not journal.exists():
        return {}
    rows = (orjson.loads(line) for _, _, line in lines_from(journal))
    return {row["key"]: row for row in rows}
