"""Optical flow: how the picture moves between frames that follow one another at a fixed rate.

An extractor has `side`, the size in pixels of the square pictures that it takes, and
`between(pictures)`: (n + 1, side, side, 3) uint8 RGB -> (n, 2, side, side) float32, the movement in
pixels to the right and down from each picture to the next. DIS (Kroeger et al., arXiv 1603.03590)
needs no weights; RAFT (Teed and Deng, arXiv 2003.12039) does.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tools.errors import UserError
from tools.video.sampling import squares_at_rate

# Name -> size of the pictures. RAFT: that of VideoTGB (arXiv 2402.16050). DIS: the size at which
# it is fastest and tells the toy world's actions apart as well as at others.
SIDES = {"dis": 112, "raft_small": 224, "raft_large": 224}
# Iterations of refinement: VideoTGB's for RAFT-large, torchvision's own default for RAFT-small.
RAFT_UPDATES = {"raft_small": 12, "raft_large": 20}
# torchvision's weights: those that were trained on Sintel for VideoTGB's RAFT-large.
RAFT_WEIGHTS = {
    "raft_small": "Raft_Small_Weights.C_T_V2",
    "raft_large": "Raft_Large_Weights.C_T_SKHT_V2",
}
# The smallest pictures that they take, and of what RAFT takes multiples.
MIN_SIDES = {"dis": 12, "raft_small": 128, "raft_large": 128}
RAFT_STEP = 8
PAIRS_AT_ONCE = 8

FPS = 2.0  # pictures a second (VideoTGB)
GRID = 14  # cells along a side, VideoTGB's patches of 16 pixels in a picture of 224
# Sides of the picture a second: half a second apart, faster motion carries most of a thing out of
# the picture, so that what is measured above this is an error.
MAX_SPEED = 1.0
NORMALISATIONS = ("fixed", "clip_max")


@dataclass(frozen=True)
class Flow:
    """The flow of one video, L pairs of pictures; a video with one picture has one pair, of that
    picture with itself.

    Attributes:
        speed: (L, 2, grid, grid) float16, mean of each cell, in sides of the picture a second, to
            the right and down.
        times: (L, 2) float32, seconds from the first frame at which the pictures of each pair were
            taken, whatever frames were on the screen then; see `token_times`.
        max_speed: the largest speed of a pixel in the whole video, in the same unit.
    """

    speed: np.ndarray
    times: np.ndarray
    max_speed: float

    def normalised(self, how: str = "fixed") -> np.ndarray:
        """What the grounding bridge reads, in training and at inference alike.

        Args:
            how: fixed: the speed, clamped to MAX_SPEED; clip_max: over the largest speed of the
                video (VideoTGB), which makes it depend on what else the video shows.

        Returns:
            (L, 2, grid, grid) float32.
        """
        speed = self.speed.astype(np.float32)
        if how == "fixed":
            return speed.clip(-MAX_SPEED, MAX_SPEED)
        if how == "clip_max":
            return speed / np.float32(self.max_speed + 1e-5)
        raise UserError(f"normalisation {how!r}: choose one of {', '.join(NORMALISATIONS)}")


class Dis:
    """Dense inverse search on gray pictures, OpenCV's preset FAST.

    OpenCV's object lowers its own finest scale for good on small pictures: one that has seen other
    sizes gives another flow. So there is one object, and it sees one size.
    """

    def __init__(self, side: int = SIDES["dis"]) -> None:
        self.side = side
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def between(self, pictures: np.ndarray) -> np.ndarray:
        """See the module's docstring."""
        assert pictures.shape[1:3] == (self.side, self.side)
        gray = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures]
        flow = [self._dis.calc(gray[i], gray[i + 1], None) for i in range(len(gray) - 1)]
        return np.stack(flow).transpose(0, 3, 1, 2)


class Raft:
    """torchvision's RAFT with the weights of a file."""

    def __init__(self, name: str, weights: Path, side: int, device: str = "cpu") -> None:
        """Raises UserError where the file does not hold the weights of this network."""
        import torch
        from torchvision.models import get_model

        self.side = side
        self._torch, self._device, self._updates = torch, device, RAFT_UPDATES[name]
        self._model: Any = get_model(name)
        try:
            self._model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            why = (str(error) or repr(error)).strip().splitlines()[0]
            raise UserError(f"{weights} does not hold the weights of {name} ({why})") from None
        self._model = self._model.to(device).eval()

    def between(self, pictures: np.ndarray) -> np.ndarray:
        """See the module's docstring."""
        pixels = self._torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2)
        pixels = pixels.float() / 127.5 - 1
        with self._torch.inference_mode():
            flow = self._model(pixels[:-1], pixels[1:], num_flow_updates=self._updates)[-1]
        return flow.cpu().numpy()


