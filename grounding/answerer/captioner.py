"""BLIP-2 and InstructBLIP as captioners: whatever asks a video LLM can ask them too."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from hashlib import file_digest
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grounding.answerer.answerer import FAMILIES, Answerer, Example, Settings
from grounding.answerer.decoding import GREEDY, Decoding
from grounding.answerer.weights import (
    SETTINGS,
    WEIGHTS,
    load_answerer,
    open_answerer,
    read_settings,
)
from inference.captioner import Answer, Model, Request, Sampling
from inference.checkpoints import config_of, digest, has_weights, local_folder
from inference.engines.batches import BatchedCaptioner, Inputs
from tools.errors import UserError
from tools.text.chat import with_earlier_turns

FRAME_CHARACTERS = 100  # a frame takes about as long as so many characters of a prompt


class AnswererCaptioner(BatchedCaptioner):
    """An answerer; the frames of all videos in a request are frames of its one video.

    Args:
        name: in the names of files.
        source: the folder of a trained answerer, or a checkpoint of BLIP-2 or InstructBLIP, by its
            folder or id on the hub.
        batch: requests that run together.
        num_beams, length_penalty: of beam search, where answers are greedy otherwise; 1: none.
        base: the checkpoint that a trained answerer was made of, where that has moved.
    """

    answerer: Answerer

    def __init__(
        self,
        name: str,
        source: str,
        batch: int,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        base: str | None = None,
    ) -> None:
        self.trained = Path(source) if is_trained(source) else None
        self.base = base
        self.num_beams, self.length_penalty = num_beams, length_penalty
        checkpoint = self._settings.base if self.trained else source
        super().__init__(Model(name, "answerer", checkpoint), batch)

    @cached_property
    def _settings(self) -> Settings:
        """Of a trained answerer."""
        assert self.trained
        return read_settings(self.trained, **({"base": self.base} if self.base else {}))

    @property
    def nframe(self) -> int:
        """Frames of a video that it learned from; the method's where it is as released."""
        return self._settings.nframe if self.trained else Settings.nframe

    @property
    def decoding(self) -> Sampling:
        """Greedy."""
        return GREEDY.sampling

    def fingerprint(self) -> dict[str, Any]:
        made: dict[str, Any] = {
            "engine": "answerer",
            "weights": digest(self.checkpoint),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }
        if self.trained:
            with open(self.trained / WEIGHTS, "rb") as file:
                made["trained"] = file_digest(file, "sha256").hexdigest()[:16]
            made["settings"] = {k: v for k, v in asdict(self._settings).items() if k != "base"}
        if self.num_beams > 1:
            made |= {"num_beams": self.num_beams, "length_penalty": self.length_penalty}
        return made

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """See that the checkpoint is here, or fetch it once for all workers."""
        self._decoding(sampling)
        family = config_of(self.checkpoint)["model_type"]
        if family not in FAMILIES:
            raise UserError(
                f"{self.checkpoint} is a {family}; an answerer is one of {', '.join(FAMILIES)}"
            )
        if self.trained and family != self._settings.family:
            raise UserError(
                f"{self.trained} was trained on a {self._settings.family}, and {self.checkpoint} is"
                f" a {family}"
            )
        if not has_weights(local_folder(self.checkpoint)):
            raise UserError(f"checkpoint {self.checkpoint}: not all of its weights are there")

    def load(self, device: str, threads: int) -> None:
        """Load it: bfloat16 where the device computes in it, float32 elsewhere."""
        import torch

        torch.set_num_threads(threads)
        ampere = device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)
        dtype = torch.bfloat16 if ampere else torch.float32
        if self.trained:
            self.answerer = load_answerer(self.trained, dtype, base=self._settings.base)
        else:
            self.answerer = open_answerer(self.checkpoint, dtype)
        self.answerer.to(device)
        # A fast tokenizer cannot be used by two threads at once.
        self._processing = threading.Lock()

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        run = partial(self._run, self._decoding(sampling))
        return self.in_batches(requests, _length, self._inputs, run)

    def _decoding(self, sampling: Sampling) -> Decoding:
        drawn = {}
        if not sampling.is_greedy:
            names = ("temperature", "top_p", "top_k")
            drawn = {name: getattr(sampling, name) for name in names}
        return Decoding(
            max_new_tokens=sampling.max_new_tokens,
            repetition_penalty=sampling.repetition_penalty,
            num_beams=self.num_beams,
            length_penalty=self.length_penalty,
            **drawn,
        )

    def _inputs(self, requests: Sequence[Request]) -> Inputs:
        with self._processing:
            return self.answerer.encode([example_of(request) for request in requests])

    def _run(self, decoding: Decoding, inputs: Inputs, batch: Sequence[Request]) -> list[Answer]:
        device = self.answerer.model.query_tokens.device
        inputs = {name: value.to(device) for name, value in inputs.items()}
        ids = self.answerer.generate_ids(inputs, decoding, [request.seed for request in batch])
        tokenizer = self.answerer.processor.tokenizer
        with self._processing:
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
        ended = (ids == tokenizer.eos_token_id).any(1).tolist()
        return [
            Answer(text.strip(), "stop" if end else "length")
            for text, end in zip(texts, ended, strict=True)
        ]


def example_of(request: Request) -> Example:
    """A request as an answerer reads it: all frames, and the last turn with those before it."""
    frames = [f for part in request.parts if part["type"] == "video" for f in part["video"]]
    turns = [
        (
            message["role"],
            "\n".join(part["text"] for part in message["content"] if part["type"] == "text"),
        )
        for message in request.messages
    ]
    return Example(frames, with_earlier_turns(turns[-1][1], turns[:-1]))


def _length(request: Request) -> int:
    example = example_of(request)
    return FRAME_CHARACTERS * len(example.frames) + len(example.question)


def is_trained(model: str) -> bool:
    """Whether --model is the folder of a trained answerer."""
    return (Path(model) / SETTINGS).is_file()


def is_answerer(checkpoint: str) -> bool:
    """Whether a checkpoint is a BLIP-2 or InstructBLIP, as released or trained.

    Raises:
        UserError: it cannot be had.
    """
    return is_trained(checkpoint) or config_of(checkpoint)["model_type"] in FAMILIES
