"""The shapes of the toy world, drawn once and pasted into frames."""

from functools import lru_cache

import cv2
import numpy as np

RGB = {
    "red": (222, 36, 40),
    "green": (38, 168, 70),
    "blue": (32, 92, 226),
    "yellow": (252, 214, 36),
    "purple": (148, 52, 204),
    "orange": (250, 136, 24),
}

Affine = np.ndarray  # float64 (2, 3): columns multiply x, y and 1
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the latter two are outside


def outline(shape: str) -> np.ndarray:
    """Return a shape's corners in a unit circle, (n, 2)."""
    if shape == "circle":
        turns, radii = np.arange(64) / 64, np.ones(64)
    elif shape == "square":
        turns, radii = np.arange(4) / 4 + 1 / 8, np.full(4, 1.12)
    elif shape == "triangle":
        turns, radii = np.arange(3) / 3 - 1 / 4, np.full(3, 1.15)
    else:
        turns, radii = np.arange(10) / 10 - 1 / 4, np.where(np.arange(10) % 2, 0.5, 1.2)
    return np.stack([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], 1) * radii[:, None]


class Sprite:
    """A picture to paste: float32 RGBA with premultiplied alpha, (side, side, 4), even side."""

    def __init__(self, rgba: np.ndarray):
        self.rgba = rgba
        self.middle = rgba.shape[0] / 2
        from_middle = np.abs(np.argwhere(rgba[..., 3] > 0) + 0.5 - self.middle)
        # Pixels; beyond it all is clear, but for half a pixel and what is interpolated.
        self.reach = float(np.hypot(*from_middle.T).max())


@lru_cache(maxsize=64)
def draw_sprite(shape: str, colour: str, radius: float) -> Sprite:
    """Return a shape, 4 * radius pixels wide."""
    fine = 3  # drawn larger, then shrunk
    size = 2 * round(2 * radius)
    corners = (outline(shape) * radius + size / 2) * fine
    points = [np.round(corners * 16).astype(np.int32)]
    canvas = np.zeros((size * fine, size * fine, 4), np.float32)
    rgb = np.array(RGB[colour], np.float32)
    cv2.fillPoly(canvas, points, (*(rgb * 0.5).tolist(), 1.0), cv2.LINE_8, 4)
    inner = [np.round(((corners - size * fine / 2) * 0.86 + size * fine / 2) * 16).astype(np.int32)]
    cv2.fillPoly(canvas, inner, (*rgb.tolist(), 1.0), cv2.LINE_8, 4)
    # The pale spot off the centre lets even a circle be seen turning.
    spot = (round(size * fine / 2), round((size / 2 - radius * 0.5) * fine))
    cv2.circle(canvas, spot, round(radius * 0.17 * fine), (255, 250, 235, 1), -1)
    light = np.linspace(1.12, 0.84, size * fine, dtype=np.float32)[:, None, None]
    canvas[..., :3] = np.clip(canvas[..., :3] * light, 0, 255)
    return Sprite(cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA))


def paste(frame: np.ndarray, sprite: Sprite, x: float, y: float, scale: float, turn: float) -> None:
    """Blend a sprite into `frame` in place, its centre at (x, y), turned by `turn` radians."""
    left, top, right, bottom = around(x, y, scale * sprite.middle, (0, 0, *frame.shape[1::-1]))
    # Most of what is drawn is clear, and blending that, too, would take longer than the rest. Two
    # pixels more on either scale cover a pixel's own half, the interpolation and the rounding.
    seen = around(x, y, scale * (sprite.reach + 2) + 2, (left, top, right, bottom))
    if seen[0] >= seen[2] or seen[1] >= seen[3]:
        return
    matrix = similarity(scale, turn, (sprite.middle, sprite.middle), (x - left, y - top))
    size = (right - left, bottom - top)
    patch = cv2.warpAffine(sprite.rgba, matrix, size, flags=cv2.INTER_LINEAR)
    patch = patch[seen[1] - top : seen[3] - top, seen[0] - left : seen[2] - left]
    region = frame[seen[1] : seen[3], seen[0] : seen[2]]
    # NumPy is slow at spreading the one channel of alpha over three of colour.
    clear = cv2.cvtColor(1 - patch[..., 3], cv2.COLOR_GRAY2BGR)
    region[:] = region.astype(np.float32) * clear + cv2.cvtColor(patch, cv2.COLOR_BGRA2BGR)


def around(x: float, y: float, reach: float, box: Box) -> Box:
    """Return the part of `box` that lies within `reach` of (x, y), both ways; it may be empty."""
    left, top, right, bottom = box
    return (
        max(left, int(x - reach)),
        max(top, int(y - reach)),
        min(right, int(x + reach) + 1),
        min(bottom, int(y + reach) + 1),
    )


def similarity(scale: float, turn: float, source: tuple, target: tuple) -> Affine:
    """Return the affine map that scales, turns and takes the point `source` to `target`."""
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    (x, y), (u, v) = source, target
    return np.array([[a, -b, u - a * x + b * y], [b, a, v - b * x - a * y]])
