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
    # Counted in steps of 1 / (2 * (KEY_FRAMES + 1)) of a frame, in which nothing is rounded.
    steps = 2 * (KEY_FRAMES + 1)
    indices = np.arange(start, end + 1)
    candidates = []
    for number in range(1, KEY_FRAMES + 1):
        distance = np.abs(steps * (indices - start) - 2 * number * (end - start))
        half = max(end - start, int(distance.min()) + 1)
        inside = distance < half
        candidates.append((indices[inside], np.cos(np.pi / 2 * distance[inside] / half)))
    return candidates


def key_frames(start: int, end: int, sharpness: np.ndarray) -> list[int]:
    """The frame of highest (sharpness x weight) in each window of the span start..end.

    Args:
        sharpness: one value for each frame of the video.
    """
    chosen = []
    for indices, weights in windows(start, end):
        # Where all is equally blurred (black frames), the weight alone decides.
        best = np.lexsort((weights, sharpness[indices] * weights))[-1]
        chosen.append(int(indices[best]))
    return chosen
