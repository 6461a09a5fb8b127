"""Tiny random BLIP-2 and InstructBLIP checkpoints: image models that a CPU trains in seconds.

    python -m inference.tiny.checkpoints blip2_t5 /tmp/tiny

Auto classes load a folder like a released one. A word is one token, any other text is spelt out in
its bytes, and the special tokens have the names and places that they have in Flan-T5 and Vicuna.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from inference.tiny.tokenizer import WORDS
from tools.text.chat import QUESTION_PROMPT

# Family -> model_type of the whole, model_type of its language model.
FAMILIES = {
    "blip2_t5": ("blip-2", "t5"),
    "instructblip_llama": ("instructblip", "llama"),
    "instructblip_t5": ("instructblip", "t5"),
}
CLASSES: dict[str, Any] = {
    "blip-2": (transformers.Blip2ForConditionalGeneration, transformers.Blip2Processor),
    "instructblip": (
        transformers.InstructBlipForConditionalGeneration,
        transformers.InstructBlipProcessor,
    ),
}
WIDTH = 64
QUERIES = 4
# The library's own range of the vision weights, 1e-10, makes all frames look alike, and its queries
# of zero make all visual tokens of a frame equal.
INITIALIZER_RANGE = 0.08
QUERY_STD = 0.5
LAYERS = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 4}
VISION = {
    **LAYERS,
    "num_hidden_layers": 2,
    "image_size": 56,
    "patch_size": 14,
    "initializer_range": INITIALIZER_RANGE,
}
QFORMER = {
    **LAYERS,
    "num_hidden_layers": 2,
    "cross_attention_frequency": 1,
    "encoder_hidden_size": WIDTH,
    "initializer_range": INITIALIZER_RANGE,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
TEXT: dict[str, dict[str, Any]] = {
    "t5": {
        "d_model": WIDTH,
        "d_kv": WIDTH // 4,
        "d_ff": 2 * WIDTH,
        "num_layers": 2,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "tie_word_embeddings": False,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    },
    "llama": {
        **LAYERS,
        "num_hidden_layers": 3,
        "max_position_embeddings": 2048,
        "initializer_range": INITIALIZER_RANGE,
    },
}
# Special tokens in the order of their ids, and what the tokenizer puts around a text.
SPECIAL: dict[str, dict[str, str]] = {
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    "llama": {
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "[PAD]",
    },
}
AROUND = {"t5": "$A </s>", "llama": "<s> $A"}


def build(family: str, folder: Path, seed: int = 0, words: Sequence[str] = WORDS) -> Path:
    """Write a checkpoint folder of 0.4 million weights drawn from a seed, in float32.

    Args:
        family: one of FAMILIES.
        words: what is one token each, beside the words of the prompt; the fewer, the sooner the
            model learns them.
    """
    words = [*QUESTION_PROMPT.replace("{question}", "").split(), *words]
    model_type, text_type = FAMILIES[family]
    model_class, processor_class = CLASSES[model_type]
    special = SPECIAL[text_type]
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=sentencepiece(words, list(special.values()), AROUND[text_type]),
        truncation_side="left",
        model_max_length=512,
        **special,
    )
    size = {"height": VISION["image_size"], "width": VISION["image_size"]}
    parts: dict[str, Any] = {"image_processor": transformers.BlipImageProcessorFast(size=size)}
    qformer = dict(QFORMER)
    if model_type == "instructblip":
        parts["qformer_tokenizer"] = wordpiece(words)
        qformer["vocab_size"] = len(parts["qformer_tokenizer"])
    processor: Any = processor_class(tokenizer=tokenizer, num_query_tokens=QUERIES, **parts)
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in special.items()}
    text = {"model_type": text_type, "vocab_size": len(tokenizer), **TEXT[text_type], **ids}
    config = transformers.AutoConfig.for_model(
        model_type,
        vision_config=VISION,
        qformer_config=qformer,
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class._from_config(config, dtype=torch.float32)
        torch.nn.init.normal_(model.query_tokens, std=QUERY_STD)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def sentencepiece(words: Sequence[str], special: Sequence[str], around: str) -> Tokenizer:
    """A BPE tokenizer with byte fallback that begins each word with "▁", as SentencePiece does."""
    ids = {token: number for number, token in enumerate(special)}
    ids |= {f"<0x{byte:02X}>": len(ids) + byte for byte in range(256)}
    merges = []
    for word in words:
        for character in f"▁{word}":
            ids.setdefault(character, len(ids))
        for end in range(1, len(word) + 1):
            longer = f"▁{word[:end]}"
            if longer not in ids:
                ids[longer] = len(ids)
                merges.append((longer[:-1], longer[-1]))
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, ids[token]) for token in special if token in around]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1),
        ]
    )
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def wordpiece(words: Sequence[str] = WORDS) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of the Q-Former, as BERT's: lower case, other words in characters."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    tokens = [*special, *letters, *(f"##{letter}" for letter in letters), *map(str.lower, words)]
    ids = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, ids[token]) for token in special[2:]]
    )
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(list(special))
    names = ("pad_token", "unk_token", "cls_token", "sep_token")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        truncation_side="left",
        model_max_length=512,
        **dict(zip(names, special, strict=True)),
    )
