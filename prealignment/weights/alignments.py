"""Trained alignments as files: what was trained, and what it belongs to.

A folder holds alignment.safetensors (projection, slots, adapter) and alignment.json (the language
model, the sizes, which vectors were read). The language model itself is not copied.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.checkpoints import config_of, is_folder, local_folder
from prealignment.model.config import AlignmentConfig
from prealignment.model.llama import AlignedLlama, open_llm
from prealignment.weights.meta import converted, is_metas
from tools.errors import UserError, did_you_mean
from tools.store.files import read_json, write_json

WEIGHTS, SETTINGS = "alignment.safetensors", "alignment.json"


@dataclass(frozen=True)
class Settings:
    """What an alignment belongs to.

    Attributes:
        llm: its language model, a folder or an id on the hub.
        alignment: sizes, and the kind of adapter.
        features: the kind of vectors that it was trained on, such as "text".
        rope_theta: base of the rotary positions that it was trained with; None: the model's own.
        training: what else shaped it, for people.
    """

    llm: str
    alignment: AlignmentConfig
    features: str
    rope_theta: float | None = None
    training: dict[str, Any] = field(default_factory=dict)


@dataclass
class Aligned:
    """A language model that reads videos, its tokenizer, and what it belongs to."""

    model: Any  # an AlignedLlama; the library's annotations of generate() fit no call
    tokenizer: Any
    settings: Settings


def open_aligned(settings: Settings, dtype: torch.dtype = torch.float32, seed: int = 0) -> Aligned:
    """A language model with an untrained alignment, on the CPU.

    Raises:
        UserError: there is no such model, it is not a Llama, or its tokenizer is missing or has no
            beginning or end of a text.
    """
    folder = llm_folder(settings.llm)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # of many kinds, where a file is missing or broken
        why = str(error).strip().partition("\n")[0]
        raise UserError(f"{settings.llm}: its tokenizer cannot be read ({why})") from None
    for name in ("bos_token", "eos_token"):
        if getattr(tokenizer, name) is None:
            raise UserError(f"{settings.llm}: its tokenizer has no {name}, which each row needs")
    if not tokenizer.is_fast:
        raise UserError(f"{settings.llm}: its tokenizer does not tell the places of its tokens")
    model = open_llm(
        folder, settings.alignment, dtype=dtype, seed=seed, rope_theta=settings.rope_theta
    )
    return Aligned(model, tokenizer, settings)


def llm_folder(llm: str) -> Path:
    """The folder of a Llama in the library's format; Meta's own files are converted once, into
    `hf` beside them.

    Raises:
        UserError: it cannot be had, or is another architecture.
    """
    if is_folder(llm) and is_metas(local_folder(llm)):
        return converted(local_folder(llm))
    kind = config_of(llm)["model_type"]
    if kind != "llama":
        raise UserError(
            f"{llm} is a {kind}, and the gated prefix is written for Llama's attention: give a"
            " checkpoint of model_type llama"
        )
    return local_folder(llm)


def save_alignment(folder: Path, model: AlignedLlama, settings: Settings) -> None:
    """Write what was trained; the language model stays where it is."""
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.added_parameters()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS)
    write_json(folder / SETTINGS, asdict(settings))


def load_alignment(
    folder: Path, llm: str | None = None, dtype: torch.dtype = torch.float32
) -> Aligned:
    """A language model with a trained alignment, in eval mode on the CPU.

    Args:
        llm: the language model, where it is elsewhere now.

    Raises:
        UserError: it is no such folder, or the language model does not fit it.
    """
    aligned = open_aligned(read_settings(folder, llm), dtype)
    load_weights(aligned.model, folder)
    return aligned


def read_settings(folder: Path, llm: str | None = None) -> Settings:
    """The settings of a folder; raises UserError where it holds no alignment."""
    content = read_json(folder / SETTINGS)
    if content is None:
        raise UserError(f"{folder} holds no {SETTINGS}: give a folder of prealignment.train")
    try:
        return Settings(
            **{
                **content,
                "alignment": AlignmentConfig(**content["alignment"]),
                "llm": llm or content["llm"],
            }
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / SETTINGS} does not describe an alignment ({error})") from None


def load_weights(model: AlignedLlama, folder: Path) -> None:
    """Give a model the weights of a folder; raises UserError where they are missing or differ."""
    path = folder / WEIGHTS
    try:
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error})") from None
    put_weights(model, tensors, str(path))


def put_weights(model: AlignedLlama, tensors: Mapping[str, Tensor], source: str) -> None:
    """Give a model weights by name; raises UserError where names or shapes are not its own."""
    added = dict(model.added_parameters())
    for name in tensors.keys() ^ added.keys():
        place = source if name in added else "the model"
        raise UserError(f"{source} does not fit: {place} has no {name}{did_you_mean(name, added)}")
    for name, parameter in added.items():
        if tensors[name].shape != parameter.shape:
            raise UserError(
                f"{source} does not fit: {name} is {tuple(tensors[name].shape)} there and"
                f" {tuple(parameter.shape)} in the model: is it of another language model?"
            )
        parameter.data.copy_(tensors[name])
