"""What the viewer's page Chat is given by grounding: where a question's answer lies in a video, the
frames of that moment, and the answer from them.

A model is loaded when it is first needed and stays; whoever else asks meanwhile waits.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torchvision.utils import flow_to_image

from grounding.answerer.captioner import AnswererCaptioner
from grounding.answerer.decoding import GREEDY, Decoding
from grounding.answerer.models import open_captioner
from grounding.bridge.moments import frame_times, union_of
from grounding.bridge.sampler import BRIDGE, Grounding, Sampler
from inference.captioner import Request, request_seed
from qa.frames import MAX_FRAME_PIXELS
from tools.errors import UserError
from tools.features.flow import SIDES, Flow, check_weights, open_extractor, video_flow
from tools.runner.devices import device_of
from tools.store.dataset import Dataset
from tools.text.answers import parse_response
from tools.text.qa_prompts import qa_messages
from tools.video.sampling import Sample, sample_moments

__all__ = ["GREEDY", "Answering", "Decoding", "Finder", "own_bridge", "take_again", "take_frames"]

KEPT_FLOWS = 16  # videos whose flow stays in memory

Spans = Sequence[tuple[float, float]] | None
"""(start, end) seconds; None: the whole video."""
Report = Callable[[float], object]
"""Takes the seconds of the video whose flow is there."""


@dataclass(frozen=True)
class Moment:
    """Where a bridge says that an answer lies, and the flow that it read."""

    grounding: Grounding
    flow: Flow

    @property
    def strength(self) -> np.ndarray:
        """(L,) mean speed of each pair of pictures, sides of the picture a second."""
        speed = self.flow.speed.astype(np.float32)
        return np.hypot(speed[:, 0], speed[:, 1]).mean((1, 2))

    def wheels(self, times: Sequence[float]) -> np.ndarray:
        """The flow at some moments as colours, (n, grid, grid, 3) uint8 RGB: the hue is the
        direction, and what is pale is slow (Baker et al. 2011, as torchvision draws it)."""
        begins = self.flow.times[:, 0]
        pairs = np.searchsorted(begins, times, "right").clip(1) - 1
        fields = torch.from_numpy(self.flow.speed[pairs].astype(np.float32))
        return flow_to_image(fields).permute(0, 2, 3, 1).numpy()


class Finder:
    """A trained bridge, and the flow of the videos that it was asked about last."""

    def __init__(self, folder: Path) -> None:
        """Raises UserError where the folder holds no bridge."""
        self.folder, self.sampler = folder, Sampler.open(folder)
        self._flows: dict[tuple[object, ...], Flow] = {}
        self._lock = Lock()

    def find(
        self,
        video: Path,
        question: str,
        spans: int,
        dataset: Dataset,
        video_id: str,
        report: Report,
    ) -> Moment:
        """Where a video answers a question.

        Args:
            spans: disjoint ones at most.
            dataset, video_id: where the flow may be; else it is computed.

        Raises:
            UserError, VideoError: the flow can be neither read nor computed.
        """
        with self._lock:
            flow = self._flow(video, dataset, video_id, report)
            return Moment(self.sampler.ground(flow, question, spans), flow)

    def _flow(self, video: Path, dataset: Dataset, video_id: str, report: Report) -> Flow:
        extractor, grid = self.sampler.extractor, self.sampler.bridge.config.grid
        if dataset.flow(extractor, video_id).exists():
            return self.sampler.read_flow(dataset, video_id)
        info = video.stat()
        key = (video, info.st_size, info.st_mtime_ns)
        if key not in self._flows:
            if extractor not in SIDES:
                raise UserError(f"the bridge reads {extractor} flow, and this video has none")
            device = device_of("auto")
            opened = open_extractor(
                extractor, SIDES[extractor], check_weights(extractor, None), device
            )
            flow = video_flow(video, opened, grid=grid, threads=os.cpu_count() or 1, report=report)
            while len(self._flows) >= KEPT_FLOWS:
                del self._flows[next(iter(self._flows))]
            self._flows[key] = flow
        return self._flows[key]


def own_bridge(checkpoint: str) -> Path | None:
    """The bridge that a model has been trained with, by self-refinement."""
    folder = Path(checkpoint)
    return folder if (folder / BRIDGE).is_file() else None


def take_frames(video: Path, spans: Spans, number: int) -> Sample:
    """Frames in the middles of equal parts of spans, or of the whole video.

    Raises:
        VideoError: the video cannot be read.
    """
    return sample_moments(
        video, lambda length: frame_times(spans or [(0.0, length)], number), MAX_FRAME_PIXELS
    )


def take_again(video: Path, times: Sequence[float]) -> Sample:
    """The frames of these times; raises VideoError where the video cannot be read."""
    return sample_moments(video, lambda _: times, MAX_FRAME_PIXELS)


class Answering:
    """A model that answers, not yet loaded.

    Attributes:
        beams: whether it can search with beams; else it decodes greedily or draws.
    """

    def __init__(self, checkpoint: str) -> None:
        """Raises UserError where there is no such model."""
        self.captioner = open_captioner(checkpoint)
        self.name = self.captioner.name
        self.beams = isinstance(self.captioner, AnswererCaptioner)
        self._lock = Lock()
        self._is_loaded = False

    def load(self) -> None:
        """Load the model, if it is not loaded yet.

        Raises:
            UserError: it is not there, or cannot be loaded.
        """
        with self._lock:
            if not self._is_loaded:
                self.captioner.check("auto", Decoding().sampling, 8)
                self.captioner.load(device_of("auto"), os.cpu_count() or 1)
                self._is_loaded = True

    def answer(
        self,
        question: str,
        earlier: Sequence[tuple[str, str]],
        frames: Sample,
        spans: Spans,
        decoding: Decoding,
        seed: int,
    ) -> tuple[str, bool]:
        """The answer, and whether it was cut off at the longest length.

        Args:
            earlier: (question, answer) of the turns before.
            spans: that the frames are of.
            seed: of what is drawn.

        Raises:
            UserError: the model refuses, or fails.
        """
        request = Request(
            qa_messages(question, list(frames.pictures), rate_of(frames, spans), earlier),
            request_seed(seed, "chat", question),
        )
        with self._lock:
            if isinstance(self.captioner, AnswererCaptioner):
                self.captioner.num_beams = decoding.num_beams
                self.captioner.length_penalty = decoding.length_penalty
            [(_, answer)] = self.captioner.generate([request], decoding.sampling)
        if isinstance(answer, Exception):
            raise UserError(f"{self.name} could not answer: {answer}")
        return parse_response(answer.text), answer.finish_reason == "length"


def rate_of(frames: Sample, spans: Spans) -> float:
    """How many frames there are to a second of the spans, or of the whole video."""
    seconds = sum(end - start for start, end in union_of(spans or [(0.0, frames.seconds)]))
    return len(frames.times) / seconds if seconds else 1.0
