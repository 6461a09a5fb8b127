"""Arrays of one video in one file, such as its optical flow: safetensors, written whole or not at
all, with a description of how they were made."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tools.errors import UserError
from tools.store.files import replace_atomically

# One entry: safetensors writes several in an order that differs from process to process.
DESCRIPTION = "description"


def write_arrays(path: Path, arrays: dict[str, np.ndarray], description: dict[str, Any]) -> None:
    """Write arrays by name, and a description that is JSON; the same give the same bytes."""
    from safetensors.numpy import save

    text = orjson.dumps(description, option=orjson.OPT_SORT_KEYS).decode()
    # safetensors writes an array's memory as it lies, whatever the order of its axes.
    in_order = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replace_atomically(path) as file:
        file.write(save(in_order, {DESCRIPTION: text}))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file by name, and their description.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is none of `write_arrays`.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _description(file, path)  # noqa: SIM118


def read_description(path: Path) -> dict[str, Any]:
    """The description alone, without reading the arrays; empty where there is no file, or a damaged
    one, so that whoever makes such files makes it again."""
    try:
        with _opened(path) as file:
            return _description(file, path)
    except (FileNotFoundError, UserError):
        return {}


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise _damaged(path, str(error)) from None


def _description(file: Any, path: Path) -> dict[str, Any]:
    text = (file.metadata() or {}).get(DESCRIPTION)
    if text is None:
        raise _damaged(path, "no description")
    return orjson.loads(text)


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path} is no file of a video's arrays ({why}): delete it, and make it again")
