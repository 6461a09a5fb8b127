"""A checkpoint's files: their folder, their configuration, and whether they can be run."""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from inference.captioner import Sampling
from tools.errors import UserError
from tools.store.files import read_json

# The files of a hub's repository that a checkpoint needs; weights in other formats stay there.
# Code is fetched too, and run only with --trust_remote_code.
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model", "*.py"]
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
# A weight file is recognized by its size and by 16 evenly spaced samples of its bytes.
SAMPLES = 16
SAMPLE_BYTES = 1 << 16


def is_folder(checkpoint: str) -> bool:
    """Whether a checkpoint is named by its folder, and not by its id on the hub."""
    return checkpoint.startswith(("/", ".", "~")) or Path(checkpoint).is_dir()


@cache
def local_folder(checkpoint: str, pickled: bool = False) -> Path:
    """The folder of a checkpoint, fetched from the hub where it is named by its id there.

    Args:
        pickled: fetch pickled weights too, of a checkpoint that has no others.

    Raises:
        UserError: it is not there, or cannot be fetched.
    """
    if is_folder(checkpoint):
        folder = Path(checkpoint).expanduser().resolve()
        if not folder.is_dir():
            raise UserError(f"checkpoint {checkpoint}: no such folder")
        return folder
    from huggingface_hub import snapshot_download

    patterns = [*PATTERNS, WEIGHTS[1]] if pickled else PATTERNS
    return _fetched(checkpoint, partial(snapshot_download, allow_patterns=patterns), has_weights)


def _fetched(
    checkpoint: str, fetch: Callable[..., str], is_whole: Callable[[Path], bool] = Path.exists
) -> Path:
    """What `fetch` brings of a checkpoint on the hub; what is here already needs no network."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        with suppress(LocalEntryNotFoundError):
            path = Path(fetch(checkpoint, local_files_only=True))
            if is_whole(path):
                return path
        return Path(fetch(checkpoint))
    except HFValidationError:
        raise UserError(f"{checkpoint!r} is neither a folder nor an id on the hub") from None
    except OSError as error:
        why = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the weights of {checkpoint} are not here and cannot be fetched ({why}); pass a local"
            " folder as --model, or connect to the hub; --model dryrun needs neither"
        ) from None


def has_weights(folder: Path) -> bool:
    """Whether all weights are there; a fetch that was interrupted leaves some of them."""
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if index := read_json(folder / name):
            return all((folder / name).is_file() for name in set(index["weight_map"].values()))
    return any(path for pattern in WEIGHTS for path in folder.glob(pattern))


def config_of(checkpoint: str) -> dict[str, Any]:
    """A checkpoint's config.json, which of the hub's files is fetched alone.

    Raises:
        UserError: there is none, or it names no model_type.
    """
    if is_folder(checkpoint):
        path = local_folder(checkpoint) / "config.json"
    else:
        from huggingface_hub import hf_hub_download

        path = _fetched(checkpoint, partial(hf_hub_download, filename="config.json"))
    config = read_json(path)
    if not isinstance(config, dict) or "model_type" not in config:
        raise UserError(f"checkpoint {checkpoint}: no config.json that names a model_type in it")
    return config


def own_video_size(checkpoint: str) -> dict[str, int | None]:
    """The pixels of a frame that a folder's own video processor allows: shortest_edge at least,
    longest_edge at most, as far as it says."""
    if not is_folder(checkpoint):
        return {}
    folder = local_folder(checkpoint)
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if settings := read_json(folder / name):
            size = settings.get("size") or {}
            return {
                "shortest_edge": settings.get("min_pixels") or size.get("shortest_edge"),
                "longest_edge": settings.get("max_pixels") or size.get("longest_edge"),
            }
    return {}


def check_checkpoint(checkpoint: str, trust_remote_code: bool = False) -> None:
    """See that a checkpoint is a vision-language model that can be run.

    Raises:
        UserError: it is not.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    config = config_of(checkpoint)
    kind = config["model_type"]
    if kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        if "AutoModelForImageTextToText" not in config.get("auto_map", {}):
            raise UserError(
                f"checkpoint {checkpoint} is not a vision-language model that transformers knows"
                f" (model_type {kind}); some have another checkpoint whose name ends in -hf"
            )
        if not trust_remote_code:
            raise UserError(
                f"checkpoint {checkpoint} brings code of its own: add --trust_remote_code if you"
                " trust it"
            )
    if not has_weights(local_folder(checkpoint)):
        raise UserError(
            f"checkpoint {checkpoint}: not all of its weights are there ({' or '.join(WEIGHTS)})"
        )


def generation_config(checkpoint: str, max_new_tokens: int) -> Sampling:
    """How a checkpoint decodes by default; what its generation_config.json leaves open is as in
    transformers: greedy without do_sample, else temperature 1, the 50 likeliest tokens, top_p 1.

    Raises:
        UserError: the checkpoint cannot be had.
    """
    settings = read_json(local_folder(checkpoint) / "generation_config.json") or {}
    given = {name: value for name, value in settings.items() if value is not None}
    penalty = given.get("repetition_penalty", 1.0)
    if not given.get("do_sample"):
        return Sampling.greedy(max_new_tokens, penalty)
    defaults = {"temperature": 1.0, "top_p": 1.0, "top_k": 50}
    chosen = {name: given.get(name, default) for name, default in defaults.items()}
    return Sampling(**chosen, repetition_penalty=penalty, max_new_tokens=max_new_tokens)


@cache
def digest(checkpoint: str, pickled: bool = False) -> str:
    """Twelve hex digits that change with the weights and the configuration, from samples of the
    files: the whole of them takes minutes to read. `pickled` is as in `local_folder`."""
    folder = local_folder(checkpoint, pickled)
    paths = [path for pattern in ("*.json", *WEIGHTS) for path in folder.glob(pattern)]
    return sampled_digest(sorted(paths))


def sampled_digest(paths: Iterable[Path]) -> str:
    """Twelve hex digits that change with the names, the sizes and samples of the bytes of files."""
    total = hashlib.sha1()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{path.name} {size} ".encode())
        with open(path, "rb") as file:
            if size <= SAMPLES * SAMPLE_BYTES:
                total.update(file.read())
                continue
            for number in range(SAMPLES):
                file.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1), os.SEEK_SET)
                total.update(file.read(SAMPLE_BYTES))
    return total.hexdigest()[:12]
