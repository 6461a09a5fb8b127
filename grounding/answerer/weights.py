"""Answerers on disk: the checkpoints that they are made of, and their trained parts.

A trained answerer is a folder of two files: `answerer.safetensors` holds the parameters that its
stage trained, by their names in the library's class, and `answerer.json` its settings. The base is
not copied.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers
from torch import Tensor

from grounding.answerer.answerer import FAMILIES, Answerer, Settings
from inference.checkpoints import config_of, is_folder, local_folder
from tools.errors import UserError
from tools.store.files import read_json, replace_atomically, write_json

# In a released Lightning checkpoint, what is before the names of the library's classes, and what
# peft has put before those of the language model and after those of the layers that it adapts.
RELEASED = "model."
PEFT = ("language_model.base_model.model.", "language_model.")
PEFT_BASE = ".base_layer."
LORA = ".lora_"
WEIGHTS, SETTINGS = "answerer.safetensors", "answerer.json"
CLASSES: dict[str, Any] = {
    "blip-2": transformers.Blip2ForConditionalGeneration,
    "instructblip": transformers.InstructBlipForConditionalGeneration,
}


def open_answerer(base: str, dtype: torch.dtype = torch.float32, **settings: Any) -> Answerer:
    """The answerer of a checkpoint, a folder or an id on the hub.

    Args:
        dtype: of the parts that are not trained.
        settings: those of `Settings`, but the family.

    Raises:
        UserError: it is not there, or is no BLIP-2 or InstructBLIP.
    """
    family = config_of(base)["model_type"]
    if family not in FAMILIES:
        raise UserError(f"{base} is a {family}; an answerer is one of {', '.join(FAMILIES)}")
    folder = local_folder(base)
    model = CLASSES[family].from_pretrained(folder, dtype=dtype)
    processor = transformers.AutoProcessor.from_pretrained(folder, use_fast=True)
    place = str(folder) if is_folder(base) else base  # which is read again from other folders
    return Answerer(model, processor, Settings(place, family, **settings))


def save_trained(answerer: Answerer, folder: Path) -> None:
    """Write the trained parts and the settings of an answerer."""
    trained = {
        name: parameter.detach().contiguous()
        for name, parameter in answerer.model.named_parameters()
        if parameter.requires_grad
    }
    with replace_atomically(folder / WEIGHTS) as file:
        file.write(safetensors.torch.save(trained))
    write_json(folder / SETTINGS, asdict(answerer.settings))


def read_settings(folder: Path, **changes: Any) -> Settings:
    """The settings of an answerer that `save_trained` wrote, with some in the place of the file's.

    Raises:
        UserError: they are not there, or are something else.
    """
    kept = read_json(folder / SETTINGS)
    if kept is None:
        raise UserError(f"{folder} holds no trained answerer: {SETTINGS} is not there")
    try:
        settings = Settings(**kept)
    except TypeError as error:
        raise UserError(f"{folder / SETTINGS} holds no settings of an answerer: {error}") from None
    return replace(settings, **changes)


def load_answerer(folder: Path, dtype: torch.dtype = torch.float32, **changes: Any) -> Answerer:
    """The answerer that `save_trained` wrote.

    Args:
        changes: settings in the place of the file's, such as `base`, where that has moved.

    Raises:
        UserError: it cannot be read, or its base is of another family.
    """
    settings = read_settings(folder, **changes)
    others = {name: value for name, value in asdict(settings).items() if name != "family"}
    family = config_of(settings.base)["model_type"]
    if family != settings.family:
        raise UserError(
            f"{folder} was trained on a {settings.family}, and {settings.base} is a {family}"
        )
    answerer = open_answerer(dtype=dtype, **others)
    load_trained(answerer, folder)
    return answerer


def load_trained(answerer: Answerer, folder: Path) -> None:
    """Read trained parts into an answerer of the same stage and base.

    Raises:
        UserError: they are not those of this stage, or do not fit.
    """
    file = folder / WEIGHTS
    try:
        saved = safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    own = {name: p for name, p in answerer.model.named_parameters() if p.requires_grad}
    if differing := sorted(own.keys() ^ saved.keys()):
        raise UserError(
            f"{file} does not hold what the stage {answerer.settings.stage!r} trains:"
            f" {len(differing)} names differ, such as {differing[0]}"
        )
    for name, parameter in own.items():
        if parameter.shape != saved[name].shape:
            raise UserError(
                f"{file}: {name} is {tuple(saved[name].shape)}, and in {answerer.settings.base}"
                f" {tuple(parameter.shape)}"
            )
        parameter.data.copy_(saved[name])


def released_answerer(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The answerer's tensors in a released Lightning checkpoint, by their names here."""
    return {
        name.removeprefix(RELEASED).replace(*PEFT).replace(PEFT_BASE, "."): tensor
        for name, tensor in tensors.items()
        if name.startswith(RELEASED)
    }


def load_released(base: str, tensors: Mapping[str, Tensor], fusion: str) -> Answerer:
    """The answerer of a released checkpoint: of the stage `ivt` where it has LoRA, of `language`
    where its language model is not the base's, else of `iv`.

    Args:
        tensors: those of `released_answerer`.

    Raises:
        UserError: it was not trained from this base.
    """
    stage = "ivt" if any(LORA in name for name in tensors) else "iv"
    answerer = open_answerer(base, stage=stage, fusion=fusion)
    if stage == "iv" and _others(answerer, tensors):
        answerer = open_answerer(base, stage="language", fusion=fusion)
    if others := _others(answerer, tensors):
        raise UserError(
            f"the checkpoint was not trained from {base}: {len(others)} tensors differ that stay"
            f" as they are, such as {others[0]}"
        )
    for name, parameter in answerer.model.named_parameters():
        if parameter.requires_grad:
            own = tensors.get(name)
            if own is None or own.shape != parameter.shape:
                shape = "no such tensor" if own is None else f"{tuple(own.shape)}"
                raise UserError(
                    f"the checkpoint was not trained from {base}, whose {name} is"
                    f" {tuple(parameter.shape)}: it has {shape}"
                )
            parameter.data.copy_(own)
    return answerer


def _others(answerer: Answerer, tensors: Mapping[str, Tensor]) -> list[str]:
    """What the answerer's stage does not train, and is not the same in the checkpoint. Tensors of
    another shape are the base's of another release, whose vocabulary is longer."""
    return [
        name
        for name, parameter in answerer.model.named_parameters()
        if not parameter.requires_grad
        and (own := tensors.get(_plain(name))) is not None
        and own.shape == parameter.shape
        and not torch.equal(own.to(parameter.dtype), parameter)
    ]


def _plain(name: str) -> str:
    return name.replace(PEFT_BASE, ".")
