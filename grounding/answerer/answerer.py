"""The answerer: BLIP-2 or InstructBLIP, which answers a question from a few frames of a video.

The parts of the library's classes are called one after the other: vision tower, Q-Former frame by
frame, language projection, language model. The language model reads embeddings, [visual tokens;
prompt] or [visual tokens; prompt; answer], so a prompt needs no placeholders, and one batch can
hold videos, images and texts (VideoTGB, arXiv 2402.16050).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from grounding.answerer.decoding import GREEDY, Decoding, generation
from tools.errors import UserError, did_you_mean
from tools.text.chat import QUESTION_PROMPT

FAMILIES = ("blip-2", "instructblip")  # model_type in a checkpoint's config.json
FUSIONS = ("concat", "mean")
IGNORED = -100  # the label of a token that the loss leaves out

# What of the answerer each stage trains, by the beginnings of the parameters' names; "lora": and
# the adapters in the language model. `tg` trains the grounding bridge, and needs no answerer.
VISUAL = ("qformer.", "language_projection.")
TRAINED: dict[str, tuple[str, ...]] = {
    "tg": (),
    "iv": (*VISUAL, "query_tokens"),
    "ivt": (*VISUAL, "query_tokens", "lora"),
    "sf": (*VISUAL, "query_tokens"),
    "video": VISUAL,
    "language": (*VISUAL, "query_tokens", "language_model."),  # sf, and the LLM
}
LORA: dict[str, Any] = {
    "r": 8,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
}  # on peft's default targets: q and v


class Example(NamedTuple):
    """A question to the answerer.

    Attributes:
        frames: (height, width, 3) uint8 RGB each, in time order; one of an image, none of a text.
        question: with the turns before it, without the prompt around it.
        answer: what it learns to say; None at inference.
    """

    frames: Sequence[np.ndarray]
    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Settings:
    """What a trained answerer is; it stands beside its weights.

    Attributes:
        base: the checkpoint that it was made of, a folder or an id on the hub.
        family: the model_type of that checkpoint.
        stage: which parts were trained, one of TRAINED; None: those of the base as they are.
        fusion: concat: the visual tokens of all frames, one after the other; mean: their mean over
            the frames.
        prompt: what stands around {question}.
        nframe: frames of a video that it was trained on.
        max_text: longest prompt, of which the beginning is cut off, and longest answer, tokens.
    """

    base: str
    family: str
    stage: str | None = None
    fusion: str = "concat"
    prompt: str = QUESTION_PROMPT
    nframe: int = 4
    max_text: int = 128

    def __post_init__(self) -> None:
        """Raises UserError where a value cannot be."""
        _check("family", self.family, FAMILIES)
        _check("fusion", self.fusion, FUSIONS)
        _check("stage", self.stage, [None, *TRAINED])
        if "{question}" not in self.prompt:
            raise UserError(f"the answerer's prompt {self.prompt!r} lacks {{question}}")


def _check(name: str, value: str | None, choices: Iterable[str | None]) -> None:
    if value not in choices:
        names = [str(choice) for choice in choices if choice]
        hint = did_you_mean(str(value), names)
        raise UserError(f"answerer: {name} is {value!r}, not one of {', '.join(names)}{hint}")


class Answerer(nn.Module):
    """The model, its processor and its settings; `grounding.answerer.weights` opens and saves it.

    Parts that the stage does not train stay frozen and in eval mode. Trained ones are float32,
    whatever the precision of the others.
    """

    def __init__(self, model: Any, processor: Any, settings: Settings) -> None:
        super().__init__()
        self.model, self.processor, self.settings = model, processor, settings
        self.is_encoder_decoder: bool = model.language_model.config.is_encoder_decoder
        if "lora" in TRAINED.get(settings.stage or "", ()):
            from peft import LoraConfig, inject_adapter_in_model

            kind = "SEQ_2_SEQ_LM" if self.is_encoder_decoder else "CAUSAL_LM"
            inject_adapter_in_model(LoraConfig(task_type=kind, **LORA), model.language_model)
        trained = set(self.trainable(settings.stage))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
            if name in trained:
                parameter.data = parameter.data.float()
        for tokenizer in (processor.tokenizer, getattr(processor, "qformer_tokenizer", None)):
            if tokenizer is not None:  # the question and what follows it are the end of a prompt
                tokenizer.truncation_side = "left"
        self.train(False)

    def trainable(self, stage: str | None) -> list[str]:
        """The names of the parameters of `model` that a stage trains."""
        begins = TRAINED.get(stage or "", ())
        return [
            name
            for name, _ in self.model.named_parameters()
            if name.startswith(begins) or ("lora" in begins and ".lora_" in name)
        ]

    def train(self, mode: bool = True) -> "Answerer":
        """Switch the trained parts to training; frozen ones stay as at inference."""
        super().train(mode)
        for part in self.model.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def encode(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """A batch of the examples, which `forward` and `generate` take.

        Returns:
            prompt_ids, prompt_mask: (B, W); answer_ids, answer_mask: (B, A), with one token that
            ends the answer, where all examples have answers; widths: (B,) frames of each row;
            pixel_values: (all frames, 3, height, width), row by row; of InstructBLIP, qformer_ids,
            qformer_mask: (B, V). A mask is 1 where a token stands.
        """
        prompts = [self.settings.prompt.replace("{question}", row.question) for row in examples]
        tokenizer, longest = self.processor.tokenizer, self.settings.max_text
        cut = {"truncation": True, "max_length": longest}
        batch = _padded("prompt", tokenizer(prompts, **cut)["input_ids"])
        answers = [row.answer for row in examples if row.answer is not None]
        if len(answers) == len(examples):
            ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
            batch |= _padded("answer", [[*row[:longest], tokenizer.eos_token_id] for row in ids])
        if self.settings.family == "instructblip":
            batch |= _padded(
                "qformer", self.processor.qformer_tokenizer(prompts, **cut)["input_ids"]
            )
        batch["widths"] = torch.tensor([len(row.frames) for row in examples])
        frames = [frame for row in examples for frame in row.frames]
        size = self.model.config.vision_config.image_size
        batch["pixel_values"] = torch.zeros(0, 3, size, size)
        if frames:
            images = self.processor.image_processor(frames, return_tensors="pt")
            batch["pixel_values"] = images["pixel_values"]
        return batch

    def forward(
        self,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        widths: Tensor,
        pixel_values: Tensor,
        qformer_ids: Tensor | None = None,
        qformer_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """{"loss": mean cross-entropy of the answers' tokens, nats}; arguments as of `encode`."""
        visual = self._visual(widths, pixel_values, qformer_ids, qformer_mask)
        prompts, answers = _rows(prompt_ids, prompt_mask), _rows(answer_ids, answer_mask)
        embed = self.model.get_input_embeddings()
        if self.is_encoder_decoder:
            rows = [[seen, embed(prompt)] for seen, prompt in zip(visual, prompts, strict=True)]
            labels = answers
        else:
            rows, labels = [], []
            for seen, prompt, answer in zip(visual, prompts, answers, strict=True):
                rows.append([seen, embed(prompt), embed(answer)])
                before = answer.new_full((len(seen) + len(prompt),), IGNORED)
                labels.append(torch.cat([before, answer]))
        embeds, mask = _joined(rows, "right")
        padded = pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        loss = self.model.language_model(
            inputs_embeds=embeds, attention_mask=mask, labels=padded
        ).loss
        if not len(pixel_values):
            # A batch of texts alone: every trained part takes part, as processes that average
            # their gradients expect.
            loss = loss + 0 * sum(p.sum() for p in self.parameters() if p.requires_grad)
        return {"loss": loss}

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a batch of `encode`."""
        return self(**batch)["loss"]

    @torch.no_grad()
    def generate_ids(
        self,
        batch: dict[str, Tensor],
        decoding: Decoding = GREEDY,
        seeds: Sequence[int] | None = None,
    ) -> Tensor:
        """The ids of the answers to a batch of `encode`, (B, A), in eval mode; they depend on no
        other row. An answer that ends by itself holds the tokenizer's eos_token_id.

        Args:
            seeds: of each row, for decoding that draws; None: 0.
        """
        was_training = self.training
        self.eval()
        try:
            others = (batch.get("qformer_ids"), batch.get("qformer_mask"))
            visual = self._visual(batch["widths"], batch["pixel_values"], *others)
            prompts = _rows(batch["prompt_ids"], batch["prompt_mask"])
            embed = self.model.get_input_embeddings()
            rows = [[seen, embed(prompt)] for seen, prompt in zip(visual, prompts, strict=True)]
            embeds, mask = _joined(rows, "right" if self.is_encoder_decoder else "left")
            return self.model.language_model.generate(
                inputs_embeds=embeds,
                attention_mask=mask,
                **generation(
                    decoding,
                    seeds or [0] * len(rows),
                    self.processor.tokenizer,
                    self.model.language_model,
                ),
            )
        finally:
            self.train(was_training)
            # Autocast has kept copies of the weights that have no gradient.
            torch.clear_autocast_cache()

    def generate(
        self,
        batch: dict[str, Tensor],
        decoding: Decoding = GREEDY,
        seeds: Sequence[int] | None = None,
    ) -> list[str]:
        """The answers to a batch of `encode`; see `generate_ids`."""
        ids = self.generate_ids(batch, decoding, seeds)
        texts = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def answer(self, examples: Sequence[Example], decoding: Decoding = GREEDY) -> list[str]:
        """The answers to the examples, one batch."""
        device = self.model.query_tokens.device
        batch = {name: value.to(device) for name, value in self.encode(examples).items()}
        return self.generate(batch, decoding)

    def _visual(
        self,
        widths: Tensor,
        pixel_values: Tensor,
        qformer_ids: Tensor | None,
        qformer_mask: Tensor | None,
    ) -> list[Tensor]:
        """The visual tokens of each row, (tokens, width of the language model); none of a text."""
        model, counts = self.model, widths.tolist()
        embedding = model.get_input_embeddings().weight
        if not sum(counts):
            return [embedding.new_zeros(0, embedding.shape[1])] * len(counts)
        seen = model.vision_model(pixel_values=pixel_values).last_hidden_state
        kind = next(model.qformer.parameters()).dtype
        queries = model.query_tokens.to(kind).expand(len(seen), -1, -1)
        words = {}
        if qformer_ids is not None and qformer_mask is not None:
            before = qformer_mask.new_ones(queries.shape[:2])
            mask = torch.cat([before, qformer_mask.repeat_interleave(widths, 0)], 1)
            words = {"input_ids": qformer_ids.repeat_interleave(widths, 0), "attention_mask": mask}
        read = model.qformer(
            query_embeds=queries, encoder_hidden_states=seen.to(kind), **words
        ).last_hidden_state[:, : queries.shape[1]]
        # The projection is linear but for its constant: the mean may as well come after it.
        tokens = model.language_projection(read.to(model.language_projection.weight.dtype))
        frames = tokens.to(embedding.dtype).split(counts)
        if self.settings.fusion == "mean":
            return [row.mean(0) if len(row) else row.flatten(0, 1) for row in frames]
        return [row.flatten(0, 1) for row in frames]


def _padded(name: str, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Ids and mask of rows of tokens, whatever side a tokenizer pads on."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return {f"{name}_ids": ids, f"{name}_mask": mask}


def _rows(ids: Tensor, mask: Tensor) -> list[Tensor]:
    """The tokens of each row, without padding."""
    return [row[keep] for row, keep in zip(ids, mask.bool(), strict=True)]


def _joined(rows: Sequence[Sequence[Tensor]], side: str) -> tuple[Tensor, Tensor]:
    """Embeddings (B, L, width) and mask (B, L) of the parts of each row, padded on a side."""
    whole = [torch.cat(list(parts)) for parts in rows]
    embeds = pad_sequence(whole, batch_first=True, padding_side=side)
    ones = [torch.ones(len(row), dtype=torch.long, device=row.device) for row in whole]
    return embeds, pad_sequence(ones, batch_first=True, padding_side=side)
