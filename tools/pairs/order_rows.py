"""Rows for GRPO with rewards for order, which need no labels.

    python -m tools.pairs.order_rows qwen25vl7b --dataset mine

One row a video that has a response in the right order (stage 3): a question, the video, that
response as the answer, from which only the length of a row is estimated (GRPO samples its own), and
what the rewards of train_scripts/order_reward.py compare with: `clip_captions`, and `reversed`, the
model's text about the video played backwards (python -m inference.reversal makes it; null without).
The recipe's data `order` reads the output, swift_data/<model>_i<iter>_order.json.
"""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.cli import add_data_root, new_file, run_script, script_parser, whole
from tools.errors import UserError
from tools.pairs.perturbation import CLEAN
from tools.pairs.swift_rows import swift_row
from tools.store.dataset import SWIFT_DATA, Dataset, open_dataset
from tools.store.files import json_array
from tools.store.jsonl import Table, dumps
from tools.store.origin import check_origin
from tools.text.prompts import add_prompts_flag

MIN_CLIPS = 2  # fewer have no order


def order_rows(
    dataset: Dataset, model: str, iteration: int, questions: Sequence[str], seed: int
) -> Iterator[dict[str, Any]]:
    """The rows of a data set, in the order of its videos' ids.

    Raises:
        UserError: stage 2 or 3 has made nothing by this model, or what was made is out of date.
    """
    captions = _kept(dataset.table(f"clip_captions_{model}"), "generate_meta_data.py")
    responses = _kept(dataset.responses(model, CLEAN.name, iteration), "generate_dpo_data.py")
    backwards = dataset.table(f"reversed_{model}")
    check_origin(backwards)
    texts = {r["video_id"]: r["reversed"] for r in backwards.read() if not r.get("filtered")}
    for video_id in sorted(captions.keys() & responses.keys()):
        events = captions[video_id]["clip_captions"]
        if len(events) < MIN_CLIPS:
            continue
        path = os.path.abspath(dataset.video_path(captions[video_id]))
        question = random.Random(f"{seed}/{video_id}/order").choice(questions)
        row = swift_row(question, responses[video_id]["response"], None, path)
        yield {**row, "clip_captions": events, "reversed": texts.get(video_id)}


def _kept(table: Table, script: str) -> dict[str, dict[str, Any]]:
    """video_id -> record of those that were not filtered."""
    check_origin(table)
    records = {r["video_id"]: r for r in table.read() if not r.get("filtered")}
    if not records:
        raise UserError(f"{table.path} holds no video: {script} makes it")
    return records


def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows."""
    parser = script_parser(__doc__)
    parser.add_argument("model", help="whose captions and responses")
    parser.add_argument("--dataset", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--iter", type=whole, default=0, help="round (default: %(default)s)")
    parser.add_argument("--seed", type=whole, default=0, help="of the questions (default: 0)")
    parser.add_argument(
        "--output",
        type=new_file,
        metavar="FILE",
        help="(default: swift_data/<model>_i<iter>_order.json in the repository)",
    )
    add_prompts_flag(parser)
    add_data_root(parser)
    args = parser.parse_args(argv)
    out: Path = args.output or SWIFT_DATA / f"{args.model}_i{args.iter}_order.json"
    datasets = [open_dataset(name, args.data_root) for name in args.dataset]
    rows = [
        row
        for dataset in datasets
        for row in order_rows(dataset, args.model, args.iter, args.prompts.questions, args.seed)
    ]
    with json_array(out) as write:
        for row in rows:
            write(dumps(row))
    without = sum(row["reversed"] is None for row in rows)
    print(f"{out}: {len(rows)} rows")
    if without:
        print(
            f"note: {without} of them have no text of the video played backwards, so the reward"
            " `reverse` pays nothing for them: python -m inference.reversal makes it"
        )


if __name__ == "__main__":
    run_script(main)
