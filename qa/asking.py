"""Asking a model questions: how each is put, and what is kept of the answer."""

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from inference.ahead import good_ahead
from inference.captioner import Answer, Captioner, Request, Sampling, request_seed
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.likelihood import option_likelihoods
from qa.frames import FRAMES, PROTOCOLS, subtitles_of
from qa.options import chosen_option
from qa.predictions import BLIND, PERMUTED, Prediction
from qa.records import Question
from tools.cli import positive, setting
from tools.store.jsonl import Record, dumps
from tools.text.answers import parse_response
from tools.text.qa_prompts import LETTER, SHORT_ANSWER, qa_messages, question_prompt

DIGITS = 4  # of log p: what is below depends on which questions share a batch
AHEAD = 4  # questions whose frames are decoded and wait for the model

Frames = tuple[list[np.ndarray], float]


@dataclass(frozen=True)
class Asking:
    """How questions are asked; see the help of each field that is a flag.

    Attributes:
        control: one of CONTROLS, or None: everything is shown.
        order: number of the order in which options are listed; 0 is the published one.
        verbatim: open questions are asked as they are published, with nothing before or after.
    """

    control: str | None = None
    order: int = 0
    verbatim: bool = False
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
        if self.verbatim and question.choices is None:
            return question.question
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

    def digest(self, questions: Iterable[Question]) -> str:
        """Sixteen hex digits that change with the text that goes with the videos: the questions,
        the subtitles that are put before them, and the earlier turns."""
        sent = [[self.prompt(question), self.conversation(question)] for question in questions]
        return hashlib.sha256(dumps(sent)).hexdigest()[:16]

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


def answers_to(
    captioner: Captioner,
    asking: Asking,
    questions: Sequence[Question],
    request: Callable[[Question], Request],
    sampling: Sampling,
    threads: int = 1,
) -> Iterator[tuple[Question, Record | Exception]]:
    """Yield each question with what is kept of its answer, as soon as it is known: prediction and
    finish_reason, or log_p of the options and the tokens of each.

    Args:
        request: decodes what is shown; called in other threads while the model runs. What it raises
            stands in the place of the answer.
        sampling: of written answers.
    """
    for written in (False, True):
        own = [question for question in questions if asking.is_written(question) == written]
        if not own:
            continue
        sent: list[Question] = []
        unreadable: list[tuple[Question, Exception]] = []
        requests = _requests(own, request, threads, sent, unreadable)
        answers = _compared(captioner, requests)
        if written:
            answers = _written(captioner, requests, sampling)
        for place, answer in answers:
            yield sent[place], answer
        yield from unreadable


def _requests(
    questions: Sequence[Question],
    request: Callable[[Question], Request],
    threads: int,
    sent: list[Question],
    unreadable: list[tuple[Question, Exception]],
) -> Iterator[tuple[Request, list[str]]]:
    """Yield requests with their options while later videos are being decoded; `sent` gets their
    questions, `unreadable` those whose video cannot be read."""
    for question, made in good_ahead(request, questions, threads, AHEAD + threads, unreadable):
        sent.append(question)
        yield made, question.choices or []


def _compared(
    captioner: Captioner, requests: Iterator[tuple[Request, list[str]]]
) -> Iterator[tuple[int, Record | Exception]]:
    assert isinstance(captioner, HuggingFaceCaptioner)
    for place, values in option_likelihoods(captioner, requests):
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
    captioner: Captioner, requests: Iterator[tuple[Request, list[str]]], sampling: Sampling
) -> Iterator[tuple[int, Record | Exception]]:
    stream = (request for request, _ in requests)
    for place, answer in captioner.generate(stream, sampling):
        if isinstance(answer, Answer):
            text = parse_response(answer.text)
            yield place, {"prediction": text, "finish_reason": answer.finish_reason}
        else:
            yield place, answer


def prediction_of(asking: Asking, question: Question, row: Record) -> Prediction:
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
