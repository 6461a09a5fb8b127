"""How sharp a frame is, from its luma plane."""

import cv2
import numpy as np

# The scan measures bands of this many rows out of every BAND_STEP: a quarter of the plane at a
# quarter of the cost. `python -m benchmarks.sharpness` prints what that does to the choice of key
# frames.
BAND_ROWS = 16
BAND_STEP = 64


def sharpness(gray: np.ndarray) -> float:
    """Mean absolute Laplacian (3x3) of the slightly blurred (Gaussian 3x3) gray frame, (height,
    width) uint8. Source: TEMPLE's key-frame choice."""
    blurred = cv2.GaussianBlur(gray, (3, 3), 0)
    return float(cv2.norm(cv2.Laplacian(blurred, cv2.CV_16S, ksize=3), cv2.NORM_L1)) / gray.size


def band_sharpness(gray: np.ndarray) -> float:
    """`sharpness` of evenly spaced bands of rows; of the whole frame where it is low."""
    height = gray.shape[0]
    if height < 2 * BAND_STEP:
        return sharpness(gray)
    first = (height % BAND_STEP) // 2 + (BAND_STEP - BAND_ROWS) // 2
    bands = range(first, height - BAND_ROWS + 1, BAND_STEP)
    return sum(sharpness(gray[top : top + BAND_ROWS]) for top in bands) / len(bands)
