"""Tiny random video LLMs as checkpoint folders, built offline in seconds, for tests and benchmarks.

    python -m inference.tiny.checkpoints qwen2vl /tmp/tiny

All but the weights is as in a released checkpoint: Auto classes, servers and ms-swift load it. The
weights are wide random numbers, so greedy text changes with every frame and every word of the
prompt; the words come from WORDS, and an answer ends by itself, mostly within 200 of them.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

from inference.tiny.tokenizer import (
    LLAVA_SPECIAL,
    LLAVA_TEMPLATE,
    QWEN_FIRST_SPECIAL,
    QWEN_SPECIAL,
    QWEN_TEMPLATE,
    SMOLVLM_SPECIAL,
    SMOLVLM_TEMPLATE,
    WORDS,
    build_tokenizer,
)
from tools.cli import run_script, script_parser, whole

QWEN_VOCABULARY = 151936  # rows of the embedding of the 2B checkpoint: ids, and padding after them
PATCH = 14  # pixels; 2 x 2 patches are merged, so a visual token is 28 x 28 pixels
QWEN_PIXELS = {"shortest_edge": 16 * 28 * 28, "longest_edge": 32 * 28 * 28}  # of a frame
LLAVA_SIDE = 4 * PATCH  # pixels; 16 patches a frame, pooled to 4 tokens

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": False,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": LLAVA_SIDE,
    "patch_size": PATCH,
}
# The released checkpoints share out a head's frequencies among time, height and width as 2:3:3.
QWEN_TEXT = {**TEXT, "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}
# generation_config.json of Qwen2-VL-7B-Instruct; with top_k = 1 it is greedy.
QWEN_GENERATION = {
    "do_sample": True,
    "temperature": 0.1,
    "top_p": 0.001,
    "top_k": 1,
    "repetition_penalty": 1.05,
}

# Widths of the random weights, in units of 1 / sqrt(inputs). With layers this wide the next word
# hangs on all of the context, so text neither repeats itself nor forgets the frames; with a head
# this wide a word that exists beats the 150,000 ids that have none, at any temperature near 1.
LAYER_WIDTH = 2.0
HEAD_WIDTH = 6.0
END_WIDTH = 10.0


def _save(
    folder: Path,
    seed: int,
    config: transformers.PretrainedConfig,
    processor: Any,
    generation: dict[str, Any],
) -> Path:
    """Write a checkpoint folder whose weights are drawn from a seed, in float32."""
    with torch.random.fork_rng(devices=[]):  # What it draws here is written over below.
        model = transformers.AutoModelForImageTextToText.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(0 if name.endswith("bias") else 1)
            elif name == "lm_head.weight":
                weight.zero_()
            elif name.endswith("embed_tokens.weight"):
                weight.normal_(generator=generator)
            else:
                width = LAYER_WIDTH / math.sqrt(weight[0].numel())
                weight.normal_(std=width, generator=generator)
        ids = processor.tokenizer.get_vocab()
        widths = dict.fromkeys([",", ".", *(f"Ġ{word}" for word in WORDS.split())], HEAD_WIDTH)
        for token, width in {**widths, "<|im_end|>": END_WIDTH}.items():
            row = model.lm_head.weight[ids[token]]
            row.normal_(std=width / math.sqrt(len(row)), generator=generator)
    model.generation_config = transformers.GenerationConfig(**generation)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _qwen_parts(compact: bool = False) -> dict[str, Any]:
    """The parts of a Qwen2-VL or Qwen2.5-VL processor."""
    tokenizer = transformers.Qwen2TokenizerFast(
        tokenizer_object=build_tokenizer(QWEN_SPECIAL, None if compact else QWEN_FIRST_SPECIAL),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(QWEN_SPECIAL[1:]),
        padding_side="left",
        model_max_length=32768,
    )
    return {
        "tokenizer": tokenizer,
        "image_processor": transformers.Qwen2VLImageProcessorFast(size=dict(QWEN_PIXELS)),
        "video_processor": Qwen2VLVideoProcessor(size=dict(QWEN_PIXELS)),
        "chat_template": QWEN_TEMPLATE,
    }


def _save_qwen(
    folder: Path, seed: int, config_class: Any, processor: Any, vision: Any, compact: bool
) -> Path:
    """Write a Qwen2-VL or Qwen2.5-VL."""
    ids = processor.tokenizer.get_vocab()
    first, end = ids["<|endoftext|>"], ids["<|im_end|>"]
    config = config_class(
        text_config={**QWEN_TEXT, "vocab_size": len(ids) if compact else QWEN_VOCABULARY},
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    generation = {
        **QWEN_GENERATION,
        "bos_token_id": first,
        "pad_token_id": first,
        "eos_token_id": [end, first],
    }
    return _save(folder, seed, config, processor, generation)


def qwen2vl(folder: Path, seed: int = 0, compact: bool = False) -> Path:
    """Write a Qwen2-VL; nearly all of its 10 million weights are rows of the vocabulary.

    A video of t frames of h x w merged patches is ceil(t / 2) * h * w tokens.

    Args:
        compact: without the 150,000 ids that no word has, whose logits take most of a tiny model's
            time; its special tokens do not have the real ids, which ms-swift wants.
    """
    vision = {"depth": 1, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 32}
    processor = transformers.Qwen2VLProcessor(**_qwen_parts(compact))
    return _save_qwen(folder, seed, transformers.Qwen2VLConfig, processor, vision, compact)


def qwen25vl(folder: Path, seed: int = 0, compact: bool = False) -> Path:
    """Write a Qwen2.5-VL: as `qwen2vl`, with windows in its vision tower and time in seconds."""
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
        "tokens_per_second": 2,
    }
    processor = transformers.Qwen2_5_VLProcessor(**_qwen_parts(compact))
    return _save_qwen(folder, seed, transformers.Qwen2_5_VLConfig, processor, vision, compact)


def llava_onevision(folder: Path, seed: int = 0) -> Path:
    """Write a LLaVA-OneVision on a Llama, with a vocabulary of 900 tokens.

    Of the families that are not Qwen's its processor asks for the least: no time stamps, no frame
    rate, no further package. A video of t frames is 4 * t + 1 tokens.
    """
    tokens = build_tokenizer(LLAVA_SPECIAL)
    ids = tokens.get_vocab()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(LLAVA_SPECIAL[1:]),
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        model_max_length=32768,
    )
    size = {"height": LLAVA_SIDE, "width": LLAVA_SIDE}
    pinpoints = [[LLAVA_SIDE, LLAVA_SIDE], [LLAVA_SIDE, 2 * LLAVA_SIDE]]
    processor = transformers.LlavaOnevisionProcessor(
        tokenizer=tokenizer,
        image_processor=transformers.LlavaOnevisionImageProcessorFast(
            size=size, image_grid_pinpoints=pinpoints
        ),
        video_processor=transformers.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(LLAVA_SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
    )
    config = transformers.LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(ids)},
        vision_config={**SIGLIP, "model_type": "siglip_vision_model", "vision_use_head": False},
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=pinpoints,
    )
    generation = {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20,
        "repetition_penalty": 1.1,
        "bos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
    }
    return _save(folder, seed, config, processor, generation)


def smolvlm(folder: Path, seed: int = 0) -> Path:
    """Write a SmolVLM2, whose prompt tells the time of each frame, with a small vocabulary.

    Its processor wants the package num2words.
    """
    tokens = build_tokenizer(SMOLVLM_SPECIAL)
    ids = tokens.get_vocab()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        additional_special_tokens=list(SMOLVLM_SPECIAL[3:]),
        model_max_length=8192,
    )
    side = {"longest_edge": LLAVA_SIDE}
    sampling = {"fps": 1, "max_frames": 64, "video_size": side}
    processor = transformers.SmolVLMProcessor(
        tokenizer=tokenizer,
        image_processor=transformers.SmolVLMImageProcessor(size=side, max_image_size=side),
        video_processor=SmolVLMVideoProcessor(
            size=side, max_image_size=side, video_sampling=sampling
        ),
        image_seq_len=4,
        chat_template=SMOLVLM_TEMPLATE,
    )
    pad, end = ids["<|im_end|>"], ids["<end_of_utterance>"]
    config = transformers.SmolVLMConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(ids), "pad_token_id": pad},
        vision_config=SIGLIP,
        image_token_id=ids["<image>"],
        scale_factor=2,
        pad_token_id=pad,
    )
    return _save(folder, seed, config, processor, {"pad_token_id": pad, "eos_token_id": [pad, end]})


FAMILIES: dict[str, Callable[..., Path]] = {
    "qwen2vl": qwen2vl,
    "qwen25vl": qwen25vl,
    "llava_onevision": llava_onevision,
    "smolvlm": smolvlm,
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    parser.add_argument("family", choices=FAMILIES, help="what to build")
    parser.add_argument("folder", type=Path, help="folder to write, made when absent")
    parser.add_argument("--seed", type=whole, default=0, help="of the weights (default 0)")
    args = parser.parse_args(argv)
    print(FAMILIES[args.family](args.folder, args.seed))


if __name__ == "__main__":
    run_script(main)
