"""Answerers on disk: the checkpoints that they are made of, and their trained parts.

A trained answerer is a folder of two files: `answerer.safetensors` holds the parameters that its
stage trained, by their names in the library's class, and `answerer.json` its settings. The base is
not copied.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers

from grounding.answerer import FAMILIES, Answerer, Settings
from inference.checkpoints import config_of, is_folder, local_folder
from tools.errors import UserError
from tools.store.files import read_json, replace_atomically, write_json

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
        UserError: they are not there.
    """
    kept = read_json(folder / SETTINGS)
    if kept is None:
        raise UserError(f"{folder} holds no trained answerer: {SETTINGS} is not there")
    return replace(Settings(**kept), **changes)


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