Extractor = Dis | Raft


def check_weights(name: str, checkpoint: Path | None) -> Path | None:
    """The file of an extractor's weights: the one named, or the hub's, fetched if it is not here
    yet; None of an extractor without weights.

    Raises:
        UserError: it is not here and cannot be fetched.
    """
    if checkpoint or name not in RAFT_WEIGHTS:
        return checkpoint
    from urllib.request import urlopen

    import torch
    from torchvision.models import get_weight

    weights: Any = get_weight(RAFT_WEIGHTS[name])
    file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    if not file.is_file():
        try:
            urlopen(weights.url, timeout=10).close()  # a download has no time limit of its own
            weights.get_state_dict(check_hash=True)
        except OSError as error:
            raise UserError(
                f"the weights of {name} are not at {file} and cannot be fetched ({error}): give"
                " their file with --checkpoint FILE, or take --extractor dis, which needs none"
            ) from None
    return file


def open_extractor(
    name: str, side: int, weights: Path | None, device: str = "cpu", threads: int = 1
) -> Extractor:
    """The extractor of a name; `weights` is what `check_weights` gives."""
    if weights is None:
        return Dis(side)
    import torch

    if device == "cpu":
        torch.set_num_threads(threads)
    return Raft(name, weights, side, device)


def video_flow(
    video: Path,
    extractor: Extractor,
    fps: float = FPS,
    grid: int = GRID,
    threads: int = 1,
    report: Callable[[float], object] = lambda seconds: None,
) -> Flow:
    """The flow of a video at `fps` pictures a second, in constant memory but for the result.

    Args:
        report: is called with how much of the video's time is done.

    Raises:
        VideoError: see `squares_at_rate`.
    """
    sampled = squares_at_rate(video, fps, extractor.side, threads)

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        before = next(sampled)
        while following := list(islice(sampled, PAIRS_AT_ONCE)):
            times, pictures = zip(before, *following, strict=True)
            moves = extractor.between(np.stack(pictures)) / extractor.side
            yield np.stack([times[:-1], times[1:]], 1), moves
            report(times[-1])
            before = following[-1]

    return flow_of_moves(chunks(), grid, fps)


def precomputed_flow(file: Path, fps: float = FPS, grid: int = GRID) -> Flow:
    """The flow that VideoTGB's extraction has left: an array (L, 2, height, width) of pixels to the
    right and down, between pictures at `fps` a second.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no such array.
    """
    flow = np.load(file, mmap_mode="r")
    if flow.ndim != 4 or flow.shape[1] != 2:
        raise ValueError(f"no flow: an array {flow.shape}, not (pairs, 2, height, width)")
    sides = np.array(flow.shape[:1:-1], np.float32)[:, None, None]  # u is along the width

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(flow), PAIRS_AT_ONCE):
            pairs = np.asarray(flow[start : start + PAIRS_AT_ONCE], np.float32)
            numbers = np.arange(start, start + len(pairs))
            yield np.stack([numbers, numbers + 1], 1) / fps, pairs / sides

    return flow_of_moves(chunks(), grid, fps)


def token_times(pairs: int, fps: float) -> np.ndarray:
    """Between which moments pairs of pictures lie, (pairs, 2) float32 seconds."""
    return ((np.arange(pairs)[:, None] + [0, 1]) / fps).astype(np.float32)


def flow_of_moves(
    chunks: Iterator[tuple[np.ndarray, np.ndarray]], grid: int, fps: float = FPS
) -> Flow:
    """Make speeds of moves, and take the mean of each cell.

    Args:
        chunks: (k, 2) seconds at which the frames of each pair begin to be shown, equal where a
            frame stays on the screen; and (k, 2, height, width) moves in sides of the picture.
        fps: pictures a second.
    """
    speeds, max_speed = [], 0.0
    for times, moves in chunks:
        seconds = (times[:, 1] - times[:, 0])[:, None, None, None]
        # A frame that stays on the screen does not move.
        speed = np.divide(moves, seconds, out=np.zeros_like(moves), where=seconds > 0)
        max_speed = max(max_speed, float(np.hypot(speed[:, 0], speed[:, 1]).max()))
        cells = [
            cv2.resize(field.transpose(1, 2, 0), (grid, grid), interpolation=cv2.INTER_AREA)
            for field in speed
        ]
        speeds.append(np.stack(cells).transpose(0, 3, 1, 2).astype(np.float16))
    speed = np.concatenate(speeds or [np.zeros((1, 2, grid, grid), np.float16)])
    return Flow(speed, token_times(len(speed), fps), max_speed)
