"""Weights of the bridge: its own files, BERT's, and those of the released checkpoints.

The released names, and ours, are in `_ours`; docs/grounding.md lists them.
"""

import io
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import torch
from torch import Tensor

from grounding.bridge.network import Bridge, BridgeConfig
from tools.errors import UserError
from tools.store.files import replace_atomically

CONFIG = "bridge"  # the key of the config in a file's metadata
RELEASED_LAYERS = 12  # of BERT, in the released sampler too
# The released files hold the sampler under one of these: in a Lightning checkpoint beside the
# answerer and the flow network, in a file of its own behind DataParallel's prefix, or bare.
LIGHTNING = "temporal_encoder."
PREFIXES = ("module.", LIGHTNING, "bert.")
# Parts of a transformers BertLayer, whose names the released sampler has too -> ours.
PARTS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "crossattention.self.query": "cross.query",
    "crossattention.self.key": "cross.key",
    "crossattention.self.value": "cross.value",
    "crossattention.output.dense": "cross.out",
    "crossattention.output.LayerNorm": "cross_norm",
    "intermediate.dense": "widen",
    "output.dense": "narrow",
    "output.LayerNorm": "feed_norm",
}
TABLES = {
    "embeddings.LayerNorm.weight": "words_norm.weight",
    "embeddings.LayerNorm.bias": "words_norm.bias",
    "temporal_embeddings.bos": "bos",
    "temporal_embeddings.eos": "eos",
    "temporal_embeddings.frame_pos_embed.weight": "learned",
    "temporal_embeddings.ln.weight": "tokens_norm.weight",
    "temporal_embeddings.ln.bias": "tokens_norm.bias",
    "encoder.embed_positions.weight": "time_table",
    "encoder.c_embed_positions.weight": "word_table",
    "mrc_head.weight": "head.weight",
    "mrc_head.bias": "head.bias",
}
# Made of several tensors of the file each; see `_combined`.
WORDS = ("embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight")
TOKENS = tuple(
    f"temporal_embeddings.{part}.{kind}"
    for part in ("projection", "fc")
    for kind in ("weight", "bias")
)


@dataclass(frozen=True)
class Loaded:
    """What became of a file's tensors.

    Attributes:
        filled: our names that got their values from it.
        kept: our names that it has no values for, which stay as they were drawn.
        ignored: names in the file that the bridge has no use for.
    """

    filled: list[str]
    kept: list[str]
    ignored: list[str]


def save_bridge(path: Path, bridge: Bridge) -> None:
    """Write the bridge alone: weights, and the config in the metadata."""
    from safetensors.torch import save

    metadata = {CONFIG: orjson.dumps(asdict(bridge.config)).decode()}
    tensors = {name: tensor.contiguous() for name, tensor in bridge.state_dict().items()}
    with replace_atomically(path) as file:
        file.write(save(tensors, metadata))


def load_bridge(path: Path) -> Bridge:
    """The bridge of a file that `save_bridge` wrote, for evaluation.

    Raises:
        UserError: it is none.
    """
    with _bridge_file(path) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        bridge = Bridge(_config(file))
        bridge.load_state_dict(state)
    return bridge.eval()


def read_config(path: Path) -> BridgeConfig:
    """What the bridge of such a file is made of; its weights are not read.

    Raises:
        UserError: it is none.
    """
    with _bridge_file(path) as file:
        return _config(file)


def _config(file: Any) -> BridgeConfig:
    return BridgeConfig(**orjson.loads((file.metadata() or {})[CONFIG]))


@contextmanager
def _bridge_file(path: Path) -> Iterator[Any]:
    """An open file of safetensors; errors about it are a user's."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path} is no file of a bridge ({why})") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: of safetensors, or of PyTorch's format, in which a
    Lightning checkpoint holds them under "state_dict". Nothing else in the file is run.

    Args:
        path: the file, or a folder of transformers.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    if path.is_dir():
        names = ("model.safetensors", "pytorch_model.bin")
        path = next((path / name for name in names if (path / name).is_file()), path / names[0])
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # Lightning stores its settings as objects of the training code beside the weights.
        state = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_TENSORS)
        state = state.get("state_dict", state)
        return {name: value for name, value in state.items() if torch.is_tensor(value)}
    except Exception as error:  # each format has errors of its own
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"{path} is no checkpoint that can be read ({why})") from None


class _Inert(dict):
    """Stands for an object of the training code; it takes whatever unpickling does to one."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __call__(self, *_: Any, **__: Any) -> "_Inert":
        return self

    __setstate__ = append = extend = add = __call__


