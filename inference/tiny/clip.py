"""A tiny random CLIP, both towers of which a CPU trains in seconds.

    python -m inference.tiny.checkpoints clip /tmp/tiny

Auto classes load a folder like a released one. A word is one token; any other text is spelt out.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from inference.tiny.blip import wordpiece
from inference.tiny.tokenizer import WORDS

WIDTH = 64  # of a vector
LOGIT_SCALE = 100.0  # where CLIP's training ends; the library's own start is 1 / 0.07
LAYERS = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
IMAGE = 28  # pixels along a side
MOST_TOKENS = 77


def build(
    family: str,
    folder: Path,
    seed: int = 0,
    words: Sequence[str] = WORDS,
    logit_scale: float = LOGIT_SCALE,
    text: Mapping[str, Any] = {},
    vision: Mapping[str, Any] = {},
) -> Path:
    """Write a checkpoint folder of 0.2 million weights drawn from a seed, in float32.

    Args:
        family: "clip".
        words: what is one token each; the fewer, the sooner the model learns them.
        text, vision: entries of the towers' configurations that replace those here.
    """
    assert family == "clip"
    tokenizer = wordpiece(words)
    tokenizer.truncation_side = "right"
    tokenizer.model_max_length = MOST_TOKENS
    special = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
    }
    config = transformers.CLIPConfig(
        text_config={
            **LAYERS,
            **special,
            "num_hidden_layers": 2,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": MOST_TOKENS,
            **text,
        },
        vision_config={
            **LAYERS,
            "num_hidden_layers": 2,
            "image_size": IMAGE,
            "patch_size": IMAGE // 4,
            **vision,
        },
        projection_dim=WIDTH,
        logit_scale_init_value=math.log(logit_scale),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.CLIPModel(config)
    side = config.vision_config.image_size
    size = {"shortest_edge": side}
    crop = {"height": side, "width": side}
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessor(size=size, crop_size=crop).save_pretrained(folder)
    return folder
