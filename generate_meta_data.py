"""Stage 2: videos.jsonl -> data/<dataset>/anno/clip_captions_<model>.jsonl.

    python generate_meta_data.py 8                                    # lv178k_1_2m_ytb, qwen2vl7b
    python generate_meta_data.py 8 --dataset mine --model dryrun      # no weights, no GPU

Each clip's two key frames are shown to a video LLM, from the second clip on together with the clip
before it. `raw_clip_captions_<model>.jsonl` keeps the whole answers, `clip_captions_<model>.jsonl`
the captions taken out of them. `dryrun` writes what OpenCV measures: it checks the data flow before
GPU hours are spent, and its captions are worth nothing else.
"""

from argparse import Namespace
from collections.abc import Sequence

from inference.captioning import CaptionsStep, RawCaptionsStep
from inference.models import add_model_flags, captioner_from
from tools.cli import (
    add_runner_flags,
    add_world_size,
    positive,
    run_script,
    runner_options,
    script_parser,
)
from tools.errors import UserError
from tools.runner.run import run
from tools.store.dataset import open_dataset
from tools.text.prompts import add_prompts_flag


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    add_world_size(parser)
    parser.add_argument(
        "--dataset",
        default="lv178k_1_2m_ytb",
        help="name of the dataset, as given to preprocess.py (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of whatever a model draws at random; every request has its own, derived from"
        " this one, the video and the clip (default: %(default)s)",
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        metavar="N",
        help="longest answer to a clip prompt, tokens; a model that thinks first needs more"
        " (default: the model's in models.yaml, 2048 for any other)",
    )
    add_prompts_flag(parser)
    add_model_flags(parser, "captions")
    add_runner_flags(parser, steps="raw_captions, captions")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 2."""
    args = parse_arguments(argv)
    captioner = captioner_from(args, args.max_new_tokens)
    dataset = open_dataset(args.dataset, args.data_root)
    if not dataset.videos().exists():
        raise UserError(
            f"{dataset.videos().path} is not there: run preprocess.py {args.dataset} first"
        )
    values = ", ".join(f"{name} {value}" for name, value in captioner.decoding.as_dict().items())
    engine = captioner.fingerprint()["engine"]
    print(f"captions by {captioner.name} ({engine}); decoding: {values}")
    raw = RawCaptionsStep(dataset, captioner, args.seed, args.prompts)
    steps = [raw, CaptionsStep(dataset, captioner)]
    run(steps, dataset, runner_options(args))


if __name__ == "__main__":
    run_script(main)