class _Unpickler(pickle.Unpickler):
    """Makes tensors and plain containers; everything else becomes an `_Inert`."""

    ALLOWED = re.compile(
        r"torch\._utils\._rebuild_(tensor_v2|parameter)|torch\.\w+Storage|torch\.Size"
        r"|torch\.(bfloat16|float16|float32|float64|int32|int64)|collections\.OrderedDict"
    )

    def find_class(self, module: str, name: str) -> Any:
        allowed = self.ALLOWED.fullmatch(f"{module}.{name}")
        return super().find_class(module, name) if allowed else _Inert


_TENSORS: Any = SimpleNamespace(
    __name__="tensors",
    Unpickler=_Unpickler,
    load=lambda file, **options: _Unpickler(file, **options).load(),
    loads=lambda data, **options: _Unpickler(io.BytesIO(data), **options).load(),
)


def load_weights(bridge: Bridge, tensors: Mapping[str, Tensor]) -> Loaded:
    """Fill the bridge with BERT's weights, or with a released sampler's.

    The last `layers` of BERT's layers become ours, the first `text_layers` those of the text. BERT
    has no cross-attention and no flow tokens: these stay as they were drawn.

    Raises:
        UserError: the file holds none of the names, or a tensor does not fit.
    """
    theirs = without_prefixes(tensors)
    ours = bridge.state_dict()
    values, ignored = _combined(bridge, theirs), []
    combined = (*WORDS, *TOKENS) if bridge.config.input == "flow" else WORDS
    for name, tensor in theirs.items():
        targets = [target for target in _ours(name, bridge.config) if target in ours]
        values |= dict.fromkeys(targets, tensor)
        if not targets and name not in combined:
            ignored.append(name)
    if not values:
        raise UserError("no weights of BERT or of a released sampler are in this checkpoint")
    for name, value in values.items():
        if ours[name].shape != value.shape:
            raise UserError(
                f"{name} of the bridge is {tuple(ours[name].shape)}, in the checkpoint"
                f" {tuple(value.shape)}: the sizes of the bridge must be the checkpoint's"
            )
    bridge.load_state_dict(values, strict=False)
    return Loaded(sorted(values), sorted(ours.keys() - values), sorted(ignored))


def without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sampler's tensors by their bare names; of a Lightning checkpoint those alone."""
    if any(LIGHTNING in name for name in tensors):
        tensors = {name: value for name, value in tensors.items() if LIGHTNING in name}
    bare = {}
    for name, value in tensors.items():
        while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), ""):
            name = name.removeprefix(prefix)
        # BERT's own files have the names of its first release.
        name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
        bare[re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)] = value
    return bare


def _ours(name: str, config: BridgeConfig) -> list[str]:
    """What a tensor of a file is called here; BERT's lower layers may be none of ours."""
    if name in TABLES:
        return [TABLES[name]]
    match = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)\.(weight|bias)", name)
    if not match or match[2] not in PARTS:
        return []
    layer, part = int(match[1]), f"{PARTS[match[2]]}.{match[3]}"
    names = [f"text_layers.{layer}.{part}"] if layer < config.text_layers else []
    first = RELEASED_LAYERS - config.layers
    return names + ([f"layers.{layer - first}.{part}"] if layer >= first else [])


def _combined(bridge: Bridge, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of ours is made of several tensors of a file."""
    values: dict[str, Tensor] = {}
    words, types = (theirs.get(name) for name in WORDS)
    if words is not None:
        # Each word gets the embedding of the first token type.
        values["words.weight"] = words if types is None else words + types[0]
    patch = bridge.config.patch
    if bridge.config.input == "flow" and all(name in theirs for name in TOKENS):
        projection, shift, places, offset = (theirs[name] for name in TOKENS)
        # A cell is the mean of a square of pixels: its weight is the sum of the pixels' weights.
        pixels, left = divmod(projection.shape[-1], patch)
        if left:
            raise UserError(
                f"patches of {projection.shape[-1]} pixels have no {patch} cells a side"
            )
        cells = torch.nn.functional.avg_pool2d(projection, pixels) * pixels**2
        values["tokens.projection.weight"] = cells.flatten(1)
        values["tokens.weights"] = places.flatten()
        values["tokens.projection.bias"] = shift * places.sum() + offset
    return values
