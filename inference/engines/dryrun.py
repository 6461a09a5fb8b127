"""The check of a data flow, not a model: captions from pixels, paragraphs from captions.

It words what OpenCV measures (colours, light, texture, movements of a few percent of the picture)
in the shape of a real answer, so that prompts, parsing, perturbation and conversion run for real
on a machine without weights or GPU, before GPU hours are spent. Do not train on what it writes.
"""

import random
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from inference.captioner import Answer, Request, Sampling
from tools.text import prompts

SIZE = (128, 72)  # width and height, pixels, at which frames are measured
WINDOW = 15  # pixels of such a frame over which optical flow is averaged
MIN_SHARE = 0.08  # of the picture; the second and third colour go unnamed below it
MIN_CHROMA = 20.0  # Lab units; below, nothing is colourful
MIN_PAN = 0.01  # of the picture's width or height, between the two frames
MIN_CONFIDENCE = 0.1  # 0..1, of a shift of the whole picture, for flow to start from it
MIN_ZOOM = 0.01  # growth of the picture between the two frames
MIN_MOVING = 0.005  # of the picture, for something that moves by itself
MIN_EDGE = 4.0  # absolute Laplacian, gray levels; below, a pixel has no texture to follow
MAX_UNEXPLAINED = 12.0  # gray levels left after undoing the motion; above, it was not the motion

PALETTE = {
    "black": (10, 10, 10),
    "dark gray": (70, 70, 70),
    "gray": (128, 128, 128),
    "light gray": (195, 195, 195),
    "white": (248, 248, 248),
    "red": (205, 35, 35),
    "dark red": (110, 20, 25),
    "orange": (240, 135, 25),
    "brown": (115, 75, 40),
    "beige": (220, 200, 165),
    "yellow": (240, 220, 50),
    "olive": (115, 115, 40),
    "green": (45, 150, 55),
    "dark green": (20, 75, 35),
    "light green": (150, 220, 140),
    "teal": (25, 135, 135),
    "light blue": (140, 195, 235),
    "blue": (40, 85, 200),
    "navy": (20, 30, 95),
    "purple": (115, 50, 150),
    "pink": (240, 150, 185),
    "magenta": (215, 40, 170),
}
PLACES = (
    ("the upper left", "the top", "the upper right"),
    ("the left", "the centre", "the right"),
    ("the lower left", "the bottom", "the lower right"),
)
STILL = "the camera holds still"
CHANGES = "the view changes from one moment to the next"
LINKS = ("Next comes", "Then comes", "After that comes")


def _lab(rgb: np.ndarray) -> np.ndarray:
    """L in 0..100, a and b in about -128..127, float32, of uint8 RGB (H, W, 3)."""
    return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


_PALETTE_LAB = _lab(np.array([list(PALETTE.values())], np.uint8))[0]


@dataclass(frozen=True)
class Look:
    """What one frame looks like.

    `colours` are (name, share of the picture), largest first; `light` and `contrast` are mean and
    standard deviation of L (0..100), `texture` the mean absolute Laplacian of L; `accent` is
    (colour, place) of the most colourful ninth.
    """

    colours: list[tuple[str, float]]
    light: float
    contrast: float
    texture: float
    accent: tuple[str, str] | None


@dataclass(frozen=True)
class Motion:
    """What moves between two frames: the camera, and something else in (place, direction)."""

    camera: str
    moving: tuple[str, str] | None


class DryrunCaptioner:
    """Stands in for a model; of the sampling it heeds max_new_tokens, counted in words."""

    name = "dryrun"
    reasoning = False
    batch_size = 16
    decoding = Sampling(0.01, 0.001, 1, 1.0, 2048)  # Qwen2-VL's generation_config.json, unheeded

    def fingerprint(self) -> dict[str, Any]:
        return {
            "engine": "dryrun: a check of the data flow, not a model",
            "version": 1,
            "opencv": cv2.__version__,
        }

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """Nothing is needed."""

    def load(self, device: str, threads: int) -> None:
        cv2.setNumThreads(threads)

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        for position, request in enumerate(requests):
            try:
                yield position, _cut(_write(request), sampling.max_new_tokens)
            except Exception as error:  # one bad request must not take the others down
                yield position, error


def _write(request: Request) -> str:
    parts = [part for message in request.messages for part in message["content"]]
    clips = [part["video"] for part in parts if part["type"] == "video"]
    if not clips:
        return _join(prompts.listed_captions(request.messages))
    return _caption(clips[-1], clips[-2] if len(clips) > 1 else None)


