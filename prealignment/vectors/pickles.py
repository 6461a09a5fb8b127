"""Pickled tensors of others, read by an allow-list: a pickle may run any code, and these come from
strangers."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tools.errors import UserError
from tools.store.files import file_digest


def _load_storage(content: bytes) -> Any:
    """A tensor's storage, which torch pickles as a file of its own."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


_empty_array: Any = np.empty(0).__reduce__()[0]  # NumPy's own name for it has moved

# What makes a tensor or an array, and nothing else.
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): dict,
    ("_codecs", "encode"): str.encode,  # bytes in old pickles
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,  # type: ignore[attr-defined]
    ("torch.storage", "_load_from_bytes"): _load_storage,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it wants {module}.{name}, which is not allowed"
            ) from None


def read_vectors(path: Path) -> Any:
    """The tensors of a file as arrays: one, or a dict of them. A .npy file, a file of torch.save or
    a plain pickle is read, and no code in it is run.

    Returns:
        float32 (T, d), or {name as text: such an array}.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        value = _read(path)
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        why = getattr(error, "strerror", None) or f"{error or type(error).__name__}".splitlines()[0]
        raise UserError(f"{path} cannot be read as vectors: {why}") from None
    if isinstance(value, dict):
        return {str(name): _rows(path, rows) for name, rows in value.items()}
    return _rows(path, value)


def read_rows(path: Path) -> np.ndarray:
    """The one tensor of a file, float32 (T, d); raises UserError where `read_vectors` does, and
    where there are several by name."""
    value = read_vectors(path)
    if isinstance(value, dict):
        raise UserError(f"{path} holds vectors by name, and one (T, d) is expected")
    return np.asarray(value)


@cache
def source_digest(path: Path) -> str:
    """16 hex digits that change with the vectors of others: of a file's content, or of the names,
    sizes and times of a folder's files, of which there may be hundreds of thousands.

    Raises:
        UserError: the file cannot be read.
    """
    if path.is_file():
        return file_digest(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.suffix in (".npy", ".pkl"):
            about = file.stat()
            digest.update(
                f"{file.relative_to(path)} {about.st_size} {about.st_mtime_ns}\n".encode()
            )
    return digest.hexdigest()[:16]


def _read(path: Path) -> Any:
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            value = _Unpickler(file).load()
        if not isinstance(value, int):  # files of torch.save before 1.6 begin with a number
            return value
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message tells people to run it nevertheless
        raise pickle.UnpicklingError("it holds more than tensors") from None


def _rows(path: Path, value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().float().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.ndim != 2:
        shape = getattr(value, "shape", type(value).__name__)
        raise UserError(f"{path} holds no vectors: expected is (T, d), it has {shape}")
    return value.astype(np.float32)
