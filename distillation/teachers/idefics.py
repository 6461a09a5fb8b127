"""IDEFICS of the first generation (Laurençon et al. 2023, arXiv 2306.16527), the open model that is
built as Flamingo is: 64 latents a frame, which gated layers of cross-attention read.

A text token sees the frame before it alone, as in training; the frames before that reach it
through the states of their own tokens. `attend_all` lets what follows the last frame see all.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from distillation.teachers.teacher import Case, LocalTeacher, View, Weights, whole_network
from inference.checkpoints import local_folder
from tools.text.chat import IDEFICS_AFTER, IDEFICS_BEFORE

CHECKPOINT = "HuggingFaceM4/idefics-9b-instruct"


class Idefics(LocalTeacher):
    """IdeficsForVisionText2Text with its own processor."""

    model_type = "idefics"
    processor: Any

    def __init__(
        self,
        name: str,
        checkpoint: str,
        view: View | None = None,
        weights: Weights | None = None,
        attend_all: bool = False,
    ) -> None:
        super().__init__(name, checkpoint, view, weights)
        self.attend_all = attend_all

    def fingerprint(self) -> dict[str, Any]:
        return {**super().fingerprint(), "attend_all": self.attend_all}

    def open(self, device: str) -> None:
        from transformers import IdeficsForVisionText2Text, IdeficsProcessor

        folder = local_folder(self.checkpoint)
        self.processor = IdeficsProcessor.from_pretrained(folder)
        self.tokenizer = self.processor.tokenizer
        arguments = self.weights.arguments(device)
        self.network = whole_network(IdeficsForVisionText2Text, folder, arguments)

    def encode(self, case: Case, prompt: str) -> dict[str, Any]:
        from PIL import Image

        pictures = [Image.fromarray(np.ascontiguousarray(frame)) for frame in case.frames]
        inputs = self.processor(
            text=[[IDEFICS_BEFORE, *pictures, prompt, *IDEFICS_AFTER]],
            add_end_of_utterance_token=False,
            return_tensors="pt",
        )
        inputs = dict(inputs.to(self.network.device, self.network.dtype))
        if self.attend_all:
            frame = inputs["input_ids"][0] == self.processor.image_token_id
            inputs["image_attention_mask"][:, int(frame.nonzero()[-1]) :] = 1
        return inputs

    def further(self, inputs: dict[str, Any], begun: Any) -> Callable[[int, int], dict[str, Any]]:
        """The frames' latents, and the mask of the prompt's last token for every token after it."""
        latents, mask = begun.image_hidden_states, inputs["image_attention_mask"][:, -1:]

        def more(answers: int, tokens: int) -> dict[str, Any]:
            return {
                "perceiver_embeddings": latents.expand(answers, -1, -1, -1),
                "image_attention_mask": mask.expand(answers, tokens, -1),
            }

        return more
