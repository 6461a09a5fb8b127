"""A model behind an OpenAI-compatible server as a teacher: it is asked for one letter.

Where the server says how probable the likeliest first tokens are, that gives the letters' log p; a
letter that is not among them counts as one nat less probable than the least of them. Where it does
not, the letter that it writes is its choice.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from string import ascii_uppercase
from typing import Any

from distillation.judgements import Judgement
from distillation.teachers.teacher import Case, Judged, View, letter_prompts, over_orders
from inference.captioner import Answer, Request, Sampling
from inference.engines.server import ServerCaptioner
from qa.options import chosen_option
from tools.errors import UserError
from tools.text.qa_prompts import qa_messages

TOP = 20  # of the likeliest tokens, the most that OpenAI's API gives
ONE_TOKEN = Sampling.greedy(1)


class ServerTeacher:
    """A captioner of a server, asked for one token."""

    by: tuple[str, ...] = ("letter",)
    order_blind_below = 0

    def __init__(self, captioner: ServerCaptioner, view: View | None = None) -> None:
        self.captioner = captioner
        self.name, self.view = captioner.name, view or View()
        self.batch_size = captioner.batch_size

    def fingerprint(self) -> dict[str, Any]:
        return {"teacher": "server", **self.captioner.fingerprint()}

    def check(self, device: str) -> None:
        self.captioner.check(device, ONE_TOKEN, self.view.count)

    def load(self, device: str, threads: int) -> None:
        """Learn whether the server says how probable tokens are.

        Raises:
            UserError: it does not answer.
        """
        self.captioner.load(device, threads)
        self.captioner.offer({"logprobs": True, "top_logprobs": TOP})
        hello = Request([{"role": "user", "content": [{"type": "text", "text": "Hello"}]}], 0)
        [(_, answer)] = self.captioner.generate([hello], ONE_TOKEN)
        if isinstance(answer, Exception):
            raise UserError(f"the server at {self.captioner.url} does not answer: {answer}")
        self.gives_log_p = answer.first_log_p is not None

    def judge(self, cases: Iterable[Case], by: str) -> Iterator[tuple[int, Judged | Exception]]:
        """Every cyclic order of the options is a request; without log p the first one is enough."""
        # The case of each request, and how many frames it showed; these are not held.
        sent: list[tuple[int, Case, int]] = []
        answers: dict[int, dict[int, Answer | Exception]] = defaultdict(dict)

        def requests() -> Iterator[Request]:
            for position, case in enumerate(cases):
                prompts = letter_prompts(case)
                for prompt in prompts if self.gives_log_p else prompts[:1]:
                    sent.append((position, replace(case, frames=[]), len(case.frames)))
                    yield Request(qa_messages(prompt, case.frames, case.fps), 0)

        for place, answer in self.captioner.generate(requests(), ONE_TOKEN):
            position, case, frames = sent[place]
            own = answers[position]
            own[place] = answer
            if len(own) == (len(case.options) if self.gives_log_p else 1):
                in_order = [own[key] for key in sorted(own)]
                del answers[position]
                yield position, self._judged(case, frames, in_order)

    def _judged(
        self, case: Case, frames: int, answers: list[Answer | Exception]
    ) -> Judged | Exception:
        rows, unlisted = [], 0
        for answer in answers:
            if isinstance(answer, Exception):
                return answer
            if not self.gives_log_p:
                choice = chosen_option(answer.text, case.options)
                if choice is None:
                    return ValueError(f"its answer names no option: {answer.text[:40]!r}")
                return Judged(Judgement(case.id, choice=choice, frames=frames))
            row = letters_of(answer.first_log_p or {}, len(case.options))
            if not any(map(math.isfinite, row)):
                return ValueError(f"no letter is among the likeliest {TOP} tokens")
            missing = [place for place, value in enumerate(row) if value == -math.inf]
            for place in missing:
                row[place] = min((answer.first_log_p or {}).values()) - 1
            unlisted += len(missing)
            rows.append(row)
        judgement = Judgement(case.id, letter_log_p=over_orders(rows), frames=frames)
        return Judged(judgement, unlisted=unlisted)


def letters_of(first: dict[str, float], count: int) -> list[float]:
    """log p of each of the first letters, over the tokens that are it, blanks aside; -inf where
    none is."""
    rows = [
        [value for token, value in first.items() if token.strip() == letter]
        for letter in ascii_uppercase[:count]
    ]
    return [math.log(sum(map(math.exp, own))) if own else -math.inf for own in rows]
