"""Any video LLM of the transformers library as a captioner: one checkpoint on one device, in
batches.

What differs between families is data in models.yaml. Requests are decoded, put through the
processor and padded in another thread, two batches ahead of the model.
"""

import inspect
import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import cv2

from inference.captioner import Answer, Request, Sampling
from inference.checkpoints import check_checkpoint, digest, local_folder
from inference.engines.batches import BatchedCaptioner, Inputs, is_out_of_memory
from tools.errors import UserError

PIXELS_A_TOKEN = 28 * 28 * 2  # of two frames, to guess how long a request is
CHARACTERS_A_TOKEN = 4


class HuggingFaceCaptioner(BatchedCaptioner):
    """A checkpoint through AutoProcessor and AutoModelForImageTextToText."""

    def fingerprint(self) -> dict[str, Any]:
        return {
            "engine": "huggingface",
            "weights": digest(self.checkpoint),
            "video": self.model.video,
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def check(self, device: str, sampling: Sampling, frames: int) -> None:
        """Fetch the checkpoint once for all workers, and see that it can be run."""
        check_checkpoint(self.checkpoint, self.trust_remote_code)

    def load(self, device: str, threads: int) -> None:
        """Load processor and weights: bfloat16 and flash-attention where the device has them,
        float32 and torch's own attention elsewhere.

        Raises:
            UserError: it cannot be loaded, or has no chat template.
        """
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor
        from transformers.utils import is_flash_attn_2_available, logging

        if device == "cpu":
            from transformers.masking_utils import AttentionMaskInterface

            from inference.engines.decoding import padded_causal_mask

            AttentionMaskInterface.register("sdpa", padded_causal_mask)
        logging.set_verbosity_error()
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        cv2.setNumThreads(threads)
        # bfloat16 and flash-attention need a GPU of compute capability 8.0 (Ampere) or later.
        ampere = device.startswith("cuda") and torch.cuda.get_device_capability(device) >= (8, 0)
        flash = ampere and is_flash_attn_2_available()
        folder = local_folder(self.checkpoint)
        try:
            self.processor = AutoProcessor.from_pretrained(
                folder, trust_remote_code=self.trust_remote_code
            )
            network: Any = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=torch.bfloat16 if ampere else torch.float32,
                attn_implementation="flash_attention_2" if flash else "sdpa",
                # Straight to the device: eight workers' copies need not meet in the host's memory.
                device_map={"": device},
                trust_remote_code=self.trust_remote_code,
            )
        # Truncated weights, a missing tokenizer, memory: each library has errors of its own.
        except Exception as error:
            what = next(iter(str(error).strip().splitlines()), type(error).__name__)
            hint = "; start fewer workers a GPU" if is_out_of_memory(error) else ""
            raise UserError(
                f"{self.checkpoint} cannot be loaded on {device}: {what}{hint}"
            ) from error
        if not getattr(self.processor, "chat_template", None):
            raise UserError(
                f"{self.checkpoint} has no chat template, so it cannot be asked anything"
            )
        self.network: Any = network
        self.tokenizer = self.processor.tokenizer
        self.tokenizer.padding_side = "left"
        ends = self.network.generation_config.eos_token_id or self.tokenizer.eos_token_id
        self.ends: list[int] = [ends] if isinstance(ends, int) else list(ends)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token_id = self.ends[0]
        self.accepted = inspect.signature(self.network.forward).parameters.keys()
        # A fast tokenizer cannot be used by two threads at once.
        self._processing = threading.Lock()

    def generate(
        self, requests: Iterable[Request], sampling: Sampling
    ) -> Iterator[tuple[int, Answer | Exception]]:
        """Answer in batches of requests of like length; see `inference.captioner.Captioner`."""
        return self.in_batches(requests, guessed_tokens, self.inputs, partial(self._run, sampling))

    def inputs(self, requests: Sequence[Request]) -> Inputs:
        """The model's inputs for a batch, left-padded, on the CPU."""
        chats = [self.chat(request) for request in requests]
        given: dict[str, Any] = {}
        if metadata := [entry for _, _, own in chats for entry in own]:
            # Nested, a list a request, as SmolVLM's processor wants it; the others flatten it.
            given["videos"] = [videos for _, videos, _ in chats if videos]
            given["videos_kwargs"] = {
                "do_sample_frames": False,
                "video_metadata": metadata,
                # Once more: Qwen2.5-VL's processor of transformers 4 reads it here alone.
                "fps": [entry["fps"] for entry in metadata],
                **self.model.video,
            }
        with self._processing:
            inputs = self.processor(
                text=[text for text, _, _ in chats],
                text_kwargs={"padding": True},
                return_tensors="pt",
                **given,
            )
        if "token_type_ids" not in self.accepted:
            inputs.pop("token_type_ids", None)
        return inputs.to(self.network.dtype)

    def answer_tokens(self, text: str) -> list[int]:
        """The token ids of an answer and of its end, tokenized apart from the prompt as in
        training, whose last token then merges with nothing."""
        with self._processing:
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        return [*ids, self.tokenizer.eos_token_id]

    def _run(self, sampling: Sampling, inputs: Inputs, batch: Sequence[Request]) -> list[Answer]:
        import torch
        from transformers import GenerationConfig

        from inference.engines.decoding import preallocated_cache
        from inference.engines.sampling import NextToken

        inputs = self.on_device(inputs)
        if self.network.device.type == "cpu":
            inputs["past_key_values"] = preallocated_cache()
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=False,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        # The checkpoint's own decoding must add nothing to this.
        self.network.generation_config = config
        with torch.inference_mode():
            written = self.network.generate(
                **inputs,
                generation_config=config,
                logits_processor=[
                    NextToken(sampling, [r.seed for r in batch], inputs["attention_mask"])
                ],
            )
        written = written[:, inputs["input_ids"].shape[1] :].tolist()
        return [self._read(tokens, sampling.max_new_tokens) for tokens in written]

    def on_device(self, inputs: Inputs) -> dict[str, Any]:
        """A batch's inputs where the model is."""
        import torch

        # Not in place: who holds the batch would hold its pixels on the device.
        device = self.network.device
        return {
            name: value.to(device) if torch.is_tensor(value) else value
            for name, value in inputs.items()
        }

    def _read(self, tokens: list[int], limit: int) -> Answer:
        """Special tokens stay in the text, so that an answer that holds one is filtered."""
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        reason = "length" if end is None and len(tokens) >= limit else "stop"
        with self._processing:
            text = self.tokenizer.decode(tokens[:end], clean_up_tokenization_spaces=False)
        return Answer(text.strip(), reason)


def guessed_tokens(request: Request) -> int:
    """About how many tokens a request has, for sorting."""
    return sum(
        sum(frame.size // 3 for frame in part["video"]) // PIXELS_A_TOKEN
        if part["type"] == "video"
        else len(part["text"]) // CHARACTERS_A_TOKEN
        for part in request.parts
    )
