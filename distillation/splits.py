"""Part the questions of one split by video into train, val and test.

    python -m toyworld --videos 60 --events 4 --qa --out data/toycater
    python -m distillation.splits toycater
    python -m distillation.splits mine --split all --shares 0.8 0.1 0.1 --seed 1

A data set that comes as one file has no split by which a student could be trained and tested. All
questions about a video stay together.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from qa.records import Question, read_questions, write_questions
from tools.cli import add_data_root, add_dataset, amount, run_script, script_parser, whole
from tools.errors import UserError
from tools.store.dataset import open_dataset

SPLITS = ("train", "val", "test")
SHARES = (0.6, 0.2, 0.2)


def parted(
    questions: Sequence[Question], shares: Sequence[float], seed: int
) -> dict[str, list[Question]]:
    """{split: its questions}; the videos are drawn by a seed, in proportion to the shares.

    Raises:
        UserError: a split would be without a video.
    """
    units = sorted(
        {question.unit for question in questions},
        key=lambda unit: hashlib.sha1(f"{seed}/{unit}".encode()).hexdigest(),
    )
    ends = [round(sum(shares[: n + 1]) / sum(shares) * len(units)) for n in range(len(SPLITS))]
    place = {
        unit: next(split for split, end in zip(SPLITS, ends, strict=True) if number < end)
        for number, unit in enumerate(units)
    }
    if missing := [split for split in SPLITS if split not in place.values()]:
        raise UserError(f"{len(units)} videos leave none for {', '.join(missing)}")
    return {
        split: [replace(q, split=split) for q in questions if place[q.unit] == split]
        for split in SPLITS
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the three splits."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("--split", default="test", help="what is parted (default: %(default)s)")
    parser.add_argument(
        "--shares",
        type=amount,
        nargs=3,
        default=SHARES,
        metavar=("TRAIN", "VAL", "TEST"),
        help="of the videos (default: 0.6 0.2 0.2)",
    )
    parser.add_argument("--seed", type=whole, default=0, help="of the draw (default: %(default)s)")
    add_data_root(parser)
    args: Any = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    if dataset.questions("train").is_file():
        raise UserError(f"{dataset.questions('train')} is there already: it would be replaced")
    for split, own in parted(read_questions(dataset, args.split), args.shares, args.seed).items():
        count = write_questions(dataset.questions(split), own)
        print(f"{dataset.questions(split)}: {count} questions")


if __name__ == "__main__":
    run_script(main)
