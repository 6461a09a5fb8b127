"""Vectors as rows: how those of a frame become one, which are taken, and the method's noise.

A textual frame is the mean direction of the CLIP text vectors of its entries, a real frame is one
CLIP image vector. All vectors have length 1; a row of zeros stands for no frame and stays zero.
"""

import math
from collections.abc import Sequence

import numpy as np

SAMPLING = {"centres": 0.5, "floor": 0.0}  # which place of each equal part is taken


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float32; a row of zeros stays zero."""
    rows = rows.astype(np.float32)
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def fuse(vectors: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """One vector a frame: (frames, d) from the vectors of all entries, frame by frame.

    Args:
        vectors: (entries, d) of any length.
        counts: how many entries each frame has, 1 or more.

    Raises:
        ValueError: the counts do not add up to the number of vectors.
    """
    if sum(counts) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors, and the frames have {sum(counts)} entries")
    starts = np.cumsum([0, *counts[:-1]])
    return unit(np.add.reduceat(unit(vectors), starts))


def sampled(vectors: np.ndarray, count: int, rule: str = "centres") -> np.ndarray:
    """At most `count` of (T, d) rows, in order; all of them where there are no more.

    Args:
        rule: "centres": row floor((j + 1/2) T / count) for j = 0, 1 ..., the middles of equal
            parts; "floor": row floor(j T / count), as TOPA has it, which never takes the end.
    """
    total = len(vectors)
    if total <= count:
        return vectors
    places = np.arange(count) + SAMPLING[rule]
    return vectors[(places * total / count).astype(int)]


def noisy(vectors: np.ndarray, variance: float, rng: np.random.Generator) -> np.ndarray:
    """Vectors with TOPA's noise: with s the root of the variance, s N(0, I) and a random vector of
    length s are added to each; the sum gets length 1 again. Rows of zeros stay zero."""
    if variance == 0:
        return vectors
    real = vectors.any(axis=-1, keepdims=True)
    spread = math.sqrt(variance)
    noise = spread * (rng.standard_normal(vectors.shape) + unit(rng.standard_normal(vectors.shape)))
    return unit(np.where(real, unit(vectors) + noise, 0))
