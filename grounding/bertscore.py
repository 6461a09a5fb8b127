"""BERTScore: how alike two texts are by the vectors of their words in context."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from inference.checkpoints import local_folder


class BertScore:
    """F1 of BERTScore (Zhang et al., ICLR 2020), of which frequent words count as much as rare
    ones, and which is not rescaled."""

    def __init__(self, checkpoint: str, layer: int = -1) -> None:
        """Read the encoder.

        Args:
            checkpoint: folder or id of an encoder such as roberta-large.
            layer: whose vectors are compared; 0: the embeddings, -1: the last one.

        Raises:
            UserError: the checkpoint is not there.
        """
        folder = local_folder(checkpoint)
        self._tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
        self._model = AutoModel.from_pretrained(folder).eval()
        self._layer = layer

    def scores(self, answers: Sequence[str], gold: str) -> list[float]:
        """The score of each answer, 0 to 1; 0 where one of the texts has no token."""
        vectors = self._vectors([gold, *answers])
        return [self._f1(answer, vectors[0]) for answer in vectors[1:]]

    @torch.inference_mode()
    def _vectors(self, texts: Sequence[str]) -> list[Tensor]:
        """The unit vectors of each text's own tokens, (tokens, width)."""
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        special = batch.pop("special_tokens_mask").bool()
        hidden = self._model(**batch, output_hidden_states=True).hidden_states[self._layer]
        units = torch.nn.functional.normalize(hidden, dim=-1)
        return [row[~skipped] for row, skipped in zip(units, special, strict=True)]

    def _f1(self, answer: Tensor, gold: Tensor) -> float:
        if not len(answer) or not len(gold):
            return 0.0
        alike = answer @ gold.T
        precision, recall = (alike.max(side).values.mean().item() for side in (1, 0))
        if precision <= 0 or recall <= 0:
            return 0.0
        return min(1.0, 2 * precision * recall / (precision + recall))
