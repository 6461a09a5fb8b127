"""A teacher: what looks at a video and says how probable each option of a question is.

    by text      log p of each option's text behind the question, which stands alone
    by letter    log p of each option's letter, where the options are listed behind the question;
                 the mean over the cyclic orders of the options, so that a liking for a letter
                 falls out

Like a captioner, a teacher is made cheaply in the parent, pickled to each worker, loaded there, and
an error is that question's own. Nothing stands in for what a teacher cannot say.
"""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Protocol

import numpy as np

from distillation.judgements import Judgement
from inference.checkpoints import config_of, digest, has_weights, local_folder
from inference.engines.local import end_worker
from inference.likelihood import continued_log_p
from qa.frames import FRAMES, MOST_FRAMES
from tools.errors import Filtered, UserError
from tools.text.qa_prompts import LETTER, question_prompt

BY = ("text", "letter")
NO_LETTERS = "a letter is several tokens"
DTYPES = {"auto": None, "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Case:
    """A question to a teacher.

    Attributes:
        id: the question's.
        frames: uint8 RGB (height, width, 3) each, in time order.
        fps: how many of them there are to a second.
        options: two or more.
    """

    id: str
    frames: list[np.ndarray]
    fps: float
    question: str
    options: list[str]


@dataclass(frozen=True)
class Judged:
    """What a teacher says of a case.

    Attributes:
        feature: (D,) float16, the last layer's state at the last token of the prompt; None: this
            teacher has none.
        unlisted: letters that a server left out of the likeliest tokens.
    """

    judgement: Judgement
    feature: np.ndarray | None = None
    unlisted: int = 0


@dataclass(frozen=True)
class View:
    """Which frames a teacher is shown: `count` of a video, or of each second, and `most` in all;
    see qa.frames for the protocols."""

    count: int = FRAMES
    protocol: str = "middles"
    most: int = MOST_FRAMES


class Teacher(Protocol):
    """See the module.

    Attributes:
        name: in the names of files.
        batch_size: questions that a worker is handed at once.
        by: how it can compare options, some of BY.
        order_blind_below: with fewer frames than this it cannot know what came first.
    """

    name: str
    batch_size: int
    by: tuple[str, ...]
    view: View

    @property
    def order_blind_below(self) -> int: ...

    def fingerprint(self) -> dict[str, Any]:
        """What shapes its judgements: JSON values, known before loading."""

    def check(self, device: str) -> None:
        """Called in the parent before any work; raises UserError where something is missing."""

    def load(self, device: str, threads: int) -> None:
        """Make ready, once in each worker, on "cpu" or "cuda:<index>"."""

    def judge(self, cases: Iterable[Case], by: str) -> Iterator[tuple[int, Judged | Exception]]:
        """Yield (position in `cases`, what it says, or Filtered or another exception in its
        place), in any order."""


@dataclass(frozen=True)
class Weights:
    """How weights are held: dtype is a key of DTYPES, "auto" being bfloat16 where the device has it
    and float32 elsewhere."""

    dtype: str = "auto"
    load_in_4bit: bool = False

    def check(self, device: str) -> None:
        """Raise UserError where 4 bits cannot be had."""
        if not self.load_in_4bit:
            return
        if find_spec("bitsandbytes") is None:
            raise UserError("--load_in_4bit needs the package bitsandbytes: pip install it")
        if device == "cpu":
            raise UserError("--load_in_4bit needs a GPU: --device cpu does not go with it")

    def arguments(self, device: str) -> dict[str, Any]:
        """Those of from_pretrained."""
        import torch
        from transformers import BitsAndBytesConfig

        ampere = device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)
        name = DTYPES[self.dtype] or ("bfloat16" if ampere else "float32")
        given: dict[str, Any] = {"dtype": getattr(torch, name), "device_map": {"": device}}
        if self.load_in_4bit:
            given["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=given["dtype"]
            )
        return given


