"""A check of the data flow, not a model: a caption for each clip's pixels, joined in their order.

It needs neither weights nor a GPU, so that prompts, parsing, perturbation and conversion run for
real before GPU hours are spent. Do not train on what it writes.
"""

import colorsys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from inference.captioner import Answer, Request, Sampling
from tools.text.prompts import listed_captions

HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
LIGHT = ("dark", "dim", "bright", "light")
SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprstvz" for vowel in "aeio"]


class DryrunCaptioner:
    """Stands in for a model; of the sampling it heeds max_new_tokens, counted in words."""

    name = "dryrun"
    reasoning = False
    batch_size = 16
    decoding = Sampling(0.01, 0.001, 1, 1.0, 2048)  # Qwen2-VL's generation_config.json, unheeded

    def fingerprint(self) -> dict[str, Any]:
        return {"engine": "dryrun 2: a check of the data flow, not a model"}

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """Nothing is needed."""

    def load(self, device: str, threads: int) -> None:
        cv2.setNumThreads(threads)

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        for position, request in enumerate(requests):
            try:
                words = _answer(request).split(" ")
            except Exception as error:  # A bad request must not take the others down.
                yield position, error
                continue
            limit = sampling.max_new_tokens
            text = " ".join(words[:limit])
            yield position, Answer(text, "stop" if len(words) <= limit else "length")


def _answer(request: Request) -> str:
    clips = [part["video"] for part in request.parts if part["type"] == "video"]
    if not clips:
        return _joined(listed_captions(request.messages))
    if len(clips) == 1:
        return _caption(clips[0])
    return f"Video clip 2 follows video clip 1.\n\n**Caption:** {_caption(clips[-1])}"


def _caption(clip: Sequence[np.ndarray]) -> str:
    """The mean colour and brightness in words, and a name that changes with the pixels; these are
    averaged and rounded, since decoders differ by a gray level or two."""
    small = [cv2.resize(frame, (16, 16), interpolation=cv2.INTER_AREA) for frame in clip]
    red, green, blue = np.mean(small, axis=(0, 1, 2)) / 256
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    colour = HUES[round(6 * hue) % 6] if saturation > 0.2 else "gray"
    number = zlib.crc32((np.stack(small) // 8).tobytes())
    name = "".join(SYLLABLES[number >> shift & 63] for shift in (0, 6, 12, 18, 24))
    return f"A {LIGHT[int(4 * value)]} {colour} scene named {name.title()}."


def _joined(captions: Sequence[str]) -> str:
    """One paragraph in the captions' order.

    Only the opening starts and only the count ends a paragraph, so none is contained in another.
    """
    if not captions:
        raise ValueError("the request holds neither a video nor captions")
    scenes = " Next comes ".join(f"{text[:1].lower()}{text[1:]}" for text in captions)
    return f"The video opens with {scenes} The video closes after scene {len(captions)}."
