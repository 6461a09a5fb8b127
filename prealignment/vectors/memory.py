"""The memory of text vectors, and what brings the vectors of real frames near to those of texts.

CLIP's pictures and texts lie apart. A model that has read text vectors alone reads an image vector
better once it is projected onto a memory of text vectors (DeCap, arXiv 2303.03032; TOPA), or at
least moved by the difference of the two means. Only inference reads the memory, and the file is
mapped, not loaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch
from torch.nn.functional import normalize

from tools.errors import UserError
from tools.store.arrays import DESCRIPTION
from tools.store.files import replace_atomically

BETA = 100.0  # 1 / temperature of the softmax over the memory, as in TOPA
ROWS = 1_000_000  # of the memory, as TOPA's code has it
CHUNK = 4096  # rows of the memory that are read at once, twice: they fit in a processor's cache
SEARCHED = 16_384  # the same where they are read once
# Smaller weights than exp(LEAST) of the largest one are lost in float32 anyway, and those that are
# too small for full precision take a CPU 40 times as long.
LEAST = -60.0


@dataclass(frozen=True)
class Memory:
    """Text vectors.

    Attributes:
        vectors: (N, d) float32 rows of length 1, mapped from the file.
        mean: (d,) their mean.
        clip: name of the CLIP that made them.
        rows: (N,) which of all vectors each row is, counted in the order of the index of the text
            videos; None of a memory that does not say so.
        texts: the digest of the text videos that it was made of; None of an imported one.
    """

    vectors: torch.Tensor
    mean: torch.Tensor
    clip: str
    rows: torch.Tensor | None = None
    texts: str | None = None


def read_memory(path: Path) -> Memory:
    """Map a memory.

    Raises:
        UserError: there is no such file, or it is no memory.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            description = orjson.loads(file.metadata()[DESCRIPTION])
            rows = file.get_tensor("rows") if "rows" in {*file.keys()} else None
            return Memory(
                file.get_tensor("vectors"),
                file.get_tensor("mean"),
                description["clip"],
                rows,
                description.get("texts"),
            )
    except FileNotFoundError:
        raise UserError(
            f"{path} is not there: python -m prealignment.features makes it of a data set of text"
            " videos"
        ) from None
    except (SafetensorError, TypeError, KeyError) as error:
        raise UserError(f"{path} is no memory of text vectors ({error!r})") from None


def write_memory(
    path: Path,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, int],
    clip: str,
    rows: int = ROWS,
    seed: int = 0,
    texts: str | None = None,
) -> int:
    """Write a memory block by block; returns how many rows it has.

    Args:
        blocks: (n, d) unit vectors each.
        shape: how many rows all blocks have, and d.
        rows: at most so many rows are kept, drawn without replacement.
        texts: the digest of the text videos whose vectors the blocks are; None: of unknown texts.
    """
    total, width = shape
    count = min(total, rows)
    chosen = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    begin, end = 8 * count, 8 * count + 4 * width * count
    entries = {
        "__metadata__": {DESCRIPTION: orjson.dumps({"clip": clip, "texts": texts}).decode()},
        "rows": {"dtype": "I64", "shape": [count], "data_offsets": [0, begin]},
        "vectors": {"dtype": "F32", "shape": [count, width], "data_offsets": [begin, end]},
        "mean": {"dtype": "F32", "shape": [width], "data_offsets": [end, end + 4 * width]},
    }
    # safetensors' own writer wants all rows at once: a million of 768 numbers are 3 GB.
    header = orjson.dumps(entries)
    header += b" " * (-len(header) % 8)
    before, mean = 0, np.zeros(width)
    with replace_atomically(path) as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(chosen.astype("<i8").tobytes())
        for block in blocks:
            first = int(np.searchsorted(chosen, before))
            end = int(np.searchsorted(chosen, before + len(block)))
            kept: np.ndarray = block[chosen[first:end] - before].astype(np.float32)
            file.write(kept.tobytes())
            mean += kept.sum(axis=0, dtype=np.float64) / count
            before += len(block)
        file.write(mean.astype(np.float32).tobytes())
    return count


