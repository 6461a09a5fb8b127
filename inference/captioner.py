"""What a captioner is: batches of chat messages in, texts out; and the models known by name."""

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import yaml

from tools.errors import UserError

MODELS_YAML = Path(__file__).with_name("models.yaml")


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
            already decoded).
        seed: seeds the sampling of this request alone: its answer depends on no other request.
    """

    messages: list[dict[str, Any]]
    seed: int


@dataclass(frozen=True)
class Answer:
    """What a model wrote, as it wrote it: parsing is the caller's.

    `finish_reason` is "stop" where the model ended by itself, "length" where it was cut off at
    max_new_tokens, or the engine's own word for anything else.
    """

    text: str
    finish_reason: str


class Captioner(Protocol):
    """A model and a way to run it.

    It is made cheaply in the parent (no weights, no device), pickled to each worker, loaded there.

    Attributes:
        name: the model's name as it goes into the names of files.
        reasoning: whether its answers begin with thinking that ends at </think>.
        batch_size: how many requests to hand to `generate` at once; what is best run together among
            them is the captioner's own affair.
        decoding: how the checkpoint's generation_config decodes, cut off at the model's
            max_new_tokens: what clip captions are made with.
    """

    name: str
    reasoning: bool
    batch_size: int
    decoding: Sampling

    def fingerprint(self) -> dict[str, Any]:
        """Parameters and versions that shape its texts: JSON values, known before loading."""

    def load(self, device: str, threads: int) -> None:
        """Make ready to generate, once in each worker.

        Args:
            device: "cpu" or "cuda:<index>".
            threads: CPU threads it may use.
        """

    def generate(self, requests: list[Request], sampling: Sampling) -> list[Answer | Exception]:
        """Answer a batch; an exception in a place of the list means that request alone failed."""


@dataclass(frozen=True)
class Model:
    """An entry of models.yaml; the fields are described there."""

    name: str
    engine: str
    checkpoint: str | None = None
    max_pixels: int | None = None
    max_new_tokens: int = 2048
    reasoning: bool = False
    opening: bool = False


def models(path: Path = MODELS_YAML) -> dict[str, Model]:
    """The models known by name, in the file's order.

    Raises:
        UserError: a name that cannot go into a file's name.
    """
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: Model(check_model_name(name), **entry) for name, entry in entries.items()}


def check_model_name(name: str) -> str:
    """Give back a name that can go into a file's name.

    Raises:
        UserError: any other name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", str(name)):
        raise UserError(
            f"not a model name: {name!r} (letters, digits, '.', '-' and '_', 64 at most)"
        )
    return name


def open_captioner(model: str) -> Captioner:
    """The captioner of a model known by name; nothing is loaded yet.

    Raises:
        UserError: a name that models.yaml does not hold, or an engine that is not here.
    """
    known = models()
    if model not in known:
        raise UserError(f"unknown model {model!r}; the models are: {', '.join(known)}")
    if known[model].engine == "dryrun":
        from inference.dryrun import DryrunCaptioner

        return DryrunCaptioner()
    raise UserError(
        f"{model} needs the {known[model].engine} engine, which is not part of this version yet; "
        "--model dryrun needs no weights and no GPU"
    )


def response_sampling(captioner: Captioner) -> Sampling:
    """How the method writes responses with this captioner.

    The reference asks for temperature, penalty and limit, and leaves the rest to the checkpoint.
    """
    asked = Sampling()
    return replace(
        captioner.decoding,
        temperature=asked.temperature,
        repetition_penalty=asked.repetition_penalty,
        max_new_tokens=asked.max_new_tokens,
    )
