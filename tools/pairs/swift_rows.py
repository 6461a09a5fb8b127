"""A file of preference pairs for ms-swift's DPO: a row, its length in tokens, and the writing."""

import fcntl
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tools.errors import UserError
from tools.store.jsonl import disk_errors_in_one_line, replace_atomically

# Training scales the frames of a video, however many, to VIDEO_TOTAL_PIXELS in all. Two frames are
# one grid of visual tokens, and a token is 28 x 28 pixels (Qwen2-VL, Qwen2.5-VL): n frames of at
# most 2 * total / n pixels are n / 2 grids, at most total / 784 tokens together. At FPS=1 a video
# of 30 s or more comes close to that, a shorter one has less.
VIDEO_TOTAL_PIXELS = 9_000_000
TOKEN_PIXELS = 28 * 28
VIDEO_TOKENS = VIDEO_TOTAL_PIXELS // TOKEN_PIXELS
TEMPLATE_TOKENS = 24  # system prompt, roles and end marks of Qwen's chat template
# UTF-8 bytes of text a token. A rule of thumb and no measurement: English prose is usually put at 4
# and more, so that this errs upwards; bytes, because other scripts have more of them a character.
BYTES_PER_TOKEN = 3.5
MAX_LENGTH = 16384  # tokens a row that training takes (the paper's max_length)


def swift_row(question: str, chosen: str, rejected: str, path: str) -> dict[str, Any]:
    """One pair as ms-swift reads it for DPO (custom dataset format, 3.7 to 4.6)."""
    return {
        "messages": [
            {"role": "user", "content": f"<video>{question}"},
            {"role": "assistant", "content": chosen},
        ],
        "rejected_response": rejected,
        "videos": [path],
    }


def estimated_tokens(question: str, chosen: str, rejected: str) -> int:
    """About how many tokens the longer side of a pair has in training, with question and video.

    An estimate from above: the text counts BYTES_PER_TOKEN, the video the most it can have. What
    training compares with its max_length is each side by itself.
    """
    longer = max(len(chosen.encode()), len(rejected.encode()))
    text = (len(question.encode()) + longer) / BYTES_PER_TOKEN
    return math.ceil(text) + VIDEO_TOKENS + TEMPLATE_TOKENS


@contextmanager
def json_array(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that writes one value a line to a JSON array, which stands at `path` once the
    block has ended well."""
    with replace_atomically(path) as file:
        before = b"[\n"

        def write(value: bytes) -> None:
            nonlocal before
            file.write(before + value)
            before = b",\n"

        yield write
        file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


@contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold the lock on an output, which goes with the process, however that ends.

    Raises:
        UserError: another run holds it.
        StorageError: the folder cannot be written to.
    """
    lock = path.with_name(f".{path.name}.lock")
    while True:
        with disk_errors_in_one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(lock, "a")  # noqa: SIM115 (closed below)
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(f"another run is writing {path}: wait for it or stop it") from None
            # Whoever held it before may have removed the file that this one has just opened.
            if not lock.exists() or os.fstat(file.fileno()).st_ino != lock.stat().st_ino:
                continue
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
            return
