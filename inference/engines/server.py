"""A captioner that asks a server: any that speaks OpenAI's chat API.

`--model qwen25vl7b@http://localhost:8000/v1`: the part before the '@' names the files, the rest is
the server's address, and OPENAI_API_KEY holds its key. server_format.py makes what is sent.

`transformers serve` 4.57 can answer one request at a time: of two at once, with Qwen2-VL, each gets
the other's positions, and a wrong text. It needs --concurrency 1 and one worker.
"""

import asyncio
import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import orjson
from anyio.from_thread import start_blocking_portal
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    OpenAI,
    OpenAIError,
    PermissionDeniedError,
    UnprocessableEntityError,
)

from inference.ahead import in_background
from inference.captioner import Answer, Model, Refused, Request, Sampling
from inference.engines.server_format import (
    JPEG_QUALITY,
    QUOTED,
    Pictures,
    messages_of,
    read_answer,
    read_models,
    sampling_fields,
)
from tools.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
# A worker is handed this many times what is in flight, so that little is idle at a batch's end.
BATCHES = 8
AHEAD = 8  # requests that are ready to be sent

# Seconds that a server may be away: with a 7B model, a restart takes one or two minutes.
PATIENCE = 300
# The client waits 0.5, 1, 2 and 4 s, then 8 s each time, all of them less up to a quarter.
RETRIES = 4 + math.ceil((PATIENCE / 0.75 - 7.5) / 8)
# Seconds without a byte: 8192 tokens at 10 tokens/s, one of many in flight, and as much in a queue.
ANSWER_TIMEOUT = 1800
GIVE_UP = 2 * ANSWER_TIMEOUT  # seconds for one request with all that is retried
GREETING_SIDE = 112  # pixels of a picture that any model takes
# OpenAI refuses to write JSON where a prompt does not mention it, and some servers refuse an answer
# that was cut off before the JSON was whole.
OFFER, OFFER_TOKENS = 'Answer with this JSON object: {"ready": true}', 32
REFUSALS = (400, 413, 422)  # HTTP: this request is at fault, such as by a filter of contents
LIST_TIMEOUT = 30  # seconds to say which models there are
WAKE_TIMEOUT = 300  # seconds to a first token: some servers load the model when it is first asked


