"""Rows that the arms of the reproduction train on, beside the pairs that stage 4 writes.

    python -m reproduction.temple.rows --dataset toysft --n 3200 --seed 0 --out rows/toysft.json
    python -m reproduction.temple.rows --pairs pairs/toyvl_i0_r16.json --n 600 --out r16.json
    python -m reproduction.temple.rows --pairs pairs/*_r{8,4,2}.json --n 1800 --chosen --out c.json

The first asks about the stories of a dataset, with answers out of its truth.jsonl: descriptions of
whole videos, what happens right after or before an event, attributes, and videos of one event. The
others draw pairs, the same number from each file and the same ones whatever they are drawn for;
--chosen leaves their rejected side out, which makes fine-tuning rows of them. --part 2/4 draws four
times as many and takes the second fourth, so that four stages share one draw.
"""

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from tools.cli import add_data_root, new_file, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.files import json_array
from tools.store.jsonl import Record, dumps
from tools.text.prompts import QUESTIONS
from toyworld.language import narrate, questions
from toyworld.truth import events_of, read_truth

# Shares of the rows, as in the pilot: without descriptions of whole videos, fine-tuning wipes
# describing out.
SHARES = {"whole": 0.3, "neighbour": 0.3, "attribute": 0.2, "single": 0.2}
KIND_OF = {
    **dict.fromkeys(("after", "before"), "neighbour"),
    **dict.fromkeys(("what_does", "which_colour", "which_shape"), "attribute"),
}

Truth = dict[str, Any]
"""A story's line of truth.jsonl."""
Asked = Iterator[tuple[str, str, str]]
"""(kind, question, answer) of each."""
Part = tuple[int, int]


def descriptions(story: Truth) -> Asked:
    """The ways to ask for all of a story's events."""
    texts = [event["text"] for event in story["events"]]
    for question in QUESTIONS:
        yield "single" if len(texts) == 1 else "whole", question, narrate(texts)


def questions_of(story: Truth) -> Asked:
    """What happens right after and before each event; attributes of single events."""
    for question in questions(events_of(story)):
        if kind := KIND_OF.get(question.kind):
            yield kind, question.text, question.answer


def story_rows(folder: Path, n: int, seed: int) -> list[Record]:
    """Draw `n` different rows about the stories of a rendered dataset, in SHARES.

    Args:
        folder: of the dataset; holds truth.jsonl and video/.

    Raises:
        UserError: it is not there, or has too few stories for so many different rows.
    """
    try:
        stories = read_truth(folder)
    except FileNotFoundError:
        raise UserError(f"{folder} holds no truth.jsonl: python -m toyworld renders it") from None
    rows_of: dict[str, list[Record]] = {kind: [] for kind in SHARES}
    for story in stories:
        video = str((folder / "video" / story["video_name"]).absolute())
        for questions_about in (descriptions, questions_of):
            for kind, question, answer in questions_about(story):
                user = {"role": "user", "content": f"<video>{question}"}
                messages = [user, {"role": "assistant", "content": answer}]
                rows_of[kind].append({"messages": messages, "videos": [video]})
    rng = random.Random(f"{seed}/{folder.name}")
    rows = []
    for kind, count in rows_a_kind(n).items():
        if len(rows_of[kind]) < count:
            raise UserError(
                f"{folder} has {len(rows_of[kind])} different rows of the kind {kind!r}, and"
                f" {count} of {n} are needed: render more stories, or ask for fewer rows"
            )
        rows += rng.sample(rows_of[kind], count)
    rng.shuffle(rows)
    return rows


def rows_a_kind(n: int) -> dict[str, int]:
    """How many rows of each kind make `n`; the last kind takes what rounding leaves."""
    *others, last = SHARES
    counts = {kind: round(n * SHARES[kind]) for kind in others}
    return {**counts, last: n - sum(counts.values())}


def drawn_pairs(files: Sequence[Path], n: int, seed: int, part: Part = (1, 1)) -> list[Record]:
    """Draw `n` pairs, as many from each file; the draw depends on seed, file's name and number.

    No pair comes twice before all of its file have come once.

    Args:
        part: (k, of): the k-th part, from 1, of a draw of `of` times as many pairs.

    Raises:
        UserError: a file is missing or empty, or `n` cannot be shared.
    """
    share = n // len(files)
    if n % len(files):
        raise UserError(f"{n} rows cannot be shared evenly by {len(files)} files")
    rows: list[Record] = []
    for path in files:
        try:
            pairs = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; convert_to_swift.py --per_level writes it"
            ) from None
        if not pairs:
            raise UserError(f"{path} has no pairs")
        # The same pairs whatever share of the captions is wrong (reproduction.temple.noise).
        rng = random.Random(f"{seed}/{re.sub(r'_n[0-9]+(?=_i)', '', path.name)}")
        number, of = part
        drawn: list[Record] = []
        for start in range(0, share * of, len(pairs)):
            drawn += rng.sample(pairs, min(len(pairs), share * of - start))
        rows += drawn[share * (number - 1) : share * number]
    return rows


def part_of(text: str) -> Part:
    """Read K/N."""
    number, of = map(int, text.split("/"))
    if not 1 <= number <= of:
        raise ValueError(text)
    return number, of


def without_rejected(rows: Sequence[Record]) -> list[Record]:
    """The chosen side of pairs alone."""
    return [{k: v for k, v in row.items() if k != "rejected_response"} for row in rows]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows."""
    parser = script_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="NAME", help="a story dataset under data/")
    source.add_argument(
        "--pairs",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files of pairs, as stage 4 writes them",
    )
    parser.add_argument("--n", type=positive, required=True, metavar="N", help="how many rows")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument(
        "--chosen", action="store_true", help="leave the rejected side of pairs out"
    )
    parser.add_argument(
        "--part",
        type=part_of,
        default=(1, 1),
        metavar="K/N",
        help="of a draw of N times as many (default: 1/1)",
    )
    parser.add_argument(
        "--out", type=new_file, required=True, metavar="FILE", help="the .json file"
    )
    add_data_root(parser)
    args = parser.parse_args(argv)
    if args.chosen and args.dataset:
        parser.error("--chosen goes with --pairs")
    if args.dataset:
        rows = story_rows(args.data_root / args.dataset, args.n, args.seed)
    else:
        rows = drawn_pairs(args.pairs, args.n, args.seed, args.part)
    with json_array(args.out) as write:
        for row in without_rejected(rows) if args.chosen else rows:
            write(dumps(row))
    print(f"{args.out}: {len(rows)} rows")


if __name__ == "__main__":
    run_script(main)
