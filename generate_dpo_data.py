"""Stage 3: clip captions -> data/<dataset>/dpo-<model>/iter_0/<config>.jsonl, 13 files.

    python generate_dpo_data.py lv178k_1_2m_ytb 8
    python generate_dpo_data.py --dataset mine 8 --model dryrun --seed 0

A model joins a video's clip captions into one paragraph 13 times: in the right order, and with
clips dropped, reversed or shuffled at magnitudes 2, 4, 8, 16 (16 perturbs most and makes the
easiest pair). The selection of clips depends on (seed, video_id, configuration) alone. The step
is called responses.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from inference.captioner import Sampling
from inference.models import add_model_flags, captioner_from, response_sampling
from inference.workload import add_rate_flag
from tools.cli import (
    add_dataset,
    add_settings,
    add_shards,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import UserError
from tools.runner.options import Options
from tools.shots.readiness import ready_shards
from tools.store.dataset import Dataset, open_shards
from tools.text.prompts import add_prompts_flag


@dataclass(frozen=True)
class Perturbations:
    """Which lists of clip captions the model is given."""

    seed: int = setting(0, "seed of all perturbations, and of what a model draws", type=int)
    iter: int = setting(0, "round of self-generation: the files go to iter_N")
    fine: bool = setting(
        False,
        "make two more files at level r1, which is finer than the paper's: neighbouring clips are"
        " swapped, or one of them is repeated in place of the other (default: the paper's"
        " thirteen)",
    )
    by_similarity: bool = setting(
        False,
        "drop clips that look like those dropped before (default: any clips)",
        group="biased drops (off in the paper's runs)",
    )
    by_group: bool = setting(
        False, "drop all clips of a group together (default: clips one by one)"
    )


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_shards(parser)
    add_settings(parser, Perturbations)
    group = parser.add_argument_group("sampling (default of each: the method's for this model)")
    group.add_argument("--temperature", type=float, help="0 is greedy")
    group.add_argument("--top_p", type=float, help="probability mass that is sampled from, 0 to 1")
    group.add_argument("--top_k", type=int, help="tokens sampled from; 1 is greedy, 0 all")
    group.add_argument("--repetition_penalty", type=float, help="1 means no penalty")
    group.add_argument("--max_new_tokens", type=int, help="longest response, tokens")
    add_prompts_flag(parser)
    add_model_flags(parser, "responses, from its own clip captions")
    add_rate_flag(parser)
    add_settings(parser, Options)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 3."""
    args = parse_arguments(argv)
    datasets = open_shards(args.dataset, args.data_root, args.shards)
    captioner = captioner_from(args)
    ready = ready_shards(
        datasets,
        lambda dataset: dataset.table(f"clip_captions_{captioner.name}").exists(),
        f"clip captions by {captioner.name}",
        named=args.shards is not None,
    )
    if not ready:
        models = ", ".join(datasets[0].caption_models()) or "none yet"
        raise UserError(
            f"{args.dataset} has no clip captions by {captioner.name} (there are: {models}): run"
            f" generate_meta_data.py {args.world_size} --dataset {args.dataset}"
            f" --model {args.model} first"
        )
    flags = {entry.name: getattr(args, entry.name) for entry in fields(Sampling)}
    given = {name: value for name, value in flags.items() if value is not None}
    sampling = replace(response_sampling(captioner), **given)
    values = ", ".join(f"{name} {value}" for name, value in sampling.as_dict().items())
    engine = captioner.fingerprint()["engine"]
    print(f"responses by {captioner.name} ({engine}); sampling: {values}")
    if args.temperature and sampling.is_greedy:
        print("note: this is greedy; for answers drawn at --temperature, add --top_k 0 --top_p 1")

    from inference.responding import ResponsesStep
    from tools.pairs.perturbation import configs
    from tools.runner.fingerprints import check_shards
    from tools.runner.run import run, run_shards

    chosen = configs(args.by_similarity, args.by_group, args.fine)
    how = (chosen, sampling, args.seed, args.iter, args.prompts, args.rate)
    options = settings_from(args, Options)

    def stage_three(dataset: Dataset) -> None:
        steps = [ResponsesStep(dataset, captioner, *how)]
        if not args.redo:
            check_shards(steps, dataset)
        run(steps, dataset, options)

    run_shards(ready, stage_three)


if __name__ == "__main__":
    run_script(main)