class ServerCaptioner:
    """A model behind an OpenAI-compatible server.

    Args:
        model: names the files; its checkpoint says which of several models on the server is meant.
        url: the server's address, up to and with its /v1.
        concurrency: requests in flight at once, in each worker.

    Attributes:
        served: the id of the model, as the server lists it.
        reported: what the server calls the model in its answers, often with a date; empty before
            `check` and `load`, and where the server does not say.

    Raises:
        UserError: that is no address.
    """

    def __init__(self, model: Model, url: str, concurrency: int = 64) -> None:
        self.model = model
        self.url = _checked(url)
        self.concurrency = concurrency
        self.name = model.name
        self.reasoning = model.reasoning
        self.batch_size = BATCHES * concurrency
        self.served = ""
        self.reported = ""
        self.strict = False
        self.offered: dict[str, Any] = {}

    @property
    def decoding(self) -> Sampling:
        """Greedy: a server does not tell what its checkpoint's generation_config says."""
        return Sampling.greedy(self.model.max_new_tokens)

    def fingerprint(self) -> dict[str, Any]:
        """The model and how frames reach it; not the address, since a server may move."""
        return {
            "engine": "OpenAI-compatible server",
            "checkpoint": self.model.checkpoint or self.name,
            "max_pixels": self.model.max_pixels,
            "jpeg_quality": JPEG_QUALITY,
        }

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """Ask the server for its models and for one token, showing as many pictures as later.

        Raises:
            UserError: it does not answer, does not speak OpenAI's protocol, refuses the key, lacks
                the model, or does not accept the repetition penalty or top_k of this sampling.
        """
        self._meet(1, frames)
        refused = {}
        if self.strict and sampling.repetition_penalty != 1:
            refused["--repetition_penalty 1"] = "a repetition penalty"
        if self.strict and sampling.top_k and not sampling.is_greedy:
            refused["--top_k 0"] = "top_k"
        if refused:
            raise UserError(
                f"the server at {self.url} does not accept {' or '.join(refused.values())}; pass"
                f" {' '.join(refused)}"
            )

    def load(self, device: str, threads: int) -> None:
        """Ask the server for its models again, and wait for it where it is away."""
        cv2.setNumThreads(threads)
        self._meet(RETRIES)

    def offer(self, fields: dict[str, Any]) -> list[str]:
        """Send those of these fields with every request from now on that the server accepts.

        Each is tried by itself on a short request. It comes after `check` or `load`.

        Returns:
            The names of the accepted fields.

        Raises:
            UserError: the server does not answer.
        """
        self.offered = {}
        with OpenAI(**self._connection(1)) as client:
            for name, value in fields.items():
                accepted, self.offered = self.offered, {**self.offered, name: value}
                try:
                    self._greet(client, text=OFFER, tokens=OFFER_TOKENS)
                except (BadRequestError, UnprocessableEntityError):
                    self.offered = accepted
                except (OpenAIError, ValueError) as error:
                    raise UserError(f"{self.url} does not answer: {error}") from error
        return list(self.offered)

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Keep `concurrency` requests in flight; the next ones are prepared in another thread."""
        answered: SimpleQueue[Future[Answer]] = SimpleQueue()
        in_flight: dict[Future[Answer], int] = {}

        def next_answer() -> tuple[int, Answer | Exception]:
            future = answered.get()
            error = future.exception()
            if error is not None and not isinstance(error, Exception):
                raise error
            return in_flight.pop(future), error or future.result()

        # Leaving the block early, whatever for, cancels all that is in flight.
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(AsyncOpenAI(**self._connection(RETRIES))) as client,
        ):
            for position, body in in_background(self._bodies(requests, sampling), AHEAD):
                if isinstance(body, Exception):
                    yield position, body
                    continue
                while len(in_flight) == self.concurrency or not answered.empty():
                    yield next_answer()
                future = portal.start_task_soon(_ask, client, body)
                in_flight[future] = position
                future.add_done_callback(answered.put)
            while in_flight:
                yield next_answer()

    def _connection(self, retries: int) -> dict[str, Any]:
        return {
            "base_url": self.url,
            # The client requires a key; a server of one's own needs none.
            "api_key": os.environ.get(KEY_VARIABLE, "").strip() or "none",
            "max_retries": retries,
            "timeout": ANSWER_TIMEOUT,
        }

    def _meet(self, retries: int, frames: int = 0) -> None:
        """Learn how the server calls the model, and whether it accepts more fields than OpenAI's.

        One token is asked for, since some servers list their models to anyone and check the key
        only when they answer.
        """
        with OpenAI(**self._connection(retries)) as client:
            try:
                listed = client.get("/models", cast_to=bytes, options={"timeout": LIST_TIMEOUT})
                self.served = self._choice(read_models(listed))
                self.strict = False
                try:
                    self._greet(client)
                except (BadRequestError, UnprocessableEntityError):
                    self.strict = True
                    self._greet(client)
                if frames:
                    self._show(client, frames)
            except OpenAIError as error:
                raise UserError(self._complaint(error)) from error
            except ValueError as error:
                raise UserError(
                    f"{self.url} does not speak OpenAI's protocol ({error}): correct the address,"
                    " which usually ends in /v1"
                ) from error

    def _show(self, client: OpenAI, frames: int) -> None:
        """Does the model accept this many pictures in a request?"""
        frame = np.full((GREETING_SIDE, GREETING_SIDE, 3), 128, np.uint8)
        try:
            self._greet(client, {"type": "video", "video": [frame] * frames})
        except APIStatusError as error:
            raise UserError(
                f"{self.served} at {self.url} takes no request with {frames} pictures (HTTP"
                f" {error.status_code}: {_text_of(error)})"
            ) from error

    def _greet(
        self, client: OpenAI, *shown: dict[str, Any], text: str = "Hello", tokens: int = 1
    ) -> None:
        content = [*shown, {"type": "text", "text": text}]
        greeting = Request([{"role": "user", "content": content}], 0)
        body, _ = self._body(greeting, Sampling.greedy(tokens), {})
        answer = read_answer(
            client.post(
                "/chat/completions",
                cast_to=bytes,
                content=body,
                options={"timeout": WAKE_TIMEOUT},
            )
        )
        self.reported = answer.model

    def _choice(self, ids: list[str]) -> str:
        """The id of the server's model that is meant."""
        if len(ids) == 1:
            return ids[0]
        for wanted in (self.name, self.model.checkpoint):
            if wanted in ids:
                return str(wanted)
        raise UserError(
            f"{self.url} has no model {self.model.checkpoint or self.name!r}; it has:"
            f" {', '.join(ids) or 'none'}"
        )

    def _complaint(self, error: OpenAIError) -> str:
        """What is wrong with the server, in one line."""
        if isinstance(error, APITimeoutError):
            return f"the server at {self.url} accepts a request but does not answer it"
        if isinstance(error, APIConnectionError):
            return (
                f"no server answers at {self.url} ({error.__cause__}): start it, or correct the"
                " address"
            )
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            return (
                f"{self.url} refuses the key (HTTP {error.status_code}): set {KEY_VARIABLE} to"
                " the right one"
            )
        if isinstance(error, APIStatusError):
            hint = "; addresses usually end in /v1" if error.status_code == 404 else ""
            return f"{error.request.url} answers HTTP {error.status_code}{hint}: {_text_of(error)}"
        return f"{self.url}: {error}"

    def _bodies(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, bytes | Exception]]:
        """Yield (position, what to send or why it cannot be sent)."""
        shown: Pictures = {}
        for position, request in enumerate(requests):
            try:
                body, shown = self._body(request, sampling, shown)
            except Exception as error:
                yield position, error
            else:
                yield position, body

    def _body(
        self, request: Request, sampling: Sampling, shown: Pictures
    ) -> tuple[bytes, Pictures]:
        """A request's JSON, and its pictures."""
        messages, pictures = messages_of(request, self.model.max_pixels, shown)
        fields = {
            "model": self.served,
            "messages": messages,
            "stream": False,
            **sampling_fields(sampling, request.seed, self.strict),
            **self.offered,
        }
        return orjson.dumps(fields), pictures


def _checked(url: str) -> str:
    """Give back an address, or raise UserError where it is none."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise UserError(f"{url!r} is not a server's address such as http://localhost:8000/v1")
    return url.rstrip("/")


async def _ask(client: AsyncOpenAI, body: bytes) -> Answer:
    """Send a request until it is answered.

    The client sends it again after 408, 409, 429, 5xx, a time-out or a lost connection, and waits
    for as long as the server's Retry-After says, two minutes at most.
    """
    try:
        async with asyncio.timeout(GIVE_UP):
            # The client's own types for requests and answers double what a request costs.
            reply = await client.post("/chat/completions", cast_to=bytes, content=body)
    except TimeoutError:
        raise TimeoutError(f"no answer within {GIVE_UP} s") from None
    except APIStatusError as error:
        kind = Refused if error.status_code in REFUSALS else RuntimeError
        raise kind(f"HTTP {error.status_code}: {_text_of(error)}") from None
    return read_answer(reply)


def _text_of(error: APIStatusError) -> str:
    return " ".join(error.response.text.split())[:QUOTED]
