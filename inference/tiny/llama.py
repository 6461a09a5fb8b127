"""Tiny random Llama checkpoints: language models that a CPU trains in seconds.

    python -m inference.tiny.checkpoints llama /tmp/tiny

Auto classes load a folder like a released one. The tokenizer is that of `inference.tiny.blip`: a
word is one token, any other text is spelt out in its bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from inference.tiny.blip import AROUND, SPECIAL, sentencepiece
from inference.tiny.tokenizer import WORDS

# Fewer heads of keys than of queries, as in Llama 3.
CONFIG: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.08,
}


def build(folder: Path, seed: int = 0, words: Sequence[str] = WORDS, **config: Any) -> Path:
    """Write a checkpoint folder whose weights are drawn from a seed, in float32.

    Args:
        words: what is one token each; the fewer, the sooner the model learns them.
        config: entries of LlamaConfig that replace those of CONFIG.
    """
    special = SPECIAL["llama"]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=sentencepiece(words, list(special.values()), AROUND["llama"]),
        model_max_length=2048,
        **special,
    )
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in special.items()}
    settings = {**CONFIG, "vocab_size": len(tokenizer), **ids, **config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
