"""A judge at work: requests out, verdicts in; the check on cases whose verdicts are known."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import yaml
from tqdm import tqdm

from inference.captioner import Answer, Captioner, Refused, Request, Sampling
from inference.engines.server import ServerCaptioner
from inference.models import open_captioner
from qa.judge.verdicts import Row, Verdict, content_key, read_verdict
from tools.errors import UserError
from tools.runner.devices import device_of
from tools.text.judging import JudgePrompt, follow_up
from tools.text.prompts import Message

Key = TypeVar("Key", bound=Hashable)
Reply = tuple[Verdict, Answer]

TRIES = 3  # of a reply that cannot be read
CASES = Path(__file__).with_name("cases.yaml")
SEED = 0
# Sent where the server takes it: a verdict is a JSON object, and is the same each time.
FIELDS = {"response_format": {"type": "json_object"}, "seed": SEED}


@dataclass(frozen=True)
class Content:
    """What a verdict is about."""

    question: str
    answer: str
    prediction: str

    @cached_property
    def sha1(self) -> str:
        """See `content_key`."""
        return content_key(self.question, self.answer, self.prediction)


@dataclass
class Judge:
    """A model that judges, with the prompt that it is asked with."""

    captioner: Captioner
    prompt: JudgePrompt
    sampling: Sampling

    @cached_property
    def model(self) -> str:
        """What the judge's server calls its model; of a local one, its name and the digest of its
        weights."""
        if isinstance(self.captioner, ServerCaptioner):
            return self.captioner.reported or self.captioner.served
        weights = self.captioner.fingerprint().get("weights")
        return " ".join(filter(None, (self.captioner.name, weights)))

    def messages(self, content: Content, form: int = 0) -> list[Message]:
        """The request about a content; `form` is the order of the reply's keys."""
        return self.prompt.messages(content.question, content.answer, content.prediction, form)

    def row(self, content: Content, verdict: Verdict, answer: Answer) -> Row:
        """What is kept of a reply, without the id of a question."""
        return {
            "id": "",
            "verdict": verdict.verdict,
            "score": verdict.score,
            "raw": answer.text,
            "finish_reason": answer.finish_reason,
            "model": answer.model or self.model,
            "prompt": self.prompt.digest,
            "sha1": content.sha1,
        }

    def replies(
        self, keys: Sequence[Key], messages: Callable[[Key], list[Message]], what: str
    ) -> Iterator[tuple[Key, Reply | Refused]]:
        """Ask about each key; yield (key, what was replied), in any order.

        A reply that cannot be read is answered with what is wrong with it, twice at most.

        Args:
            messages: makes a key's request.
            what: what a progress bar says.

        Raises:
            UserError: a request stays unanswered, for another reason than what is in it.
        """
        conversations: dict[Key, list[Message]] = {}
        best: dict[Key, Reply] = {}
        for attempt in range(1, TRIES + 1):
            requests = (Request(conversations.get(key) or messages(key), SEED) for key in keys)
            unread: dict[Key, list[Message]] = {}
            answers = self.captioner.generate(requests, self.sampling)
            label = what if attempt == 1 else f"{what}, try {attempt}"
            for place, answer in tqdm(answers, label, len(keys), disable=None):
                key = keys[place]
                if isinstance(answer, Refused):
                    yield key, best.pop(key, answer)
                    continue
                if isinstance(answer, Exception):
                    raise UserError(
                        f"the judge {self.captioner.name} leaves a request unanswered ({answer});"
                        " what it has judged is kept, and the same command goes on"
                    ) from answer
                verdict = read_verdict(answer.text)
                # A later try does not take away a verdict that lacks its score alone.
                if key not in best or verdict.verdict or not best[key][0].verdict:
                    best[key] = verdict, answer
                if verdict.fault and attempt < TRIES:
                    so_far = conversations.get(key) or messages(key)
                    unread[key] = follow_up(so_far, answer.text, verdict.fault)
                else:
                    yield key, best.pop(key)
            keys, conversations = list(unread), unread
            if not keys:
                return


def open_judge(
    name: str,
    prompt: JudgePrompt,
    *,
    concurrency: int,
    max_new_tokens: int,
    device: str = "auto",
    threads: int = 1,
) -> Judge:
    """A judge that is ready to be asked.

    Args:
        name: as `inference.models.open_captioner` takes it.
        concurrency: requests in flight at a server.
        max_new_tokens: longest reply.
        device, threads: of a local judge; auto, cpu or cuda, and CPU threads.

    Raises:
        UserError: there is no such model, or its server does not answer.
    """
    captioner = open_captioner(name, concurrency=concurrency)
    sampling = Sampling.greedy(max_new_tokens)
    captioner.check(device, sampling, frames=0)
    if isinstance(captioner, ServerCaptioner):
        captioner.load("cpu", threads)
        captioner.offer(FIELDS)
    else:
        captioner.load(device_of(device), threads)
    return Judge(captioner, prompt, sampling)


@dataclass(frozen=True)
class KnownCase:
    """An answer whose verdict is known, asked for with one order of the reply's keys."""

    kind: str
    content: Content
    verdict: str
    form: int


def known_cases(forms: int) -> list[KnownCase]:
    """The 40 cases of cases.yaml, once for each order of the reply's keys."""
    entries = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    return [
        KnownCase(
            entry["kind"],
            Content(entry["question"], entry["answer"], entry["prediction"]),
            entry["verdict"],
            form,
        )
        for entry in entries
        for form in range(forms)
    ]


def disagreements(judge: Judge, cases: Sequence[KnownCase]) -> list[tuple[KnownCase, str | None]]:
    """The cases in which a judge's verdict is another, with that verdict; in the cases' order.

    Raises:
        UserError: a request stays unanswered.
    """
    given = dict(
        judge.replies(cases, lambda case: judge.messages(case.content, case.form), "check")
    )
    wrong = []
    for case in cases:
        reply = given[case]
        if isinstance(reply, Refused):
            raise UserError(f"the judge refuses a built-in case: {reply}")
        if reply[0].verdict != case.verdict:
            wrong.append((case, reply[0].verdict))
    return wrong
