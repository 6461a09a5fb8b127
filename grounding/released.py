"""A checkpoint of VideoTGB or LSTP-Chat -> a folder that this toolkit reads.

    python -m grounding.released epoch_000.ckpt --base Salesforce/instructblip-vicuna-7b \\
        --fusion mean --out exp/videotgb_7b
    python -m grounding.released sampler.pth --out exp/sampler

A Lightning checkpoint holds the whole answerer, the sampler and a flow network, a file of the
sampler's holds that alone. The folder gets the trained parts of the answerer, the sampler with its
tokenizer, or both; docs/grounding.md lists the names. Only tensors are read from the file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from grounding.answerer.answerer import FUSIONS
from tools.cli import run_script, script_parser
from tools.errors import UserError

PATCHES = 14  # along a side of the picture, of 16 pixels each: the cells of `grounding.flow`
TOKENIZER = "bert-base-uncased"


def sampler_config(state: Mapping[str, Tensor], vocabulary: int) -> dict[str, int]:
    """The sizes of a released sampler, by its tensors without prefixes, as `BridgeConfig` has them.

    Raises:
        UserError: its words are not those of the tokenizer.
    """
    words, dim = state["embeddings.word_embeddings.weight"].shape
    rows, head = state["encoder.embed_positions.weight"].shape
    if words != vocabulary:
        raise UserError(f"the sampler knows {words} words, and its tokenizer {vocabulary}")
    crossing = {name.split(".")[2] for name in state if ".crossattention." in name}
    sizes = {"dim": dim, "heads": dim // head, "max_positions": rows, "vocabulary": words}
    return {**sizes, "layers": len(crossing)}


def main(argv: Sequence[str] | None = None) -> None:
    """Read a file, and write a folder."""
    parser = script_parser(__doc__)
    parser.add_argument("file", type=Path, help="the checkpoint")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new folder")
    parser.add_argument("--base", help="BLIP-2 or InstructBLIP that it was trained from")
    parser.add_argument(
        "--fusion",
        choices=FUSIONS,
        default="mean",
        help="of the frames' visual tokens: mean in IV and IVT, else concat (default: mean)",
    )
    parser.add_argument(
        "--tokenizer", default=TOKENIZER, help="of the sampler's questions (default: %(default)s)"
    )
    args = parser.parse_args(argv)

    import transformers

    from grounding.answerer.weights import load_released, released_answerer, save_trained
    from grounding.bridge.network import Bridge, BridgeConfig
    from grounding.bridge.sampler import Sampler
    from grounding.bridge.weights import load_weights, read_tensors, without_prefixes
    from inference.checkpoints import local_folder

    tensors = read_tensors(args.file)
    of_answerer, of_sampler = released_answerer(tensors), without_prefixes(tensors)
    if not (args.base and of_answerer) and "mrc_head.weight" not in of_sampler:
        raise UserError(f"{args.file} holds no sampler, and no answerer of --base {args.base}")
    if args.base and not of_answerer:
        raise UserError(f"{args.file} holds no answerer: leave --base out")
    if args.base:
        answerer = load_released(args.base, of_answerer, args.fusion)
        save_trained(answerer, args.out)
        print(f"{args.out}: an answerer of the stage {answerer.settings.stage}")
    if "mrc_head.weight" in of_sampler:
        tokenizer = transformers.AutoTokenizer.from_pretrained(local_folder(args.tokenizer))
        sizes = sampler_config(of_sampler, len(tokenizer))
        bridge = Bridge(BridgeConfig.faithful(grid=PATCHES, patch=1, **sizes))
        loaded = load_weights(bridge, tensors)
        if loaded.kept:
            raise UserError(f"{args.file}: the sampler lacks {', '.join(loaded.kept[:3])}")
        Sampler(bridge, tokenizer).save(args.out)
        print(f"{args.out}: a sampler that reads flow of {bridge.config.extractor}")


if __name__ == "__main__":
    run_script(main)
