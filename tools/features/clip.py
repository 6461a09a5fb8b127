"""Both towers of CLIP: pictures and texts as vectors of one space."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tools.errors import UserError
from tools.features.embedding import TransformersEmbedder, fetch_checkpoint

CLIP = "openai/clip-vit-large-patch14"


class Clip(TransformersEmbedder):
    """A CLIP checkpoint in a folder. `embed` reads pictures, `embed_texts` reads texts; `width` is
    the length of a vector."""

    def __init__(self, checkpoint: str, device: str = "cpu", threads: int = 1) -> None:
        super().__init__(checkpoint, device, threads)
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.width: int = self._model.config.projection_dim

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, width) float32 rows of length 1 for n texts; what a text has beyond CLIP's 77 tokens
        is not read."""
        most = self._model.config.text_config.max_position_embeddings
        batch = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=most, return_tensors="pt"
        ).to(self._device)
        with self._torch.inference_mode():
            features = self._model.get_text_features(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            )
        rows: Any = self._torch.nn.functional.normalize(features.float(), dim=-1)
        return np.asarray(rows.cpu())


def check_clip(checkpoint: str) -> str:
    """The folder of a CLIP checkpoint, fetched once, before the workers need it.

    Raises:
        UserError: it is not here and cannot be fetched, or it is no CLIP.
    """
    from transformers import AutoConfig

    try:
        folder = fetch_checkpoint(checkpoint)
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError):
        raise UserError(
            f"the weights of {checkpoint} are not on this machine and cannot be fetched: give the"
            " folder of a CLIP checkpoint with --clip DIR"
        ) from None
    if config.model_type != "clip":
        raise UserError(f"--clip {checkpoint}: a {config.model_type} is no CLIP")
    return folder
