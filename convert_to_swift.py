"""Stage 4: responses -> swift_data/<model>_i0_r<ratios>.json, preference pairs for ms-swift's DPO,
or for other trainers.

    python convert_to_swift.py qwen2vl7b 16 8 4 2                # one mixed file, both data sets
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --per_level   # what training reads
    python convert_to_swift.py dryrun 16 8 --dataset mine --val 0.05 --distinct_levels
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --judgements
    python convert_to_swift.py dryrun 2 --dataset mine --video_root /old/videos=/new/videos
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --sft      # chosen sides alone
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --format trl   # or others

A pair is the model's response to a video's clip captions in the right order (chosen) and its
response to a perturbed list of them (rejected). Pairs that would teach something else are dropped,
each for the first rule that applies; the table on the screen, and <output>.funnel.json beside each
output, count them for each rule. The output is a JSON array, one row a line:

    {"messages": [{"role": "user", "content": "<video>QUESTION"},
                  {"role": "assistant", "content": CHOSEN}],
     "rejected_response": REJECTED, "videos": [PATH]}

--sft leaves "rejected_response" out and writes one row a video; a recipe's data `chosen` reads it.
docs/training.md has the rows of the other formats.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tools.cli import (
    add_data_root,
    add_settings,
    add_shards,
    run_script,
    script_parser,
    settings_from,
    whole,
)
from tools.errors import UserError
from tools.pairs.formats import SUFFIXES
from tools.pairs.perturbation import LEVELS
from tools.pairs.rules import REASONS
from tools.pairs.settings import Conversion, Output
from tools.store.dataset import REPOSITORY, Dataset, open_shards
from tools.text.prompts import add_prompts_flag

DEFAULT_DATASETS = ["lv178k_1_2m_ytb", "lv178k_2_3m_ytb"]  # the paper's


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    rules = "\n".join(f"    {name:<16} {meaning}" for name, meaning in REASONS.items())
    parser = script_parser(f"{__doc__}\nWhy a pair is dropped, in the order of the rules:\n{rules}")
    parser.add_argument("model", help="whose responses: the --model of generate_dpo_data.py")
    parser.add_argument(
        "ratios",
        type=int,
        nargs="+",
        choices=LEVELS,
        metavar="ratio",
        help="magnitudes of the perturbations, 16 (easiest pairs) 8 4 2 (hardest), and 1 where"
        " stage 3 ran with --fine; a video's pairs are written in this order, and the output's"
        " name spells it",
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        metavar="NAME",
        help=f"datasets, in the order of their pairs (default: {' '.join(DEFAULT_DATASETS)})",
    )
    parser.add_argument(
        "--iter",
        type=whole,
        default=0,
        help="round of self-generation: reads iter_N (default: %(default)s)",
    )
    parser.add_argument(
        "--per_level",
        action="store_true",
        help="write one file for each ratio, as training reads them (default: one file of all)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the file to write; with --per_level the folder (default:"
        " swift_data/<model>_i<iter>_r<ratios joined by ->.json in the repository, with --sft"
        " <model>_i<iter>_chosen.json; of other formats in <format>_data)",
    )
    add_shards(parser)
    add_data_root(parser)
    add_prompts_flag(parser)
    add_settings(parser, Conversion)
    return parser.parse_args(argv)


def outputs(args: Namespace) -> list[Output]:
    """The files to write.

    Raises:
        UserError: --output does not go with --per_level or its absence.
    """

    suffix = SUFFIXES[args.format]

    def name(ratios: list[int]) -> str:
        what = "chosen" if args.sft else f"r{'-'.join(map(str, ratios))}"
        return f"{args.model}_i{args.iter}_{what}{suffix}"

    own_folder = REPOSITORY / f"{args.format}_data"
    if args.per_level:
        if args.sft:
            raise UserError("--sft writes one file of all ratios: leave --per_level out")
        folder = args.output or own_folder
        if folder.is_file() or folder.suffix == suffix:
            raise UserError(f"--output {folder}: with --per_level it names a folder, not a file")
        return [Output(folder / name([ratio]), [ratio]) for ratio in args.ratios]
    path = args.output or own_folder / name(args.ratios)
    if path.is_dir() or path.suffix != suffix:
        raise UserError(
            f"--output {path}: without --per_level it names a file, <name>{suffix} of the format"
            f" {args.format}"
        )
    return [Output(path, args.ratios)]


def with_responses(args: Namespace, shards: list[Dataset]) -> list[Dataset]:
    """Those of a dataset's shards that have responses by the model; all where none has."""
    ready = [shard for shard in shards if (args.model, args.iter) in shard.response_runs()]
    if ready and len(ready) < len(shards):
        lacking = [shard.shard for shard in shards if shard not in ready]
        print(
            f"note: {len(lacking)} shards of {shards[0].name} have no responses by {args.model},"
            f" such as {lacking[0]}"
        )
    return ready or shards


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 4."""
    args = parse_arguments(argv)
    if not args.dataset:
        print(f"no --dataset given: using {' and '.join(DEFAULT_DATASETS)}")
    names = args.dataset or DEFAULT_DATASETS
    for what, values in (("ratio", args.ratios), ("dataset", names)):
        if len(set(values)) < len(values):
            raise UserError(f"a {what} is named twice: {' '.join(map(str, values))}")
    if args.drop_unsure and not args.judgements:
        raise UserError("--drop_unsure goes with --judgements")
    try:
        datasets = [
            dataset
            for name in names
            for dataset in with_responses(args, open_shards(name, args.data_root, args.shards))
        ]
    except UserError as error:
        hint = "" if args.dataset else "; name yours with --dataset"
        raise UserError(f"{error}{hint}") from None
    titles = Counter(dataset.title for dataset in datasets)
    if twice := [title for title, times in titles.items() if times > 1]:
        raise UserError(f"a shard is named twice: {twice[0]}, in --dataset {' '.join(names)}")
    plan = settings_from(
        args,
        Conversion,
        iteration=args.iter,
        datasets=datasets,
        questions=args.prompts.questions,
    )
    files = outputs(args)

    from rich.console import Console

    from tools.pairs.checks import check_responses
    from tools.pairs.conversion import NoPairLeft, convert
    from tools.pairs.funnel import counts_table, duplicates_line, length_cues, lengths_table

    for note in dict.fromkeys(check_responses(plan)):
        print(f"note: {note}")
    failure = None
    try:
        cells = convert(plan, files)
    except NoPairLeft as error:
        cells, failure = error.cells, error

    console = Console()
    console.print(counts_table(cells, f"{args.model}: {', '.join(names)}"), crop=False)
    console.print(lengths_table(cells))
    for line in () if args.sft else filter(None, [duplicates_line(cells), *length_cues(cells)]):
        print(f"note: {line}")
    over = sum(cell.over_max_length for cell in cells)
    if over:
        print(
            f"warning: {over} rows are estimated at more than {args.max_length} tokens; training"
            " silently drops such rows"
        )
    if any(cell.dropped["video_gone"] for cell in cells):
        print(
            "note: where videos have moved, say so with python -m tools.relocate"
            f" {names[0]} OLD NEW; --video_root OLD=NEW writes paths of another machine"
        )
    if failure:
        raise failure
    if args.val and not any(cell.kept_val for cell in cells):
        print(f"note: --val {args.val:g} holds out no video of so few")
    for output in files:
        print(*output.files(args.val), sep="\n")


if __name__ == "__main__":
    run_script(main)