class LocalTeacher:
    """A teacher whose weights are here. A kind of it says how they are loaded and how a case is
    put to them.

    Args:
        name: in the names of files.
        checkpoint: a folder, or an id on the hub.
        view: None: the kind's own.
    """

    model_type: str  # as its config.json has it
    pickled = False  # whether its released weights are pickles
    batch_size = 8
    by: tuple[str, ...] = BY
    order_blind_below = 0

    network: Any
    tokenizer: Any

    def __init__(
        self,
        name: str,
        checkpoint: str,
        view: View | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.name, self.checkpoint = name, checkpoint
        self.view, self.weights = view or View(), weights or Weights()

    def fingerprint(self) -> dict[str, Any]:
        """Weights, and the versions of libraries."""
        return {
            "teacher": type(self).__name__,
            "weights": digest(self.checkpoint, self.pickled),
            "dtype": self.weights.dtype,
            "load_in_4bit": self.weights.load_in_4bit,
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def check(self, device: str) -> None:
        """See that the checkpoint is of this kind and here, or fetch it once for all workers."""
        self.weights.check(device)
        kind = config_of(self.checkpoint)["model_type"]
        if kind != self.model_type:
            raise UserError(
                f"{self.checkpoint} is a {kind}, and {type(self).__name__} reads {self.model_type}"
                " alone; any other model is a teacher by its own name or folder"
            )
        if not has_weights(local_folder(self.checkpoint, self.pickled)):
            raise UserError(f"checkpoint {self.checkpoint}: not all of its weights are there")

    def load(self, device: str, threads: int) -> None:
        """Load it.

        Raises:
            UserError: it cannot be loaded.
        """
        import torch
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        try:
            self.open(device)
        except UserError:
            raise
        # Truncated weights, a missing tokenizer, memory: each library has errors of its own.
        except Exception as error:
            what = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{self.checkpoint} cannot be loaded on {device}: {what}") from error

    def open(self, device: str) -> None:
        """Set network and tokenizer."""
        raise NotImplementedError

    def encode(self, case: Case, prompt: str) -> dict[str, Any]:
        """The network's inputs for a case, one row, the frames in it, on the device."""
        raise NotImplementedError

    def further(self, inputs: dict[str, Any], begun: Any) -> Any:
        """What continuations need beside the tokens; see `continued_log_p`."""
        return None

    def judge(self, cases: Iterable[Case], by: str) -> Iterator[tuple[int, Judged | Exception]]:
        """See `Teacher.judge`."""
        import torch

        how = {"text": self._by_text, "letter": self._by_letter}[by]
        for position, case in enumerate(cases):
            result: Judged | Exception
            try:
                with torch.inference_mode():
                    result = how(case)
            except Exception as error:
                # After an error inside a kernel every later call fails.
                if isinstance(error, torch.AcceleratorError):
                    end_worker("device", error)
                result = error
            yield position, result

    def read(self, inputs: dict[str, Any]) -> Any:
        """The network's output for a prompt, with its cache and the states of its layers."""
        accepted = inspect.signature(self.network.forward).parameters
        keep = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        return self.network(**inputs, use_cache=True, output_hidden_states=True, **keep)

    def _by_text(self, case: Case) -> Judged:
        """The video and the question are read once, all options continue them as one batch."""
        inputs = self.encode(case, question_prompt(case.question))
        begun = self.read(inputs)
        feature = _feature(begun)
        options = [self.tokenizer.encode(text, add_special_tokens=False) for text in case.options]
        log_p = continued_log_p(
            self.network,
            begun,
            inputs["attention_mask"],
            options,
            [0] * len(options),
            self.further(inputs, begun),
        )
        tokens = [len(option) for option in options]
        return Judged(Judgement(case.id, log_p, tokens, frames=len(case.frames)), feature)

    def _by_letter(self, case: Case) -> Judged:
        """A reading for each cyclic order of the options; the feature is that of the first."""
        letters = letter_tokens(self.tokenizer, len(case.options))
        if letters is None:
            raise Filtered(NO_LETTERS)
        rows, feature = [], None
        for prompt in letter_prompts(case):
            begun = self.read(self.encode(case, prompt))
            rows.append(begun.logits[0, -1].float()[letters].log_softmax(-1).tolist())
            feature = _feature(begun) if feature is None else feature
        judgement = Judgement(case.id, letter_log_p=over_orders(rows), frames=len(case.frames))
        return Judged(judgement, feature)


def whole_network(kind: Any, folder: Path, arguments: dict[str, Any]) -> Any:
    """A model of transformers from a folder that holds all of its tensors: the library itself would
    draw those that are missing.

    Raises:
        UserError: some are missing.
    """
    network, info = kind.from_pretrained(folder, output_loading_info=True, **arguments)
    check_names(folder, (), info["missing_keys"])
    return network.eval()


def check_names(folder: Path, unexpected: Iterable[str], missing: Iterable[str]) -> None:
    """Raise UserError where tensors belong to no layer, or some are missing."""
    for what, names in (("unexpected", sorted(unexpected)), ("missing", sorted(missing))):
        if names:
            raise UserError(f"{folder}: {what} tensor {names[0]!r} ({len(names)} in all)")


def _feature(begun: Any) -> np.ndarray:
    """(D,) float16, the last layer's state at the last token."""
    state: np.ndarray = begun.hidden_states[-1][0, -1].float().cpu().numpy().astype(np.float16)
    return state


def letter_tokens(tokenizer: Any, count: int) -> list[int] | None:
    """The ids of the first letters; None where one of them is not a single token."""
    ids = [tokenizer.encode(letter, add_special_tokens=False) for letter in ascii_uppercase[:count]]
    return None if any(len(own) != 1 for own in ids) else [own[0] for own in ids]


def letter_prompts(case: Case) -> list[str]:
    """The question with its options in each cyclic order; order r begins with option r."""
    count = len(case.options)
    return [
        question_prompt(
            case.question, [case.options[(r + n) % count] for n in range(count)], LETTER
        )
        for r in range(count)
    ]


def over_orders(rows: Sequence[Sequence[float]]) -> list[float]:
    """log p of each option: the mean over cyclic orders of the log p of the letter that it has in
    each, normalised. What a letter adds to its logit adds the same to every option.

    Args:
        rows: (C, C), row r the letters' log p where letter n names option (r + n) mod C.
    """
    count = len(rows)
    values = np.mean([np.roll(row, r) for r, row in enumerate(rows)], axis=0)
    assert values.shape == (count,)
    peak = values.max()
    normalised: list[float] = (values - peak - np.log(np.exp(values - peak).sum())).tolist()
    return normalised
