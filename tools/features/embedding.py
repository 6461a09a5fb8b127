"""What a shot looks like, as a vector: SigLIP, CLIP, or plain colour and texture.

An embedder turns images into rows of length 1, so that a dot product is a cosine similarity. Its
`from_thumbnails` says whether 48x27 thumbnails are enough, so that nothing need be decoded.
"""

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tools.errors import UserError
from tools.video.scan import THUMBNAIL

IMAGES_AT_ONCE = 16


class ColorEmbedder:
    """Colour layout and texture of a frame; needs no weights.

    Half is the distribution of colours, half the texture, of its upper, middle and lower third. It
    does not mind a camera that has moved sideways, nor a small object that has come or gone.
    """

    from_thumbnails = True

    # Bins of lightness and of Lab's a and b; what is beyond +-60 counts as 60.
    BINS = (10, 16, 16)
    MOST_COLOUR = 60
    # Edges by direction, at full and at half size; stronger ones, in lightness units, are cut off.
    DIRECTIONS = 8
    SCALES = (1, 2)
    THIRDS = 3
    STRONGEST_EDGE = 60

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """(n, d) float32 rows of length 1 for n images, (height, width, 3) uint8 RGB each."""
        return np.stack([self._embed_one(image) for image in images])

    def _embed_one(self, image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        # Square roots, so that a dot product compares distributions (Bhattacharyya's coefficient).
        parts = (np.sqrt(self._colours(lab)), np.sqrt(self._texture(lab[..., 0])))
        return _unit(np.concatenate([_unit(part) for part in parts]))

    def _colours(self, lab: np.ndarray) -> np.ndarray:
        """How many pixels of each third have which colour, smoothed over neighbouring bins."""
        bins, most = np.array(self.BINS), self.MOST_COLOUR
        shares = (lab + np.array([0, most, most])) / [100, 2 * most, 2 * most]
        places = np.clip((shares * bins).astype(int), 0, bins - 1)
        blur = partial(cv2.GaussianBlur, sigmaX=1.5, borderType=cv2.BORDER_CONSTANT)
        counts = []
        for third in np.array_split(places, self.THIRDS):
            count = np.zeros(self.BINS, np.float32)
            np.add.at(count, tuple(third.reshape(-1, 3).T), 1)
            over_colours = blur(count.transpose(1, 2, 0), (5, 5))
            counts.append(blur(over_colours.reshape(-1, self.BINS[0]), (5, 1)).ravel())
        return np.concatenate(counts)

    def _texture(self, lightness: np.ndarray) -> np.ndarray:
        """Mean strength of the edges of each direction, by scale and third."""
        strengths = []
        for scale in self.SCALES:
            size = (lightness.shape[1] // scale, lightness.shape[0] // scale)
            scaled = cv2.resize(lightness, size, interpolation=cv2.INTER_AREA)
            right, down = cv2.Sobel(scaled, cv2.CV_32F, 1, 0), cv2.Sobel(scaled, cv2.CV_32F, 0, 1)
            strength, angle = cv2.cartToPolar(right, down)
            strength = np.minimum(strength, self.STRONGEST_EDGE)
            direction = np.round(angle / np.pi * self.DIRECTIONS).astype(int) % self.DIRECTIONS
            for rows in np.array_split(np.arange(size[1]), self.THIRDS):
                edges = (direction[rows].ravel(), strength[rows].ravel(), self.DIRECTIONS)
                strengths.append(np.bincount(*edges) / strength[rows].size)
        return np.concatenate(strengths)


class TransformersEmbedder:
    """The image tower of a SigLIP or CLIP checkpoint in a folder."""

    from_thumbnails = False

    def __init__(self, checkpoint: str, device: str = "cpu", threads: int = 1) -> None:
        import torch
        from transformers import AutoImageProcessor, AutoModel

        if device == "cpu":
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = device
        self._processor = AutoImageProcessor.from_pretrained(checkpoint, use_fast=False)
        self._model: Any = AutoModel.from_pretrained(checkpoint, dtype=torch.float32)
        self._model = self._model.to(device).eval()

    def embed(self, images: list[np.ndarray]) -> np.ndarray:
        """See `ColorEmbedder.embed`."""
        rows = []
        for start in range(0, len(images), IMAGES_AT_ONCE):
            batch = self._processor(images[start : start + IMAGES_AT_ONCE], return_tensors="pt")
            pixels = batch["pixel_values"].to(self._device, self._model.dtype)
            with self._torch.inference_mode():
                features = self._model.get_image_features(pixel_values=pixels)
            rows.append(self._torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)


Embedder = ColorEmbedder | TransformersEmbedder


def _unit(vector: np.ndarray) -> np.ndarray:
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


def open_embedder(folder: str | None, device: str, threads: int) -> Embedder:
    """The embedder of a checkpoint's folder; without one, that of colour."""
    return ColorEmbedder() if folder is None else TransformersEmbedder(folder, device, threads)


def check_embedder(name: str, checkpoint: str | None) -> str | None:
    """The folder of the embedder's checkpoint, fetched once, before the workers need it; raises
    UserError where it is not here and cannot be fetched, or is no image model."""
    if checkpoint is None or name == "color":
        return None
    from transformers import AutoConfig

    try:
        folder = fetch_checkpoint(checkpoint)
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError):
        raise UserError(
            f"the weights of {checkpoint} are not on this machine and cannot be fetched: give their"
            " folder with --checkpoint DIR, or take --embedder color, which needs none"
        ) from None
    if not hasattr(config, "vision_config"):
        raise UserError(f"--checkpoint {checkpoint}: a {config.model_type} has no image tower")
    return folder


def fetch_checkpoint(where: str) -> str:
    """The folder of a checkpoint: the one named, or the hub's, fetched if it is not here yet."""
    if Path(where).is_dir():
        return where
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return snapshot_download(where, local_files_only=True)
    except LocalEntryNotFoundError:
        # One question first: where there is no network, a download tries again for half a minute.
        HfApi().model_info(where, timeout=10)
        # Transformers reads the other files; these are the same weights for other libraries.
        return snapshot_download(where, ignore_patterns=["*.h5", "*.msgpack", "*.onnx", "*.ot"])


def similarity_matrix(embeddings: np.ndarray) -> list[list[float]]:
    """(n, n) cosine similarities of unit rows, rounded to 4 places, as lists for JSON."""
    cosines = embeddings.astype(np.float64) @ embeddings.astype(np.float64).T
    return np.round(cosines, 4).tolist()
