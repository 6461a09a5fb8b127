"""The sampler: a trained grounding bridge with the tokenizer of its questions, which says where in
a video the answer to a question lies.

It is a folder: `bridge.safetensors`, and the tokenizer's files beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from grounding.bridge.moments import (
    Ratios,
    Span,
    bounds_of,
    decode,
    decode_reference,
    ratios_of_tokens,
)
from grounding.bridge.network import Bridge
from grounding.bridge.weights import load_bridge, save_bridge
from grounding.flow import read_flow
from tools.errors import UserError
from tools.features.flow import Flow
from tools.store.dataset import Dataset
from tools.video.decode import VideoError

BRIDGE = "bridge.safetensors"
MAX_WORDS = 128  # of a question, tokens (VideoTGB)


@dataclass(frozen=True)
class Grounding:
    """Where in a video a question is answered.

    Attributes:
        spans: (start, end) seconds each, the best one first.
        ratios: the same as ratios of the video's time.
        log_p: log p(start) + log p(end) of each, nats.
        start_log_p, end_log_p: (L,) log p of each flow token of what is asked about, nats; tokens
            that the bridge has seen as one share its p.
        times: (L, 2) seconds between which each of them lies.
    """

    spans: list[tuple[float, float]]
    ratios: list[Ratios]
    log_p: list[float]
    start_log_p: np.ndarray
    end_log_p: np.ndarray
    times: np.ndarray


class Sampler:
    """A bridge that is asked; `Sampler.open` reads a trained one.

    Attributes:
        extractor: whose optical flow it reads.
    """

    def __init__(self, bridge: Bridge, tokenizer: Any, device: str = "cpu") -> None:
        self.bridge, self.tokenizer, self.device = bridge.to(device).eval(), tokenizer, device
        self.extractor = bridge.config.extractor

    @classmethod
    def open(cls, folder: Path, device: str = "cpu") -> "Sampler":
        """The sampler of a folder that `grounding.train` has written.

        Raises:
            UserError: it holds no bridge, no tokenizer, or a bridge that reads no flow.
        """
        bridge = load_bridge(bridge_file(folder))
        if bridge.config.input != "flow":
            raise UserError(f"the bridge in {folder} reads {bridge.config.input}, no optical flow")
        return cls(bridge, open_tokenizer(folder), device)

    def save(self, folder: Path) -> None:
        """Write the bridge and its tokenizer."""
        save_bridge(folder / BRIDGE, self.bridge)
        self.tokenizer.save_pretrained(folder)

    def read_flow(self, dataset: Dataset, video_id: str) -> Flow:
        """The flow of a video of a data set, as this bridge reads it.

        Raises:
            VideoError: it has none.
            UserError: it is another extractor's, or at another rate or grid.
        """
        if not dataset.flow(self.extractor, video_id).exists():
            raise VideoError(f"no flow: python -m grounding.flow computes that of {self.extractor}")
        return read_flow(dataset, self.extractor, video_id, grid=self.bridge.config.grid)

    @torch.no_grad()
    def ground(
        self,
        flow: Flow,
        question: str,
        k: int = 1,
        decoding: str = "joint",
        seed: int = 0,
        part: tuple[float, float] = (0.0, math.inf),
    ) -> Grounding:
        """Where a video answers a question.

        Of a clip with more tokens than the bridge has positions for, the bridge sees the middle
        ones of as many equal parts as it has positions.

        Args:
            question: alone, without a prompt.
            k: spans at most, which overlap nowhere; of `joint`.
            decoding: joint: the best pairs of start and end; reference: drawn, as the released code
                does.
            seed: of `reference`.
            part: seconds of the video that the question is about: nothing else is looked at.
        """
        first, last = _tokens_within(flow.times, part)
        bounds = first + bounds_of(last + 1 - first, self.bridge.config.most_tokens)
        seen = (bounds[:-1] + bounds[1:] - 1) // 2
        tokens = torch.from_numpy(flow.normalised(self.bridge.config.normalise)[seen])[None]
        mask = torch.ones(1, tokens.shape[1], dtype=torch.bool)
        batch = (tokens, mask, *encode_questions(self.tokenizer, [question]))
        start, end = self.bridge(*(values.to(self.device) for values in batch))
        if decoding == "reference":
            [best] = decode_reference(start, end, mask, seed)
        else:
            [best] = decode(start, end, mask, k)
        spans = [
            Span(int(bounds[span.first]), int(bounds[span.last + 1]) - 1, span.log_p)
            for span in best
        ]
        widths = np.diff(bounds)
        start_log_p, end_log_p = (
            np.repeat(logits[0].log_softmax(-1).cpu().numpy() - np.log(widths), widths)
            for logits in (start, end)
        )
        return Grounding(
            [_clamped(seconds_of(span, flow.times), part) for span in spans],
            [ratios_of_tokens(span.first, span.last, len(flow.times)) for span in spans],
            [span.log_p for span in spans],
            start_log_p,
            end_log_p,
            flow.times[first : last + 1],
        )


def _tokens_within(times: np.ndarray, part: tuple[float, float]) -> tuple[int, int]:
    """First and last token of (L, 2) `times` that a part covers at least a bit of."""
    last = len(times) - 1
    first = min(int(np.searchsorted(times[:, 1], part[0], "right")), last)
    return first, max(first, int(np.searchsorted(times[:, 0], part[1], "left")) - 1)


def _clamped(span: tuple[float, float], part: tuple[float, float]) -> tuple[float, float]:
    start, end = (min(max(time, part[0]), part[1]) for time in span)
    return start, end


def seconds_of(span: Span, times: np.ndarray) -> tuple[float, float]:
    """Start and end of a span; the last token's picture is shown for as long as a pair lasts.

    Args:
        times: (L, 2) of a video's flow, seconds.
    """
    start, end = float(times[span.first, 0]), float(times[span.last, 1])
    if span.last == len(times) - 1:
        end += float(times[-1, 1] - times[0, 0]) / len(times)
    return start, end


def encode_questions(tokenizer: Any, questions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids and mask of questions to a bridge, (B, W) each."""
    words = tokenizer(
        list(questions),
        truncation=True,
        max_length=MAX_WORDS,
        padding=True,
        padding_side="right",
        return_tensors="pt",
    )
    return words["input_ids"], words["attention_mask"]


def bridge_file(folder: Path) -> Path:
    """The bridge of a sampler's folder.

    Raises:
        UserError: it holds none.
    """
    if not (folder / BRIDGE).is_file():
        raise UserError(
            f"{folder} holds no trained bridge: {BRIDGE} is not there; grounding.train writes one"
            " in the stages tg and sf"
        )
    return folder / BRIDGE


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer beside a bridge.

    Raises:
        UserError: it is not there.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise UserError(f"{folder} holds a bridge without the files of its tokenizer")
    return transformers.AutoTokenizer.from_pretrained(folder)
