"""Tiny random video LLMs as checkpoint folders, built offline in seconds, for tests and benchmarks.

    python -m inference.tiny.checkpoints qwen2vl /tmp/tiny

All but the weights is as in a released checkpoint: Auto classes, servers and ms-swift load it. The
weights are wide random numbers, so greedy text changes with every frame and every word of the
prompt; the words come from words.txt, and an answer ends by itself, mostly within 200 of them.
families.yaml says what each family's configuration and processor are; blip.py builds the image
models BLIP-2 and InstructBLIP, teachers.py Video-LLaVA, IDEFICS and Chat-UniVi, clip.py CLIP,
llama.py a language model.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from inference.tiny import blip, clip, llama, teachers
from inference.tiny.tokenizer import (
    FAMILIES,
    WORDS,
    build_tokenizer,
    chat_template,
    special_tokens,
)
from tools.cli import run_script, script_parser, whole

# Widths of the random weights, in units of 1 / sqrt(inputs). With layers this wide the next word
# hangs on all of the context, so text neither repeats itself nor forgets the frames; with a head
# this wide a word that exists beats the 150,000 ids that have none, at any temperature near 1.
LAYER_WIDTH = 2.0
HEAD_WIDTH = 6.0
END_WIDTH = 10.0


def build(family: str, folder: Path, seed: int = 0, compact: bool = False) -> Path:
    """Write a checkpoint folder whose weights are drawn from a seed, in float32.

    Args:
        family: an entry of families.yaml.
        compact: without the 150,000 ids of a Qwen that no word has, whose logits take most of a
            tiny model's time, and whose embeddings are nearly all of its 10 million weights; its
            special tokens do not have the real ids, which ms-swift wants.
    """
    settings = FAMILIES[family]
    vocabulary = {} if compact else settings.get("vocabulary", {})
    special = special_tokens(family)
    tokens = build_tokenizer(special, vocabulary.get("first_special"))
    ids = tokens.get_vocab()
    special_ids = {token: ids[token] for token in special}

    processor = _made(
        settings["processor"],
        tokenizer=_made(settings["tokenizer"], tokenizer_object=tokens),
        image_processor=_made(settings["image_processor"]),
        video_processor=_made(settings["video_processor"]),
        chat_template=chat_template(family),
    )
    config = _with_ids(settings["config"], special_ids)
    config["text_config"]["vocab_size"] = vocabulary.get("rows", len(ids))
    with torch.random.fork_rng(devices=[]):  # What it draws here is written over below.
        model = transformers.AutoModelForImageTextToText.from_config(
            transformers.AutoConfig.for_model(**config)
        )
    _draw_weights(model, ids, torch.Generator().manual_seed(seed))
    model.generation_config = transformers.GenerationConfig(
        **_with_ids(settings["generation"], special_ids)
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


qwen2vl = partial(build, "qwen2vl")
qwen25vl = partial(build, "qwen25vl")
llava_onevision = partial(build, "llava_onevision")


def _made(settings: dict[str, Any], **others: Any) -> Any:
    """An object of the class of transformers that its settings name."""
    arguments = {name: value for name, value in settings.items() if name != "class"}
    return getattr(transformers, settings["class"])(**arguments, **others)


def _with_ids(settings: Any, ids: dict[str, int]) -> Any:
    """A copy of settings with ids in the place of special tokens."""
    if isinstance(settings, dict):
        return {name: _with_ids(value, ids) for name, value in settings.items()}
    if isinstance(settings, list):
        return [_with_ids(value, ids) for value in settings]
    return ids.get(settings, settings)


@torch.no_grad()
def _draw_weights(model: Any, ids: dict[str, int], generator: torch.Generator) -> None:
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            weight.fill_(0 if name.endswith("bias") else 1)
        elif name == "lm_head.weight":
            weight.zero_()
        elif name.endswith("embed_tokens.weight"):
            weight.normal_(generator=generator)
        else:
            weight.normal_(std=LAYER_WIDTH / math.sqrt(weight[0].numel()), generator=generator)
    widths = dict.fromkeys([",", ".", *(f"Ġ{word}" for word in WORDS)], HEAD_WIDTH)
    for token, width in {**widths, "<|im_end|>": END_WIDTH}.items():
        row = model.lm_head.weight[ids[token]]
        row.normal_(std=width / math.sqrt(len(row)), generator=generator)


def main(argv: Sequence[str] | None = None) -> None:
    parser = script_parser(__doc__)
    builders: dict[str, Callable[..., Path]] = {
        **{family: partial(build, family) for family in FAMILIES},
        **{family: partial(blip.build, family) for family in blip.FAMILIES},
        "clip": partial(clip.build, "clip"),
        "llama": llama.build,
        "video_llava": teachers.video_llava,
        "idefics": teachers.idefics,
        "chat_univi": teachers.chat_univi,
    }
    parser.add_argument("family", choices=builders, help="what to build")
    parser.add_argument("folder", type=Path, help="folder to write, made when absent")
    parser.add_argument("--seed", type=whole, default=0, help="of the weights (default 0)")
    args = parser.parse_args(argv)
    print(builders[args.family](args.folder, args.seed))


if __name__ == "__main__":
    run_script(main)
