"""What a captioner is: a stream of chat messages in, texts out."""

import hashlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

from tools.errors import UserError

Key = TypeVar("Key", bound=Hashable)

# At a top_p of no more than this nothing is drawn: the most probable token has that much by itself
# (Qwen2-VL's generation_config.json means greedy by it).
GREEDY_TOP_P = 0.001


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. No value is left to an engine's own default.

    The defaults are the responses of the reference: what its code asks for, and Qwen2-VL's
    generation_config.json where its code is silent (top_p, top_k). With top_k = 1 that is greedy.

    Attributes:
        temperature: divides the logits; 0 means greedy.
        top_p: the smallest set of tokens whose probabilities sum to this is kept; 1 keeps all.
        top_k: this many most probable tokens are kept; 0 keeps all, 1 is greedy.
        repetition_penalty: divides the logit (multiplies it, if negative) of every token already in
            prompt or answer; 1 leaves them alone.
        max_new_tokens: the answer is cut off here, tokens.

    Raises:
        UserError: a value out of its range.
    """

    temperature: float = 0.7
    top_p: float = 0.001
    top_k: int = 1
    repetition_penalty: float = 1.05
    max_new_tokens: int = 8192

    def __post_init__(self) -> None:
        for name, fine, range_ in (
            ("temperature", self.temperature >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("repetition_penalty", self.repetition_penalty > 0, "above 0"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
        ):
            if not fine:
                raise UserError(f"{name} is {getattr(self, name)}; it must be {range_}")

    @classmethod
    def greedy(cls, max_new_tokens: int, repetition_penalty: float = 1.0) -> "Sampling":
        """The most probable token each time."""
        return cls(0.0, 1.0, 1, repetition_penalty, max_new_tokens)

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is taken each time."""
        return self.temperature == 0 or self.top_k == 1 or self.top_p <= GREEDY_TOP_P

    def as_dict(self) -> dict[str, float | int]:
        """The values as a response's row keeps them."""
        return asdict(self)


@dataclass(frozen=True)
class Request:
    """One conversation to answer.

    Attributes:
        messages: chat messages {"role", "content"}; content is a list of {"type": "text", "text":
            str} and {"type": "video", "video": [frame, ...]}, each frame uint8 RGB (H, W, 3), in
            the order in which the model is to see them (the Hugging Face chat format, with frames
            already decoded), and "fps", frames a second, where they are not two frames of a clip.
        seed: seeds the sampling of this request alone: its answer depends on no other request.
    """

    messages: list[dict[str, Any]]
    seed: int

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The texts and videos of all messages."""
        return [part for message in self.messages for part in message["content"]]


def request_seed(seed: int, video_id: str, what: str) -> int:
    """A request's own seed, 0..2**32-1, from (seed, video_id, what is asked) alone."""
    digest = hashlib.sha256(f"{seed}/{video_id}/{what}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


@dataclass(frozen=True)
class Answer:
    """What a model wrote, as it wrote it: parsing is the caller's.

    `finish_reason` is "stop" where the model ended by itself, "length" where it was cut off at
    max_new_tokens, or the engine's own word for anything else. `model` is what a server calls the
    model that answered; empty where it does not say, and of other engines. `first_log_p` is log p
    in nats of what could have been the first token, the likeliest ones, of a server that was asked
    for it and says so.
    """

    text: str
    finish_reason: str
    model: str = ""
    first_log_p: dict[str, float] | None = None


class Refused(RuntimeError):
    """A server does not take one request because of what is in it; other requests may be fine."""


class Captioner(Protocol):
    """A model and a way to run it.

    It is made cheaply in the parent (no weights, no device), pickled to each worker, loaded there.

    Attributes:
        name: the model's name as it goes into the names of files.
        reasoning: whether its answers begin with thinking that ends at </think>.
        batch_size: how many requests a worker is handed at once: a few times what runs together, so
            that the captioner can order them and seldom runs dry.
        decoding: how the checkpoint's generation_config decodes, cut off at the model's
            max_new_tokens: what clip captions are made with.
    """

    name: str
    reasoning: bool
    batch_size: int

    @property
    def decoding(self) -> Sampling: ...

    def fingerprint(self) -> dict[str, Any]:
        """Parameters and versions that shape its texts: JSON values, known before loading."""

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """Called in the parent before any work: is everything here that it needs?

        Args:
            device: auto, cpu or cuda, as the user asked.
            sampling: how tokens will be chosen.
            frames: how many pictures a request will show at most.

        Raises:
            UserError: something is missing.
        """

    def load(self, device: str, threads: int) -> None:
        """Make ready to generate, once in each worker.

        Args:
            device: "cpu" or "cuda:<index>".
            threads: CPU threads it may use.
        """

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Yield (position in `requests`, answer), each as soon as it is known, in any order.

        An exception in an answer's place means that that request alone failed. The requests are
        taken one by one, from another thread if need be: whoever gives them may still be decoding
        the later ones while the first are answered.
        """


def answer_groups(
    captioner: Captioner, groups: Iterable[tuple[Key, Sequence[Request]]], sampling: Sampling
) -> Iterator[tuple[Key, list[Answer | Exception]]]:
    """Send groups of requests as one stream; yield (key, answers in the group's order) as soon as a
    group's last answer is known."""
    places: list[tuple[Key, int]] = []
    answers: dict[Key, list[Any]] = {}

    def stream() -> Iterator[Request]:
        for key, requests in groups:
            answers[key] = [None] * len(requests)
            for number, request in enumerate(requests):
                places.append((key, number))
                yield request

    for position, answer in captioner.generate(stream(), sampling):
        key, number = places[position]
        answers[key][number] = answer
        if None not in answers[key]:
            yield key, answers.pop(key)
    yield from answers.items()  # groups without a request


@dataclass(frozen=True)
class Model:
    """An entry of models.yaml, with what its family adds; the fields are described there."""

    name: str
    engine: str
    checkpoint: str | None = None
    family: str | None = None
    max_new_tokens: int = 2048
    reasoning: bool = False
    max_pixels: int | None = None
    shared_prefix: bool = False
    video: dict[str, Any] = field(default_factory=dict)
