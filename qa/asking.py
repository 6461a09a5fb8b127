"""Asking a model the questions of a split, and keeping what it answers.

Every answer is appended to `<predictions>.answers` with a key of all that shaped it: the model, the
prompt, the frames, the way of asking. What has been asked with the same key is not asked again, so
that a run which was interrupted, or asked fewer questions, or the same ones another way, goes on.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from tqdm import tqdm

from inference.ahead import map_ahead
from inference.captioner import Answer, Captioner, Request, Sampling, request_seed
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.likelihood import option_likelihoods
from qa.answers import made_by, without_libraries
from qa.frames import FRAMES, PROTOCOLS, frames_of, subtitles_of
from qa.options import chosen_option
from qa.predictions import BLIND, PERMUTED, Prediction, write_predictions
from qa.records import Question
from tools.cli import positive, setting
from tools.store.files import Appender
from tools.store.jsonl import Record, dumps, lines_from
from tools.text.answers import parse_response
from tools.text.qa_prompts import LETTER, SHORT_ANSWER, qa_messages, question_prompt
from tools.video.decode import VideoError

DIGITS = 4  # of log p: what is below depends on which questions share a batch
AHEAD = 4  # questions whose frames are decoded and wait for the model

Frames = tuple[list[np.ndarray], float]


@dataclass(frozen=True)
class Asking:
    """How questions are asked; see the help of each field that is a flag.

    Attributes:
        control: one of CONTROLS, or None: everything is shown.
        order: number of the order in which options are listed; 0 is the published one.
    """

    control: str | None = None
    order: int = 0
    write: bool = setting(
        False,
        "list the options and read the written answer (default: compare the options' log p where"
        " the engine computes it)",
        group="how the model is asked",
    )
    per_token: bool = setting(
        False,
        "compare options by their log p a token (default: by its sum, which favours short options)",
    )
    frames: int = setting(
        FRAMES, "frames that are shown of the part asked about, or of each second", type=positive
    )
    protocol: str = setting(
        PROTOCOLS[0],
        "which frames: at the middles of N equal parts, by time; of N parts a second; as MVBench's"
        " notebook; as TOPA",
        choices=PROTOCOLS,
    )
    whole_video: bool = setting(
        False, "show whole videos (default: the part between a question's start and end)"
    )
    subtitles: bool = setting(False, "put subtitles before the question (default: leave them out)")
    instruction: str | None = setting(
        None,
        "what follows a question whose answer is written; toyvl knows none: pass '' (default: ask"
        " for a letter, or for one word or a short phrase)",
        metavar="TEXT",
    )
    max_new_tokens: int = setting(
        128,
        "longest written answer, tokens; a model that thinks first needs more",
        type=positive,
    )
    seed: int = setting(0, "of drawn videos, orders of options and shuffled frames")

    @property
    def arm(self) -> str | None:
        """The name of this way of asking in the names of files; None: the model as it is."""
        return f"{PERMUTED}{self.order}" if self.order else self.control

    def is_written(self, question: Question) -> bool:
        """Whether the answer is written."""
        return self.write or question.choices is None

    def shows_video(self, question: Question) -> bool:
        """Whether frames are shown."""
        return self.control not in BLIND and question.context.get("media", "video") != "text"

    def prompt(self, question: Question) -> str:
        """The text of the question."""
        choices: Sequence[str] = ()
        instruction = ""
        if self.is_written(question):
            options = question.choices or []
            choices = [options[place] for place in option_order(question, self.order, self.seed)]
            instruction = LETTER if choices else SHORT_ANSWER
            instruction = instruction if self.instruction is None else self.instruction
        hidden = self.control == "choices_only"
        return question_prompt(
            None if hidden else question.question,
            choices,
            instruction,
            subtitles_of(question) if self.subtitles and not hidden else (),
        )

    def conversation(self, question: Question) -> list[tuple[str, str]]:
        """The earlier turns, (question, answer) each."""
        if self.control == "choices_only":
            return []
        turns = [text for _, text in question.context.get("conversation", ())]
        return list(zip(turns[::2], turns[1::2], strict=False))

    def request(self, question: Question, shown: Frames) -> Request:
        """What the model is asked."""
        frames, fps = shown
        if self.control == "frames_shuffled":
            random.Random(f"{self.seed}/{question.id}/frames").shuffle(frames := list(frames))
        elif self.control == "single_frame":
            frames = frames[len(frames) // 2 :][:1]
        messages = qa_messages(self.prompt(question), frames, fps, self.conversation(question))
        return Request(messages, request_seed(self.seed, question.id, "question"))


def option_order(question: Question, number: int, seed: int) -> list[int]:
    """The places of a question's options in the order in which they are listed; number 0 is the
    published order."""
    places = list(range(len(question.choices or ())))
    if number:
        random.Random(f"{seed}/{question.id}/options {number}").shuffle(places)
    return places


def gives_log_p(captioner: Captioner) -> bool:
    """Whether the engine computes likelihoods."""
    return isinstance(captioner, HuggingFaceCaptioner)


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
        predictions = [_prediction(asking, question, row) for question, row in answered]
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
        """Yield each question with what is kept of its answer, as soon as it is known."""
        for written in (False, True):
            own = [question for question in questions if asking.is_written(question) == written]
            if not own:
                continue
            sent: list[Question] = []
            unreadable: list[tuple[Question, Exception]] = []
            requests = self._requests(asking, own, sent, unreadable)
            answers = self._written(asking, requests) if written else self._compared(requests)
            for place, answer in answers:
                yield sent[place], answer
            yield from unreadable

    def _requests(
        self,
        asking: Asking,
        questions: Sequence[Question],
        sent: list[Question],
        unreadable: list[tuple[Question, Exception]],
    ) -> Iterator[tuple[Request, list[str]]]:
        """Yield requests with their options while later videos are being decoded; `asked` gets
        their questions, `unreadable` those whose video cannot be read."""

        @lru_cache(AHEAD)
        def decoded(question: "_SamePart") -> Frames:
            path = self.video_path(question.question)
            return frames_of(question.question, path, asking.frames, asking.protocol)

        def request(question: Question) -> Request:
            shown: Frames = ([], 1.0)
            if asking.shows_video(question):
                shown = decoded(_SamePart(question))
            return asking.request(question, shown)

        for question, result in map_ahead(request, questions, self.threads, AHEAD + self.threads):
            if isinstance(result, Exception):
                unreadable.append((question, result))
            else:
                sent.append(question)
                yield result, question.choices or []

    def _compared(
        self, requests: Iterator[tuple[Request, list[str]]]
    ) -> Iterator[tuple[int, Record | Exception]]:
        assert isinstance(self.captioner, HuggingFaceCaptioner)
        for place, values in option_likelihoods(self.captioner, requests):
            if isinstance(values, Exception):
                yield place, values
                continue
            if not all(math.isfinite(value.total) for value in values):
                yield place, ValueError("its log p is not finite")
                continue
            log_p = [round(value.total, DIGITS) for value in values]
            nothing = {"prediction": None, "finish_reason": None}
            yield place, {**nothing, "log_p": log_p, "tokens": [value.tokens for value in values]}

    def _written(
        self, asking: Asking, requests: Iterator[tuple[Request, list[str]]]
    ) -> Iterator[tuple[int, Record | Exception]]:
        sampling = Sampling.greedy(asking.max_new_tokens)
        stream = (request for request, _ in requests)
        for place, answer in self.captioner.generate(stream, sampling):
            if isinstance(answer, Answer):
                text = parse_response(answer.text)
                yield place, {"prediction": text, "finish_reason": answer.finish_reason}
            else:
                yield place, answer


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


def _prediction(asking: Asking, question: Question, row: Record) -> Prediction:
    """A question's prediction. Where options were listed in another order, it is the text of the
    chosen one, or nothing where none is named: a letter would mean another option."""
    text, log_p = row["prediction"], row.get("log_p")
    if log_p is not None and asking.per_token:
        pairs = zip(log_p, row["tokens"], strict=True)
        log_p = [round(total / tokens, DIGITS) for total, tokens in pairs]
    if asking.order and question.choices and text is not None:
        order = option_order(question, asking.order, asking.seed)
        place = chosen_option(text, [question.choices[index] for index in order])
        text = None if place is None else question.choices[order[place]]
    return Prediction(question.id, text, log_p)
