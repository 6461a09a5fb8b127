"""Stage 2: videos.jsonl -> data/<dataset>/anno/clip_captions_<model>.jsonl.

    python generate_meta_data.py 8                                    # lv178k_1_2m_ytb, qwen2vl7b
    python generate_meta_data.py 8 --dataset mine --model dryrun      # no weights, no GPU

A video LLM sees each clip's two key frames, from the second clip on together with the clip before
it. The step raw_captions writes the whole answers to `raw_clip_captions_<model>.jsonl`, the step
captions takes the captions out of them. `dryrun` writes made-up captions: it checks the data flow
before GPU hours are spent, and is good for nothing else.
"""

from argparse import Namespace
from collections.abc import Sequence

from inference.models import add_model_flags, captioner_from
from inference.workload import add_rate_flag
from tools.cli import (
    add_settings,
    add_shards,
    positive,
    run_script,
    script_parser,
    settings_from,
)
from tools.errors import UserError
from tools.runner.options import Options
from tools.shots.readiness import ready_shards
from tools.store.dataset import Dataset, open_shards
from tools.text.prompts import add_prompts_flag
from tools.video.kept_scans import KeptScans

DEFAULT_DATASET = "lv178k_1_2m_ytb"  # the paper's


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help=f"name of the dataset, as given to preprocess.py (default: {DEFAULT_DATASET})",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="seed of what a model draws at random; each request has a seed of its own, derived"
        " from this one, the video and the clip (default: %(default)s)",
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        help="longest answer to a clip prompt, tokens; a model that thinks first needs more"
        " (default: the model's in models.yaml, 2048 for any other)",
    )
    add_prompts_flag(parser)
    add_model_flags(parser, "captions")
    add_rate_flag(parser)
    add_shards(parser)
    add_settings(parser, KeptScans)
    add_settings(parser, Options)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 2."""
    args = parse_arguments(argv)
    if args.dataset is None:
        print(f"no --dataset given: using {DEFAULT_DATASET}")
    datasets = open_shards(args.dataset or DEFAULT_DATASET, args.data_root, args.shards)
    ready = ready_shards(
        datasets,
        lambda dataset: dataset.videos().exists(),
        "videos.jsonl, the end of stage 1",
        named=args.shards is not None,
    )
    if not ready:
        raise UserError(
            f"{datasets[0].videos().path} is not there: run preprocess.py {datasets[0].name} first"
        )
    captioner = captioner_from(args, args.max_new_tokens)

    from inference.captioning import CaptionsStep, RawCaptionsStep
    from tools.runner.fingerprints import check_shards
    from tools.runner.run import run, run_shards

    values = ", ".join(f"{name} {value}" for name, value in captioner.decoding.as_dict().items())
    engine = captioner.fingerprint()["engine"]
    print(f"captions by {captioner.name} ({engine}); decoding: {values}")

    def stage_two(dataset: Dataset) -> None:
        raw = RawCaptionsStep(dataset, captioner, args.seed, args.prompts, args.rate)
        captions = CaptionsStep(dataset, captioner)
        if not args.redo:
            check_shards([raw, captions], dataset)
        run([raw, captions], dataset, settings_from(args, Options))
        settings_from(args, KeptScans).delete_others(dataset, captions.writes, captions.writes[0])

    run_shards(ready, stage_two)


if __name__ == "__main__":
    run_script(main)
