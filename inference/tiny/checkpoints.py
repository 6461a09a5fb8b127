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
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionImageProcessorFast,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2TokenizerFast,
    Qwen2VLConfig,
    Qwen2VLImageProcessorFast,
    Qwen2VLProcessor,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor

from reproduction.toyvl.checkpoint import SPECIAL
from tools.cli import run_script, script_parser, whole

# What the models can say, besides "," and ".": words of captions and of the prompts. Any other word
# is spelt out in its bytes, and the longer a prompt, the less the frames weigh in it.
WORDS = """
a above add after again air all along an and another answer appears around as at away back ball be
beach before begins behind below bench bird black blue boat both bridge bright brown building by
camera can caption captions car cat child city clip clips close cloud color connects cup cuts dark
day describe description detail detailed dog door down each ends enters events everything face
falls far field fire first floor follow follows forest from garden glass grass gray green ground
hand happens has have her his holds house how in into is it its kitchen lake lamp large last
leaves left light line long looks man moment moves near new next night not occur of off on one
only opens orange order other out over pan paragraph park path people picks place plate pours puts
rain red report river road rolls room round runs say scene sea second see seen show shows side sky
slowly small snow speak stands stays step steps stone stops street sun table take takes tells that
the their then there three through to tree turns two under until up video view walks wall water
what when where which while white who whole wind window with woman wood write yellow young
"""

# The id of the first of Qwen2-VL's special tokens. ms-swift writes
# <|image_pad|> and <|video_pad|> as 151655 and 151656, whatever the tokenizer says.
QWEN_FIRST_SPECIAL = 151643
QWEN_VOCABULARY = 151936  # rows of the embedding of the 2B checkpoint: ids, and padding after them
SMOLVLM_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<image>",
    "<fake_token_around_image>",
    "<global-img>",
    "<end_of_utterance>",
)
LLAVA_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")

# How the released tokenizer cuts text before it looks for merges (Qwen2's regular expression).
QWEN_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

QWEN_TEMPLATE = """
{%- if messages[0].role != 'system' -%}
{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ('image', 'video') -%}
{{- '<|vision_start|><|' + part.type + '_pad|><|vision_end|>' -}}
{%- elif part.type == 'text' -%}
{{- part.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""

# The released template, which puts a part where it stands.
SMOLVLM_TEMPLATE = """<|im_start|>
{%- for message in messages -%}
{{- message.role | capitalize + ': ' -}}
{%- for part in message.content -%}
{{- part.text if part.type == 'text' else '<' + part.type + '>' -}}
{%- endfor -%}
{{- '<end_of_utterance>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
{%- endif -%}
"""

# The released template names the role without a line break, and all pictures before all text.
LLAVA_TEMPLATE = """
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + ' ' -}}
{%- if message.content is string -%}
{{- '\n' + message.content -}}
{%- else -%}
{%- for part in message.content if part.type in ('image', 'video') -%}
{{- '<' + part.type + '>' -}}
{%- endfor -%}
{%- for part in message.content if part.type == 'text' -%}
{{- '\n' + part.text -}}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\n' -}}
{%- endif -%}
"""

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
# The released checkpoints share out a head's frequencies among time, height and width as 2:3:3.
QWEN_TEXT = {
    **TEXT,
    "vocab_size": QWEN_VOCABULARY,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
}
# generation_config.json of Qwen2-VL-7B-Instruct; with top_k = 1 it is greedy.
QWEN_GENERATION = {
    "do_sample": True,
    "temperature": 0.1,
    "top_p": 0.001,
    "top_k": 1,
    "repetition_penalty": 1.05,
    "bos_token_id": 151643,
    "pad_token_id": 151643,
    "eos_token_id": [151645, 151643],
}

# Widths of the random weights, in units of 1 / sqrt(inputs). With layers this wide the next word
# hangs on all of the context, so text neither repeats itself nor forgets the frames; with a head
# this wide a word that exists beats the 150,000 ids that have none, at any temperature near 1.
LAYER_WIDTH = 2.0
HEAD_WIDTH = 6.0
END_WIDTH = 10.0


def _tokenizer(special: tuple[str, ...], first_special: int | None = None) -> Tokenizer:
    """A byte-level BPE tokenizer in which " word" is one token for each of WORDS.

    Args:
        special: the special tokens; their ids follow one another.
        first_special: the id of the first of them; None: the first free one. Ids left over below it
            are held by tokens that no text becomes: where nobody holds an id, the library prints
            all such ids each time a tokenizer is saved.
    """
    ids = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    for word in WORDS.split():
        for end in range(1, len(word) + 1):
            longer = f"Ġ{word[:end]}"
            if longer not in ids:
                ids[longer] = len(ids)
                merges.append((longer[:-1], longer[-1]))
    ids |= {f"<|unused_{free}|>": free for free in range(len(ids), first_special or len(ids))}
    ids |= {token: number for number, token in enumerate(special, len(ids))}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in special]
    )
    return tokenizer


def _save(
    folder: Path, seed: int, config: PretrainedConfig, processor: Any, generation: dict[str, Any]
) -> Path:
    """Write a checkpoint folder whose weights are drawn from a seed, in float32."""
    with torch.random.fork_rng(devices=[]):  # What it draws here is written over below.
        model = AutoModelForImageTextToText.from_config(config)
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
    model.generation_config = GenerationConfig(**generation)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _qwen_parts(compact: bool = False) -> dict[str, Any]:
    """The parts of a Qwen2-VL or Qwen2.5-VL processor."""
    tokenizer = Qwen2TokenizerFast(
        tokenizer_object=_tokenizer(SPECIAL, None if compact else QWEN_FIRST_SPECIAL),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
        padding_side="left",
        model_max_length=32768,
    )
    return {
        "tokenizer": tokenizer,
        "image_processor": Qwen2VLImageProcessorFast(size=dict(QWEN_PIXELS)),
        "video_processor": Qwen2VLVideoProcessor(size=dict(QWEN_PIXELS)),
        "chat_template": QWEN_TEMPLATE,
    }


def _save_qwen(
    folder: Path, seed: int, config_class: Any, processor: Any, vision: Any, compact: bool
) -> Path:
    """Write a Qwen2-VL or Qwen2.5-VL; a compact one's special tokens have ids of their own."""
    text, generation, special = dict(QWEN_TEXT), dict(QWEN_GENERATION), {}
    if compact:
        ids = processor.tokenizer.get_vocab()
        first, end = ids["<|endoftext|>"], ids["<|im_end|>"]
        text["vocab_size"] = len(ids)
        generation |= {"bos_token_id": first, "pad_token_id": first, "eos_token_id": [end, first]}
        special = {
            "image_token_id": ids["<|image_pad|>"],
            "video_token_id": ids["<|video_pad|>"],
            "vision_start_token_id": ids["<|vision_start|>"],
            "vision_end_token_id": ids["<|vision_end|>"],
        }
    config = config_class(text_config=text, vision_config=vision, **special)
    return _save(folder, seed, config, processor, generation)


