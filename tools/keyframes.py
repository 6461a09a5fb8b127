"""Two key frames for each clip: sharp ones, near 1/3 and 2/3 of its span."""

import numpy as np

# Key frames a clip, at k / (KEY_FRAMES + 1) of its span.
KEY_FRAMES = 2


def windows(start: int, end: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The candidates for each key frame of a span: (frame indices, weights).

    A window reaches half the distance between neighbouring key frames to both sides; the weight
    is a cosine that is 1 at its centre and 0 at its edge. However short the span, a window holds
    the frame nearest its centre.

    Args:
        start, end: first and last frame index of the span, end inclusive.
    """
    interval = (end - start) / (KEY_FRAMES + 1)
    found = []
    for number in range(1, KEY_FRAMES + 1):
        centre = start + number * interval
        half = interval / 2
        first, last = int(np.ceil(centre - half)), int(np.floor(centre + half))
        indices = np.arange(first, last + 1)
        distance = np.abs(indices - centre)
        inside = distance < half
        if not inside.any():
            found.append((np.array([round(centre)]), np.ones(1)))
            continue
        weights = np.cos(np.pi / 2 * distance[inside] / half)
        found.append((indices[inside], weights))
    return found


def key_frames(start: int, end: int, sharpness: np.ndarray) -> list[int]:
    """The frame of highest (sharpness x weight) in each window of a span.

    Args:
        start, end: first and last frame index of the span, end inclusive.
        sharpness: one value for each frame of the video.
    """
    return [
        int(indices[np.argmax(sharpness[indices] * weights)])
        for indices, weights in windows(start, end)
    ]
