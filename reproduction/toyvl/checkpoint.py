"""toyvl's architecture and vocabulary: a Qwen2-VL of 0.85 million parameters.

Classes, processor and chat template are Qwen2-VL's own, the sizes are those at which two CPU cores
train it in minutes. A token is a word of the toy world's language; each prompt of the toolkit is
one token too (or one for each piece around what is filled in), so that a tiny model need not read
a hundred words to know what it is asked.
"""

import re
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorFast,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from inference.tiny.tokenizer import QWEN_SPECIAL, QWEN_TURNS
from tools.text import prompts
from toyworld import language
from toyworld.stories import THINGS

UNKNOWN = "<|unknown|>"
PROMPTS = (
    prompts.FIRST_CLIP,
    "Video clip 1:",
    "Video clip 2:",
    prompts.LATER_CLIP,
    prompts.RESPONSE,
    *prompts.QUESTIONS,
)
WORDS = ("system", "user", "assistant", *language.WORDS)
VOCABULARY = 160  # rows of the embedding: tokens, and room for prompts to come

# Programs that talk to Qwen2-VL put a system turn in front, which toyvl has never seen.
CHAT_TEMPLATE = QWEN_TURNS.replace("in messages", "in messages if message.role != 'system'", 1)

FRAME_PIXELS = 28 * 28  # one visual token for two frames
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rope_theta": 10_000.0,
    # A head's 16 frequencies, shared out among time, height and width.
    "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]},
    "tie_word_embeddings": True,
    "initializer_range": 0.08,
}
VISION = {
    "depth": 2,
    "embed_dim": 64,
    "num_heads": 4,
    "mlp_ratio": 2,
    "hidden_size": TEXT["hidden_size"],
    "initializer_range": 0.08,
}


def phrases() -> list[str]:
    """What of the toolkit's prompts is one token: the pieces of text around what is filled in."""
    pieces = [piece.strip() for text in PROMPTS for piece in re.split(r"\{\w+\}", text)]
    pieces += [f"Caption {number}:" for number in range(1, THINGS + 1)]
    pieces += language.template_pieces()
    return [piece for piece in dict.fromkeys(pieces) if piece not in ("", *WORDS)]


def build_tokenizer() -> Qwen2TokenizerFast:
    """A tokenizer of words; spaces and line breaks only part them."""
    tokens = {token: i for i, token in enumerate([*QWEN_SPECIAL, UNKNOWN, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(tokens, UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in QWEN_SPECIAL])
    tokenizer.add_tokens(
        [AddedToken(text, lstrip=True, rstrip=True, normalized=False) for text in phrases()]
    )
    return Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(QWEN_SPECIAL[1:]),
        padding_side="left",
        model_max_length=TEXT["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def build_processor() -> Any:
    """The processor: a frame of any size becomes 28 x 28 pixels, or a strip of such squares."""
    size = {"shortest_edge": FRAME_PIXELS, "longest_edge": FRAME_PIXELS}
    return Qwen2VLProcessor(
        tokenizer=build_tokenizer(),
        image_processor=Qwen2VLImageProcessorFast(size=size),
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: Any, seed: int) -> Qwen2VLForConditionalGeneration:
    """The model with random weights drawn from a seed, in float32."""
    ids = processor.tokenizer.get_vocab()
    if len(ids) > VOCABULARY:
        raise ValueError(f"{len(ids)} tokens do not fit into a vocabulary of {VOCABULARY}")
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    tokens = {"bos_token_id": pad, "eos_token_id": end, "pad_token_id": pad}
    config: Any = Qwen2VLConfig(
        text_config={**TEXT, **tokens, "vocab_size": VOCABULARY},
        vision_config=VISION,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2VLForConditionalGeneration._from_config(config, attn_implementation="sdpa")
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=512,
        bos_token_id=pad,
        pad_token_id=pad,
        eos_token_id=[end, pad],
    )
    return model.float()
