"""Tiny random video models that teach students: Video-LLaVA, IDEFICS and Chat-UniVi.

    python -m inference.tiny.checkpoints video_llava /tmp/tiny

A folder has the files and the names of tensors of the released checkpoint. A word is one token, any
other text is spelt out in its bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import orjson
import torch
import transformers

from inference.tiny.blip import AROUND, SPECIAL, sentencepiece
from inference.tiny.tokenizer import WORDS
from tools.store.files import write_json

WIDTH = 64
LAYERS = {"hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, "num_attention_heads": 4}
INITIALIZER_RANGE = 0.08  # wider than released, so that answers depend on frames
TEXT = {
    **LAYERS,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "max_position_embeddings": 4096,
    "initializer_range": INITIALIZER_RANGE,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "patch_size": 14,
    "initializer_range": INITIALIZER_RANGE,
}
IMAGE = 56  # pixels along a side
UTTERANCE = ("<image>", "<fake_token_around_image>", "<end_of_utterance>")


def video_llava(
    folder: Path, seed: int = 0, words: Sequence[str] = WORDS, image: int = IMAGE
) -> Path:
    """Write a Video-LLaVA: frames of `image` x `image` pixels, (image / 14)^2 + 1 tokens each."""
    from transformers.models.video_llava.video_processing_video_llava import (
        VideoLlavaVideoProcessor,
    )

    tokenizer, text = _language(words, ("<image>", "<video>"))
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<video>"])
    config = transformers.VideoLlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": image},
        text_config={**text, "model_type": "llama"},
        image_token_index=ids[0],
        video_token_index=ids[1],
        image_seq_length=(image // 14) ** 2,
        video_seq_length=8 * ((image // 14) ** 2 + 1),
    )
    size: dict[str, Any] = {
        "size": {"shortest_edge": image},
        "crop_size": {"height": image, "width": image},
    }
    processor = transformers.VideoLlavaProcessor(
        image_processor=transformers.VideoLlavaImageProcessor(**size),
        video_processor=VideoLlavaVideoProcessor(**size),
        tokenizer=tokenizer,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.VideoLlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def idefics(folder: Path, seed: int = 0, words: Sequence[str] = WORDS) -> Path:
    """Write an IDEFICS of the first generation: 4 latents a frame, cross-attention in every second
    layer."""
    tokenizer, text = _language(words, UTTERANCE)
    config = transformers.IdeficsConfig(
        **{**text, "num_hidden_layers": 4},
        additional_vocab_size=0,
        cross_layer_interval=2,
        use_resampler=True,
        qk_layer_norms=True,
        alpha_initializer="ones",
        alpha_type="vector",
        vision_config={
            "embed_dim": 32,
            "intermediate_size": 64,
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "image_size": IMAGE,
            "patch_size": 14,
            "initializer_range": INITIALIZER_RANGE,
        },
        perceiver_config={
            "resampler_n_latents": 4,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 8,
            "qk_layer_norms_perceiver": True,
        },
    )
    processor = transformers.IdeficsProcessor(
        image_processor=transformers.IdeficsImageProcessor(image_size=IMAGE), tokenizer=tokenizer
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.IdeficsForVisionText2Text(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def chat_univi(folder: Path, seed: int = 0, words: Sequence[str] = WORDS) -> Path:
    """Write a Chat-UniVi, whose vision tower is inside: 16 patches a frame, merged to 8, 6 and 4
    tokens. The weights are pickled, as the released ones are."""
    tokenizer, text = _language(words, ())
    tower = transformers.CLIPVisionConfig(**VISION, image_size=IMAGE)
    llama = transformers.LlamaConfig(**text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts: dict[str, torch.nn.Module] = {
            "": transformers.LlamaForCausalLM(llama),
            "model.vision_tower.vision_tower.": transformers.CLIPVisionModel(tower),
            "model.mm_projector.": torch.nn.Linear(tower.hidden_size, WIDTH),
        }
    state = {
        f"{prefix}{name}": tensor.clone()
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    scales = {f"spatial_cluster_rate{n}": count for n, count in enumerate((8, 6, 4))}
    own = {
        "model_type": "ChatUniVi",
        "architectures": ["ChatUniViLlamaForCausalLM"],
        "mm_vision_tower": "vision_tower",
        "mm_hidden_size": tower.hidden_size,
        "mm_vision_select_layer": -2,
        "mm_use_im_start_end": False,
        "image_aspect_ratio": "pad",
        "config": {"use_cluster": True, **scales, "temporal_cluster_rate": 1 / 16},
    }
    write_json(folder / "config.json", {**orjson.loads(llama.to_json_string()), **own})
    torch.save(state, folder / "pytorch_model.bin")
    tokenizer.save_pretrained(folder)
    tower.save_pretrained(folder / "vision_tower")
    transformers.CLIPImageProcessor(
        size={"shortest_edge": IMAGE}, crop_size={"height": IMAGE, "width": IMAGE}
    ).save_pretrained(folder / "vision_tower")
    return folder


def _language(words: Sequence[str], special: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """A tokenizer and the configuration of a Llama; letters of options are one token each."""
    names = SPECIAL["llama"]
    tokenizer = transformers.LlamaTokenizerFast(
        tokenizer_object=sentencepiece(
            [*words, *ascii_uppercase], [*names.values(), *special], AROUND["llama"]
        ),
        additional_special_tokens=list(special),
        legacy=False,
        **names,
    )
    ids = {f"{name}_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    ids.pop("unk_token_id")
    return tokenizer, {**TEXT, "vocab_size": len(tokenizer), **ids}
