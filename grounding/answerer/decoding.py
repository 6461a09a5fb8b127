"""How an answer's tokens are chosen: greedily, by beams, or drawn from a nucleus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from inference.captioner import Sampling
from inference.engines.sampling import NextToken
from tools.errors import UserError


@dataclass(frozen=True)
class Decoding:
    """How answers are generated; nothing is left to a checkpoint's generation_config.json.

    Attributes:
        max_new_tokens: the answer is cut off here, tokens.
        num_beams: of beam search; 1: none.
        temperature: divides the logits of what is drawn; 0: nothing is drawn.
        top_p: the smallest set of tokens whose probabilities sum to this is drawn from.
        repetition_penalty: divides the logit (multiplies it, if negative) of tokens already in the
            answer.
        top_k: this many most probable tokens are drawn from; 0: all.
        length_penalty: the power of the length by which a beam's log p is divided.

    Raises:
        UserError: a value out of its range, or one that would have no effect.
    """

    max_new_tokens: int = 128
    num_beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        sampling = self.sampling
        if self.num_beams < 1:
            raise UserError(f"num_beams is {self.num_beams}; it must be 1 or more")
        if self.num_beams > 1 and not sampling.is_greedy:
            raise UserError(
                f"num_beams {self.num_beams} and temperature {self.temperature} do not go together:"
                " choose beams, or a nucleus to draw from"
            )
        if self.num_beams == 1 and self.length_penalty != 1:
            raise UserError(f"length_penalty {self.length_penalty} has no effect without num_beams")
        if self.top_p < 1 and not self.temperature:
            raise UserError(f"top_p {self.top_p} has no effect without a temperature, such as 1")
        if self.top_k and not self.temperature:
            raise UserError(f"top_k {self.top_k} has no effect without a temperature, such as 1")

    @property
    def sampling(self) -> Sampling:
        """What chooses the next token where there are no beams."""
        rest = (self.repetition_penalty, self.max_new_tokens)
        return Sampling(self.temperature, self.top_p, self.top_k, *rest)


GREEDY = Decoding()


def generation(
    decoding: Decoding, seeds: Sequence[int], tokenizer: Any, language_model: Any
) -> dict[str, Any]:
    """What `generate` of a language model is passed beside embeddings.

    Args:
        seeds: of each row, for what is drawn.
    """
    end = tokenizer.eos_token_id
    beams: dict[str, Any] = {}
    choose = LogitsProcessorList()
    if decoding.num_beams > 1:
        beams = {
            "num_beams": decoding.num_beams,
            "length_penalty": decoding.length_penalty,
            "repetition_penalty": decoding.repetition_penalty,
        }
    else:
        # The prompt is embeddings, so that its tokens are not penalised, and no padding is here.
        no_prompt = torch.ones(len(seeds), 0, device=language_model.device)
        choose.append(NextToken(decoding.sampling, seeds, no_prompt))
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=end,
        pad_token_id=end if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        decoder_start_token_id=getattr(language_model.config, "decoder_start_token_id", None),
        **beams,
    )
    return {
        "generation_config": settings,
        "logits_processor": choose,
        "use_model_defaults": False,
    }
