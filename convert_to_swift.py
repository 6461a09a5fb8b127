"""Stage 4: responses -> swift_data/<model>_i0_r<ratios>.json, preference pairs for ms-swift's DPO.

    python convert_to_swift.py qwen2vl7b 16 8 4 2                # one mixed file, both data sets
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --per_level   # what training reads
    python convert_to_swift.py dryrun 16 8 --dataset mine --val 0.05 --distinct_levels
    python convert_to_swift.py dryrun 16 8 4 2 --dataset mine --judgements
    python convert_to_swift.py dryrun 2 --dataset mine --video_root /old/videos=/new/videos

A pair is the model's response to a video's clip captions in the right order (chosen) and its
response to a perturbed list of them (rejected). Pairs that would teach something else are dropped,
each for the first of the rules that holds; the funnel on the screen, and in <output>.funnel.json
beside each output, says how many for which. The output is a JSON array, one row a line:

    {"messages": [{"role": "user", "content": "<video>QUESTION"},
                  {"role": "assistant", "content": CHOSEN}],
     "rejected_response": REJECTED, "videos": [PATH]}
"""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tools.cli import add_data_root, positive, run_script, script_parser, share, whole
from tools.errors import UserError
from tools.pairs.conversion import Output, Plan, check_responses, convert
from tools.pairs.funnel import counts_table, lengths_table
from tools.pairs.perturbation import LEVELS
from tools.pairs.rules import REASONS
from tools.pairs.swift_rows import BYTES_PER_TOKEN, MAX_LENGTH, VIDEO_TOKENS
from tools.store.dataset import SWIFT_DATA, open_dataset
from tools.text.answers import cleaner, media_or_special_tag
from tools.text.prompts import add_prompts_flag

DEFAULT_DATASETS = ["lv178k_1_2m_ytb", "lv178k_2_3m_ytb"]  # the paper's


def root_change(text: str) -> tuple[str, str]:
    """An argparse type: OLD=NEW."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


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
        metavar="N",
        help="round of self-generation: reads iter_N (default: %(default)s)",
    )
    parser.add_argument(
        "--by_similarity", action="store_true", help="read the drops that stage 3 made with it"
    )
    parser.add_argument(
        "--by_group", action="store_true", help="read the drops that stage 3 made with it"
    )
    add_data_root(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--per_level",
        action="store_true",
        help="one file a ratio, as training reads them (default: one file of all of them)",
    )
    group.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="the .json file to write; with --per_level the folder (default:"
        " swift_data/<model>_i<iter>_r<ratios joined by ->.json in the repository)",
    )
    group.add_argument(
        "--val",
        type=share,
        default=0.0,
        metavar="FRACTION",
        help="hold out about this share of the videos, with all their pairs, as"
        " <output>_val.json (default: none)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        help="draws each pair's question and the videos of --val (default: %(default)s)",
    )
    add_prompts_flag(parser)
    group = parser.add_argument_group("rules")
    group.add_argument(
        "--distinct_levels",
        action="store_true",
        help="of a video's pairs that have the same order of clips keep only the hardest, also when"
        " that one's ratio is not asked for, so that files made one by one share none (default:"
        " keep and count them)",
    )
    group.add_argument(
        "--max_similarity",
        type=share,
        metavar="X",
        help="drop pairs whose two sides are more alike, 0 to 1: the share of words in blocks that"
        " stand in both in the same order (default: keep them)",
    )
    group.add_argument(
        "--judgements",
        action="store_true",
        help="drop the pairs that the latest judgement rejects, as people gave them in the viewer:"
        " data/<dataset>/judgements.jsonl (default: nobody's opinion counts)",
    )
    group.add_argument(
        "--drop_unsure",
        action="store_true",
        help="with --judgements, drop what the latest judgement is unsure about as well (default:"
        " keep it)",
    )
    group.add_argument(
        "--max_length",
        type=positive,
        default=MAX_LENGTH,
        metavar="TOKENS",
        help="longest row that training takes, of which those above are counted and kept; the"
        f" estimate is UTF-8 bytes / {BYTES_PER_TOKEN} for text and at most {VIDEO_TOKENS} for the"
        " video (default: %(default)s, the paper's)",
    )
    group = parser.add_argument_group("videos")
    group.add_argument(
        "--video_root",
        type=root_change,
        metavar="OLD=NEW",
        help="the videos have moved: paths that begin with the folder OLD begin with NEW instead"
        " (default: paths as they are)",
    )
    group.add_argument(
        "--check_videos",
        action="store_true",
        help="decode the first frame of each video (default: see that the file is there)",
    )
    return parser.parse_args(argv)


def outputs(args: Namespace) -> list[Output]:
    """The files to write.

    Raises:
        UserError: --output does not go with --per_level or its absence.
    """
    names = {ratio: f"{args.model}_i{args.iter}_r{ratio}.json" for ratio in args.ratios}
    if args.per_level:
        folder = args.output or SWIFT_DATA
        if folder.is_file() or folder.suffix == ".json":
            raise UserError(f"--output {folder}: with --per_level it names a folder, not a file")
        return [Output(folder / names[ratio], [ratio]) for ratio in args.ratios]
    ratios = "-".join(map(str, args.ratios))
    path = args.output or SWIFT_DATA / f"{args.model}_i{args.iter}_r{ratios}.json"
    if path.is_dir() or path.suffix != ".json":
        raise UserError(f"--output {path}: without --per_level it names a file, <name>.json")
    return [Output(path, args.ratios)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 4."""
    args = parse_arguments(argv)
    names = args.dataset or DEFAULT_DATASETS
    for what, values in (("ratio", args.ratios), ("dataset", names)):
        if len(set(values)) < len(values):
            raise UserError(f"a {what} is named twice: {' '.join(map(str, values))}")
    if args.drop_unsure and not args.judgements:
        raise UserError("--drop_unsure goes with --judgements")
    try:
        datasets = [open_dataset(name, args.data_root) for name in names]
    except UserError as error:
        hint = "" if args.dataset else "; name yours with --dataset"
        raise UserError(f"{error}{hint}") from None
    plan = Plan(
        model=args.model,
        iteration=args.iter,
        datasets=datasets,
        ratios=args.ratios,
        questions=args.prompts.questions,
        clean=cleaner(args.model),
        find_tag=media_or_special_tag,
        by_similarity=args.by_similarity,
        by_group=args.by_group,
        seed=args.seed,
        distinct_levels=args.distinct_levels,
        max_similarity=args.max_similarity,
        val=args.val,
        video_root=args.video_root,
        check_videos=args.check_videos,
        judgements=args.judgements,
        drop_unsure=args.drop_unsure,
        max_length=args.max_length,
    )
    files = outputs(args)
    for note in check_responses(plan):
        print(f"note: {note}")
    cells = convert(plan, files)

    console = Console()
    console.print(counts_table(cells, f"{args.model}: {', '.join(names)}"), crop=False)
    console.print(lengths_table(cells))
    over = sum(cell.over_max_length for cell in cells)
    if over:
        print(
            f"warning: {over} rows are estimated at more than {args.max_length} tokens; training"
            " drops such rows without a word"
        )
    if any(cell.dropped["video_gone"] for cell in cells):
        print("note: where videos have moved, --video_root OLD=NEW finds them")
    if not any(cell.kept for cell in cells):
        print("warning: not one pair is left")
    for output in files:
        print(output.path)
        if args.val:
            print(output.val_path)


if __name__ == "__main__":
    run_script(main)