def qwen2vl(folder: Path, seed: int = 0, compact: bool = False) -> Path:
    """Write a Qwen2-VL; nearly all of its 10 million weights are rows of the vocabulary.

    A video of t frames of h x w merged patches is ceil(t / 2) * h * w tokens.

    Args:
        compact: without the 150,000 ids that no word has, whose logits take most of a tiny model's
            time; its special tokens do not have the real ids, which ms-swift wants.
    """
    vision = {"depth": 1, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2, "hidden_size": 32}
    processor = Qwen2VLProcessor(**_qwen_parts(compact))
    return _save_qwen(folder, seed, Qwen2VLConfig, processor, vision, compact)


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
    processor = Qwen2_5_VLProcessor(**_qwen_parts(compact))
    return _save_qwen(folder, seed, Qwen2_5_VLConfig, processor, vision, compact)


def llava_onevision(folder: Path, seed: int = 0) -> Path:
    """Write a LLaVA-OneVision on a Llama, with a vocabulary of 900 tokens.

    Of the families that are not Qwen's its processor asks for the least: no time stamps, no frame
    rate, no further package. A video of t frames is 4 * t + 1 tokens.
    """
    tokens = _tokenizer(LLAVA_SPECIAL)
    ids = tokens.get_vocab()
    tokenizer = PreTrainedTokenizerFast(
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
    processor = LlavaOnevisionProcessor(
        tokenizer=tokenizer,
        image_processor=LlavaOnevisionImageProcessorFast(size=size, image_grid_pinpoints=pinpoints),
        video_processor=LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(LLAVA_SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        chat_template=LLAVA_TEMPLATE,
    )
    config = LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(ids)},
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": LLAVA_SIDE,
            "patch_size": PATCH,
            "vision_use_head": False,
        },
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
    tokens = _tokenizer(SMOLVLM_SPECIAL)
    ids = tokens.get_vocab()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        eos_token="<end_of_utterance>",
        pad_token="<|im_end|>",
        additional_special_tokens=list(SMOLVLM_SPECIAL[3:]),
        model_max_length=8192,
    )
    side = {"longest_edge": LLAVA_SIDE}
    sampling = {"fps": 1, "max_frames": 64, "video_size": side}
    processor = SmolVLMProcessor(
        tokenizer=tokenizer,
        image_processor=SmolVLMImageProcessor(size=side, max_image_size=side),
        video_processor=SmolVLMVideoProcessor(
            size=side, max_image_size=side, video_sampling=sampling
        ),
        image_seq_len=4,
        chat_template=SMOLVLM_TEMPLATE,
    )
    pad, end = ids["<|im_end|>"], ids["<end_of_utterance>"]
    config = SmolVLMConfig(
        text_config={
            **TEXT,
            "model_type": "llama",
            "vocab_size": len(ids),
            "pad_token_id": pad,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": LLAVA_SIDE,
            "patch_size": PATCH,
        },
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