def _cut(text: str, max_words: int) -> Answer:
    words = list(re.finditer(r"\S+", text))
    if len(words) <= max_words:
        return Answer(text, "stop")
    return Answer(text[: words[max_words - 1].end()], "length")


def _join(captions: list[str]) -> str:
    """One paragraph in the captions' order.

    Only the opening starts and only the count ends a paragraph, so none is contained in another.
    """
    if not captions:
        raise ValueError("the request holds neither a video nor captions")
    links = ["The video opens with"]
    links += [LINKS[k % len(LINKS)] for k in range(len(captions) - 2)]
    links += ["Finally, there is"] * (len(captions) > 1)
    told = [
        f"{link} {caption[:1].lower()}{caption[1:]}"
        for link, caption in zip(links, captions, strict=True)
    ]
    scenes = "1 scene" if len(captions) == 1 else f"{len(captions)} scenes"
    return " ".join([*told, f"The video closes after {scenes}."])


def _caption(clip: Sequence[np.ndarray], before: Sequence[np.ndarray] | None) -> str:
    """An answer to `prompts.clip_messages`: the caption alone, or with the thinking asked for."""
    small = [cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) for frame in clip]
    choose = random.Random(zlib.crc32(np.stack(small).tobytes())).choice
    look = _look(small[-1])
    motion = _motion(small[0], small[-1])

    light = _word(look.light, (22, 42, 65), ("dark", "dim", "evenly lit", "bright"))
    contrast = _word(look.contrast, (9, 22), ("flat", "softly contrasted", "strongly contrasted"))
    texture = _word(look.texture, (8, 28), ("smooth", "with some detail", "full of fine detail"))
    scene, mostly = choose(["picture", "view", "scene"]), choose(["mostly", "largely", "chiefly"])
    sentences = [
        f"{'An' if light[0] in 'aeiou' else 'A'} {light}, {contrast} {scene} {mostly} in "
        f"{_colours(look)}, {texture}."
    ]
    if look.accent:
        colour, place = look.accent
        accents = [
            f"The strongest colour, {colour}, is at {place}.",
            f"Something {colour} stands out at {place}.",
            f"At {place} there is a vivid {colour}.",
        ]
        sentences.append(choose(accents))
    thing = " while something at {} moves {}".format(*motion.moving) if motion.moving else ""
    sentences.append(f"{motion.camera[0].upper()}{motion.camera[1:]}{thing}.")
    if before is None:
        return " ".join(sentences)
    change = _change(_look(cv2.resize(before[-1], SIZE, interpolation=cv2.INTER_AREA)), look)
    caption = [*sentences, f"Compared with video clip 1, video clip 2 {change}."]
    return (
        f"Video clip 2 shows {_colours(look)}. In it, {motion.camera}.\n\n"
        f"Video clip 2 follows video clip 1 and {change}.\n\n"
        f"{choose(['**Caption:**', 'Caption:', '**Caption**:'])} {' '.join(caption)}"
    )


