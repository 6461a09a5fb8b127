"""Import a released checkpoint of TOPA, trained or fine-tuned:

    python -m prealignment.released checkpoint_19.pth --llm ~/llama2/7B
    python -m prealignment.answer egoschema --checkpoint exp/topa/checkpoint_19 --memory textvid

The file holds the prefix, the gates, the projection and the slots of one Llama, which --llm names:
a folder or an id of the library's format, or a folder of Meta's own files. The optimizer's state in
it is not read into the result.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prealignment.model.config import AlignmentConfig
from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.features.clip import CLIP

# The released models ran with this base of rotary positions, Llama 3 too, whose own is 500,000.
ROPE_THETA = 10_000.0
EXPERIMENTS = Path("exp/topa")
GATE = re.compile(r"layers\.(\d+)\.attention\.(gate[12])")


def read_released(path: Path) -> dict[str, Any]:
    """The weights of a released file by their names there; nothing in it is run.

    Raises:
        UserError: it cannot be read, or holds no model.
    """
    import torch

    try:
        # Its settings are a Namespace of argparse, which holds values alone.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
        weights = content["model"]
        return {name: weights[name].float() for name in weights}
    except FileNotFoundError:
        raise UserError(f"{path} is not there") from None
    except Exception as error:
        why = str(error).strip().splitlines()[0]
        raise UserError(
            f"{path} is no released checkpoint ({type(error).__name__}: {why})"
        ) from None


def own_weights(weights: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """Released weights under the names of `AlignedLlama`; adapter_query holds the prefixes of all
    layers, one after the other.

    Raises:
        UserError: a weight is missing, is unknown, or does not fit the number of layers.
    """
    try:
        prefixes = weights["adapter_query.weight"]
        own = {name: weights[name] for name in ("visual_proj.weight", "temporal_emb.weight")}
    except KeyError as error:
        raise UserError(f"the released checkpoint lacks {error}") from None
    if len(prefixes) % layers:
        raise UserError(
            f"the released checkpoint has {len(prefixes)} learned keys, which {layers} layers"
            " cannot share: it is of another language model"
        )
    for name, value in weights.items():
        if gate := GATE.fullmatch(name):
            own[f"model.layers.{gate[1]}.self_attn.{gate[2]}"] = value
        elif name not in own and name != "adapter_query.weight":
            raise UserError(f"the released checkpoint holds {name}, which no such model has")
    for number, prefix in enumerate(prefixes.view(layers, -1, prefixes.shape[1])):
        own[f"model.layers.{number}.self_attn.prefix"] = prefix
    return own


def main(argv: Sequence[str] | None = None) -> None:
    """Import a file."""
    parser = script_parser(__doc__)
    parser.add_argument("file", type=Path, help="the released .pth")
    parser.add_argument("--llm", required=True, metavar="MODEL", help="its language model")
    parser.add_argument(
        "--clip",
        default=Path(CLIP).name,
        metavar="NAME",
        help="the CLIP whose vectors it reads, as the folder of the vectors is called"
        " (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=new_folder,
        metavar="DIR",
        help="new folder (default: exp/topa/ and the file's name)",
    )
    args = parser.parse_args(argv)
    out = args.out or EXPERIMENTS / args.file.stem

    from prealignment.weights.alignments import (
        Settings,
        llm_folder,
        open_aligned,
        put_weights,
        save_alignment,
    )
    from tools.store.files import read_json

    layers = read_json(llm_folder(args.llm) / "config.json")["num_hidden_layers"]
    weights = own_weights(read_released(args.file), layers)
    frames, width = len(weights["temporal_emb.weight"]), weights["visual_proj.weight"].shape[1]
    prefix = len(weights["model.layers.0.self_attn.prefix"])
    config = AlignmentConfig(width, frames=frames, prefix_length=prefix)
    training = {"released": args.file.name}
    about = Settings(args.llm, config, f"text:{args.clip}", ROPE_THETA, training)
    aligned = open_aligned(about)
    put_weights(aligned.model, weights, str(args.file))
    save_alignment(out, aligned.model, about)
    print(out)


if __name__ == "__main__":
    run_script(main)