def project(
    vectors: torch.Tensor, memory: Memory, beta: float = BETA, top: int | None = None
) -> torch.Tensor:
    """Each vector's mean of the memory's rows, weighted by softmax(beta * cosine), with length 1.

    Rows of zeros, which stand for no frame, stay zero: through the softmax they would become the
    memory's mean.

    Args:
        vectors: (..., d), on any device; the memory is moved there chunk by chunk.
        top: weigh the so many nearest rows alone; None: all of them, with a softmax that goes on
            from chunk to chunk.

    Raises:
        UserError: the memory has vectors of another width.
    """
    _check_width(vectors, memory)
    real = vectors.any(dim=-1)
    projected = torch.zeros_like(vectors, dtype=torch.float32)
    if real.any():
        queries = normalize(vectors[real].float(), dim=-1)
        if top is None:
            sums = _dense(queries, memory, beta)
        else:
            sums = _nearest(queries, memory, beta, top)
        projected[real] = normalize(sums, dim=-1)
    return projected


def _dense(queries: torch.Tensor, memory: Memory, beta: float) -> torch.Tensor:
    """Weighted sums over all rows. They are not divided by the sum of the weights: their length is
    made 1 afterwards."""
    columns = (beta * queries).T.contiguous()
    highest = torch.full_like(queries[:, :1], -torch.inf)
    sums = torch.zeros_like(queries)
    for chunk in memory.vectors.split(CHUNK):
        chunk = chunk.to(queries.device)
        # (n, rows). The product is faster in the other order, and the sum of rows in this one.
        scores = (chunk @ columns).T.contiguous()
        before, highest = highest, torch.maximum(highest, scores.amax(dim=1, keepdim=True))
        # What was added before was relative to the highest score of that time.
        sums *= (before - highest).exp()
        sums.addmm_(scores.sub_(highest).clamp_(min=LEAST).exp_(), chunk)
    return sums


def _nearest(queries: torch.Tensor, memory: Memory, beta: float, top: int) -> torch.Tensor:
    """Weighted sums over the `top` rows that are nearest to each query."""
    columns = queries.T.contiguous()
    best, rows = columns[:0], columns[:0].long()  # (up to top, n)
    for number, chunk in enumerate(memory.vectors.split(SEARCHED)):
        cosines, places = (chunk.to(queries.device) @ columns).topk(min(top, len(chunk)), dim=0)
        both = torch.cat([best, cosines])
        best, order = both.topk(min(top, len(both)), dim=0)
        rows = torch.cat([rows, places + number * SEARCHED]).gather(0, order)
    nearest = memory.vectors[rows.cpu()].to(queries.device)  # (top, n, d)
    return torch.einsum("kn,knd->nd", (beta * best).softmax(dim=0), nearest)


def nearest_rows(
    vectors: torch.Tensor, memory: Memory, count: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The rows of a memory that weigh most where vectors are projected on all of it.

    Args:
        vectors: (n, d).
        count: of rows, or all of them where there are fewer.

    Returns:
        (n, count) each, the heaviest row first: weights among all rows, cosines, rows.

    Raises:
        UserError: the memory has vectors of another width.
    """
    _check_width(vectors, memory)
    cosines = memory.vectors @ normalize(vectors.float(), dim=-1).T  # (N, n)
    weights, rows = (BETA * cosines).softmax(dim=0).topk(min(count, len(cosines)), dim=0)
    return weights.T, cosines.gather(0, rows).T, rows.T


def shift(vectors: torch.Tensor, image_mean: torch.Tensor, memory: Memory) -> torch.Tensor:
    """Each vector moved by the difference of the means, with length 1: a baseline that searches no
    memory. Rows of zeros stay zero.

    Args:
        vectors: (..., d).
        image_mean: (d,) the mean of unlabelled image vectors of length 1.

    Raises:
        UserError: the memory has vectors of another width.
    """
    _check_width(vectors, memory)
    moved = normalize(vectors, dim=-1) - image_mean + memory.mean.to(vectors)
    return normalize(moved, dim=-1) * vectors.any(dim=-1, keepdim=True)


def _check_width(vectors: torch.Tensor, memory: Memory) -> None:
    if vectors.shape[-1] != memory.vectors.shape[-1]:
        raise UserError(
            f"the memory of {memory.clip} has vectors of width {memory.vectors.shape[-1]}, these"
            f" are of width {vectors.shape[-1]}: both must come from one CLIP"
        )