def _look(rgb: np.ndarray) -> Look:
    light = _lab(rgb)[:, :, 0]
    lab = _lab(cv2.resize(rgb, (SIZE[0] // 2, SIZE[1] // 2), interpolation=cv2.INTER_AREA))
    nearest = ((lab[:, :, None, :] - _PALETTE_LAB) ** 2).sum(axis=3).argmin(axis=2)
    names = list(PALETTE)
    shares = np.bincount(nearest.ravel(), minlength=len(names)) / nearest.size
    largest = [int(i) for i in np.argsort(-shares, kind="stable")[:3]]
    colours = [
        (names[i], float(shares[i])) for i in largest if i == largest[0] or shares[i] >= MIN_SHARE
    ]

    chroma = np.hypot(lab[:, :, 1], lab[:, :, 2])
    cells = cv2.resize(chroma, (3, 3), interpolation=cv2.INTER_AREA)
    row, column = divmod(int(cells.argmax()), 3)
    accent = None
    if cells.max() >= MIN_CHROMA:
        h, w = nearest.shape
        cell = np.s_[row * h // 3 : (row + 1) * h // 3, column * w // 3 : (column + 1) * w // 3]
        weights = np.bincount(nearest[cell].ravel(), chroma[cell].ravel(), len(names))
        accent = (names[int(weights.argmax())], PLACES[row][column])
    edges = np.abs(cv2.Laplacian(light, cv2.CV_32F, ksize=3))
    return Look(colours, float(light.mean()), float(light.std()), float(edges.mean()), accent)


def _motion(first: np.ndarray, second: np.ndarray) -> Motion:
    """Camera: median optical flow and growth; something else: where the flow departs from them."""
    gray = [cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY) for rgb in (first, second)]
    # phase correlation finds the long pans that flow alone cannot follow
    shift, confidence = cv2.phaseCorrelate(
        gray[0].astype(np.float32), gray[1].astype(np.float32), cv2.createHanningWindow(SIZE, 5)
    )
    start = np.empty((*SIZE[::-1], 2), np.float32)
    start[:] = shift if confidence > MIN_CONFIDENCE else 0
    flow = cv2.calcOpticalFlowFarneback(
        gray[0], gray[1], start, pyr_scale=0.5, levels=4, winsize=WINDOW, iterations=3, poly_n=7,
        poly_sigma=1.5, flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    grid = np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), axis=2).astype(np.float32)
    goal = grid + flow
    undone = cv2.remap(
        gray[1], goal[..., 0], goal[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    left = cv2.absdiff(undone, gray[0]).mean()
    if left > MAX_UNEXPLAINED:
        return Motion(CHANGES, None)
    # flow is wrong where there is nothing to follow and where its window leaves the picture
    textured = np.abs(cv2.Laplacian(gray[0], cv2.CV_32F, ksize=3)) > MIN_EDGE
    seen = textured & ((goal >= WINDOW) & (goal < np.subtract(SIZE, WINDOW))).all(axis=2)
    if not seen.any():
        return Motion(STILL, None)

    centred = grid - np.array(SIZE, np.float32) / 2
    pan = np.median(flow[seen], axis=0)
    outward = ((flow - pan) * centred).sum(axis=2) / (centred**2).sum(axis=2).clip(1)
    zoom = float(np.median(outward[seen]))
    x, y = -pan / SIZE  # the camera turns against what its picture does
    if max(abs(x), abs(y)) > MIN_PAN:
        camera = f"the camera moves {_direction(np.array([x, y]), MIN_PAN)}"
    elif abs(zoom) > MIN_ZOOM:
        camera = f"the camera moves {'closer' if zoom > 0 else 'away'}"
    else:
        camera = STILL
    if camera != STILL and left > cv2.absdiff(gray[1], gray[0]).mean() / 2:
        return Motion(CHANGES, None)

    alone = flow - pan - zoom * centred
    strays = seen & (np.hypot(alone[..., 0], alone[..., 1]) > 1 + 0.25 * np.hypot(*pan))
    if strays.mean() < MIN_MOVING:
        return Motion(camera, None)
    x, y = np.median(grid[strays], axis=0) * 3 / SIZE
    direction = _direction(np.median(alone[strays], axis=0), 0.5)
    return Motion(camera, (PLACES[int(y)][int(x)], direction))


def _direction(vector: np.ndarray, least: float) -> str:
    """Words for (x right, y down); an axis below `least` or a third of the other is left out."""
    x, y = (float(v) for v in vector)
    words = []
    if abs(y) >= least and abs(y) * 3 > abs(x):
        words.append("down" if y > 0 else "up")
    if abs(x) >= least and abs(x) * 3 > abs(y):
        words.append("to the right" if x > 0 else "to the left")
    return " and ".join(words) or "about"


def _word(value: float, bounds: tuple[float, ...], words: tuple[str, ...]) -> str:
    return words[int(np.searchsorted(bounds, value))]


def _colours(look: Look) -> str:
    parts = [f"{name} (about {5 * round(share * 20)} percent)" for name, share in look.colours]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _change(before: Look, after: Look) -> str:
    lighter = after.light - before.light
    parts = ["is brighter" if lighter > 4 else "is darker" if lighter < -4 else "keeps its light"]
    old, new = ([name for name, _ in look.colours] for look in (before, after))
    gone, come = ([c for c in a if c not in b] for a, b in ((old, new), (new, old)))
    if come and gone:
        parts.append(f"has {come[0]} where there was {gone[0]}")
    elif come:
        parts.append(f"brings in {come[0]}")
    elif gone:
        parts.append(f"loses its {gone[0]}")
    else:
        parts.append("has the same colours")
    return " and ".join(parts)
