"""The frozen CLIP: tokens of frames and of text lines, and vectors of questions and options.

The default is CLIP as it was trained: its own processor, the norm that its projection stands
behind, means over a text's own tokens. The faithful preset is the public code's: frames are
squashed to a square, that norm is left out, texts are padded to a fixed length and nothing is
masked.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch
from torch import Tensor

from tools.errors import UserError
from tools.features.clip import Clip

# Lengths of texts in the public code, tokens.
LINE_SLOTS, OPTION_SLOTS = 32, 64
TEXTS_AT_ONCE = 64
FRAMES_AT_ONCE = 16


class Encoder(Clip):
    """A CLIP checkpoint in a folder, on a device."""

    def __init__(
        self,
        folder: str,
        faithful: bool = False,
        tokens: int | None = None,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        """Args: tokens: of a frame, 1 + a square number, to which its patches are averaged; None:
        all of them."""
        super().__init__(folder, device, threads)
        self.faithful, self.tokens, self.device = faithful, tokens, device
        if faithful:
            from PIL.Image import Resampling

            side = self._model.config.vision_config.image_size
            self._processor.size = {"height": side, "width": side}
            self._processor.do_center_crop = False
            self._processor.resample = Resampling.BILINEAR

    @torch.inference_mode()
    def frames(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(T, N, d) float16 tokens of uint8 RGB pictures, the class token first.

        Raises:
            UserError: the patches cannot be averaged to `tokens`.
        """
        parts = []
        vision = self._model.vision_model
        for start in range(0, len(pictures), FRAMES_AT_ONCE):
            batch = self._processor(
                list(pictures[start : start + FRAMES_AT_ONCE]), return_tensors="pt"
            )
            states = vision(pixel_values=batch["pixel_values"].to(self.device)).last_hidden_state
            if not self.faithful:
                states = vision.post_layernorm(states)
            parts.append(averaged(self._model.visual_projection(states), self.tokens))
        return np.asarray(torch.cat(parts).cpu()).astype(np.float16)

    def lines(self, texts: Sequence[str]) -> list[np.ndarray]:
        """(L, d) float16 tokens of each text, with BOS and EOS; in the faithful preset all have
        LINE_SLOTS."""
        slots = LINE_SLOTS if self.faithful else None
        rows = []
        for states, mask in self._states(texts, slots):
            lengths = mask.sum(1).tolist()
            rows += [
                np.asarray(own[: slots or length].cpu()).astype(np.float16)
                for own, length in zip(states, lengths, strict=True)
            ]
        return rows

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float16 means over the tokens of each text without BOS; in the faithful preset
        over OPTION_SLOTS slots, BOS and padding too."""
        rows = []
        for states, mask in self._states(texts, OPTION_SLOTS if self.faithful else None):
            if self.faithful:
                means = states.mean(1)
            else:
                own = mask[:, 1:, None].to(states)
                means = (states[:, 1:] * own).sum(1) / own.sum(1)
            rows.append(np.asarray(means.cpu()).astype(np.float16))
        return np.concatenate(rows)

    @torch.inference_mode()
    def _states(self, texts: Sequence[str], slots: int | None) -> list[tuple[Tensor, Tensor]]:
        """(n, L, d) projected states and their mask, a batch at a time."""
        most = self._model.config.text_config.max_position_embeddings
        batches = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = self._tokenizer(
                list(texts[start : start + TEXTS_AT_ONCE]),
                padding="max_length" if slots else True,
                truncation=True,
                max_length=min(slots or most, most),
                return_tensors="pt",
            ).to(self.device)
            mask = None if self.faithful else batch["attention_mask"]
            states = self._model.text_model(input_ids=batch["input_ids"], attention_mask=mask)
            projected = self._model.text_projection(states.last_hidden_state)
            batches.append((projected, batch["attention_mask"]))
        return batches


def averaged(tokens: Tensor, count: int | None) -> Tensor:
    """(T, count, d): the class token, and the patches averaged to a square; (T, N, d) as they are
    where count is None.

    Raises:
        UserError: count - 1 is no square, or larger than that of the patches.
    """
    if count is None:
        return tokens
    side, own = isqrt(count - 1), isqrt(tokens.shape[1] - 1)
    if side**2 != count - 1 or not 0 < side <= own:
        raise UserError(
            f"--tokens {count}: take 1 + a square number of patches, at most 1 + {own} x {own}"
        )
    patches = tokens[:, 1:].transpose(1, 2).unflatten(2, (own, own))
    pooled = torch.nn.functional.adaptive_avg_pool2d(patches, side).flatten(2).transpose(1, 2)
    return torch.cat([tokens[:, :1], pooled], 1)
