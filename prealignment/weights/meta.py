"""Meta's own Llama files -> a folder in the library's format.

Meta publishes consolidated.NN.pth (one a GPU of its model parallelism), params.json and
tokenizer.model. Sources of the formats: meta-llama/llama and meta-llama/llama3, model.py.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from filelock import FileLock
from torch import Tensor

from tools.errors import UserError
from tools.store.files import read_json

CONVERTED = "hf"
# Meta's name -> the library's, and the axis along which the files of a model share a weight; None:
# each file has all of it.
LAYER: dict[str, tuple[str, int | None]] = {
    "attention.wq": ("self_attn.q_proj", 0),
    "attention.wk": ("self_attn.k_proj", 0),
    "attention.wv": ("self_attn.v_proj", 0),
    "attention.wo": ("self_attn.o_proj", 1),
    "feed_forward.w1": ("mlp.gate_proj", 0),
    "feed_forward.w2": ("mlp.down_proj", 1),
    "feed_forward.w3": ("mlp.up_proj", 0),
    "attention_norm": ("input_layernorm", None),
    "ffn_norm": ("post_attention_layernorm", None),
}
WHOLE: dict[str, tuple[str, int | None]] = {
    "norm": ("model.norm", None),
    "output": ("lm_head", 0),
    "tok_embeddings": ("model.embed_tokens", None),  # the axis depends on the release
}
ROPE_THETA = 10_000.0  # where params.json names none, as that of Llama 2
# Llama 3's special tokens, in the order of their ids (llama3, tokenizer.py).
SPECIAL = (
    *("begin_of_text", "end_of_text"),
    *(f"reserved_special_token_{number}" for number in range(4)),
    *("start_header_id", "end_header_id", "reserved_special_token_4", "eot_id"),
    *(f"reserved_special_token_{number}" for number in range(5, 251)),
)


def is_metas(folder: Path) -> bool:
    """Whether a folder holds Meta's files."""
    return (folder / "params.json").is_file() and bool(_parts(folder))


def converted(folder: Path) -> Path:
    """The folder in the library's format, made where it is not there yet; it is whole once its
    config.json is there.

    Raises:
        UserError: files are missing, or cannot be read.
    """
    output = folder / CONVERTED
    with FileLock(f"{output}.lock"):  # of several processes of a training, one converts
        if not (output / "config.json").is_file():
            print(f"{folder}: Meta's files are converted once, to {output}")
            _convert(folder, output)
    return output


def _convert(folder: Path, output: Path) -> None:
    params = read_json(folder / "params.json")
    if params.get("use_scaled_rope"):
        raise UserError(
            f"{folder}: its rotary positions are scaled, as from Llama 3.1 on, by numbers that"
            " Meta's files do not hold: give this model in the library's format"
        )
    tokenizer = _tokenizer(folder)
    shards = [_read(path) for path in _parts(folder)]
    state = _state(shards, params)
    config = _config(state, params, tokenizer)

    from huggingface_hub import save_torch_state_dict

    output.mkdir(exist_ok=True)
    save_torch_state_dict(state, output)
    tokenizer.save_pretrained(output)
    config.save_pretrained(output)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("consolidated.*.pth"))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (UnpicklingError, RuntimeError, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as weights ({why})") from None


def _state(shards: Sequence[Mapping[str, Tensor]], params: dict[str, Any]) -> dict[str, Tensor]:
    """The library's weights by name, out of Meta's."""
    state = {}
    heads = params["n_heads"]
    for name in shards[0]:
        if name == "rope.freqs":
            continue
        match = re.fullmatch(r"layers\.(\d+)\.(.+)\.weight", name)
        short = match[2] if match else name.removesuffix(".weight")
        if short not in (LAYER if match else WHOLE):
            raise UserError(f"Meta's weights hold {name}, which no Llama of Meta's has")
        own, axis = (LAYER if match else WHOLE)[short]
        target = f"model.layers.{match[1]}.{own}.weight" if match else f"{own}.weight"
        pieces = [shard[name] for shard in shards]
        if short == "tok_embeddings":
            # Llama 2 shares the numbers of each word, Llama 3 the words.
            axis = 1 if pieces[0].shape[1] < params["dim"] else 0
        weight = pieces[0] if axis is None or len(pieces) == 1 else torch.cat(pieces, axis)
        if own.endswith(("q_proj", "k_proj")):
            kept = heads if own.endswith("q_proj") else params.get("n_kv_heads") or heads
            weight = _halved(weight, kept)
        state[target] = weight.contiguous()
    return state


def _halved(weight: Tensor, heads: int) -> Tensor:
    """Rows of q or k in the library's order: Meta turns neighbouring numbers of a head together,
    the library number i and number i + d / 2."""
    rows, width = weight.shape
    return weight.view(heads, -1, 2, width).transpose(1, 2).reshape(rows, width)


def _config(
    state: Mapping[str, Tensor], params: dict[str, Any], tokenizer: Any
) -> transformers.LlamaConfig:
    words, width = state["model.embed_tokens.weight"].shape
    return transformers.LlamaConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=len(state["model.layers.0.mlp.up_proj.weight"]),
        num_hidden_layers=params["n_layers"],
        num_attention_heads=params["n_heads"],
        num_key_value_heads=params.get("n_kv_heads") or params["n_heads"],
        rms_norm_eps=params["norm_eps"],
        rope_theta=params.get("rope_theta", ROPE_THETA),
        max_position_embeddings=8192 if "rope_theta" in params else 4096,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        dtype=str(state["lm_head.weight"].dtype).removeprefix("torch."),
    )


def _tokenizer(folder: Path) -> Any:
    """The tokenizer of tokenizer.model, in the folder or the one above it: SentencePiece's of Llama
    2, or tiktoken's ranks of Llama 3."""
    for path in (folder / "tokenizer.model", folder.parent / "tokenizer.model"):
        if path.is_file():
            return _of_ranks(path) if _holds_ranks(path) else _of_sentencepiece(path)
    raise UserError(f"{folder} has no tokenizer.model, and neither has the folder above it")


def _holds_ranks(path: Path) -> bool:
    """Whether each line is a token in base64 and its rank."""
    with open(path, "rb") as file:
        return bool(re.fullmatch(rb"[A-Za-z0-9+/]+=* \d+\n?", file.readline()))


def _of_sentencepiece(path: Path) -> Any:
    try:
        return transformers.LlamaTokenizerFast(str(path), legacy=True)
    except Exception as error:
        raise UserError(f"{path} is no tokenizer of Llama ({error})") from None


def _of_ranks(path: Path) -> Any:
    from transformers.convert_slow_tokenizer import TikTokenConverter

    special = [f"<|{name}|>" for name in SPECIAL]
    converter = TikTokenConverter(str(path), additional_special_tokens=special)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(), bos_token=special[0], eos_token=special[1]
    )
