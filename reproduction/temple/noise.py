"""Clip captions with mistakes, as of a weaker captioner.

    python -m reproduction.temple.noise --dataset toypairs --model toyvl --percent 20

Reads clip_captions_<model>.jsonl and writes clip_captions_<model>_n20.jsonl, which stage 3 takes
with --model_name <model>_n20. Of so many percent of the captions one thing is wrong: the colour,
the shape or the action is confused with another, or the caption is missing; each is as likely. What
a caption does not name cannot be confused: it is missing then.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.cli import add_data_root, run_script, script_parser, whole
from tools.runner.options import Options
from tools.runner.run import run
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record
from toyworld.language import ACTIONS, COLOURS, SHAPES

CONFUSED: Mapping[str, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "action": ACTIONS}
MISTAKES = (*CONFUSED, "missing")


def noisy(model: str, percent: int) -> str:
    """What a model with so many percent of wrong captions is called."""
    return f"{model}_n{percent}" if percent else model


def mistaken(caption: str, mistake: str, rng: random.Random) -> str | None:
    """A caption with one of MISTAKES; None where it is missing."""
    words = CONFUSED.get(mistake, ())
    named = [word for word in words if re.search(rf"\b{word}\b", caption)]
    if not named:
        return None
    wrong = rng.choice([word for word in words if word not in named])
    text = re.sub(rf"\b{named[0]}\b", wrong, caption)
    article = "an" if re.search(r"\ban? orange", text) else "a"
    return re.sub(r"\ban?\b", article, text)


@dataclass
class NoiseStep(Step):
    """Make mistakes in the clip captions of a video."""

    dataset: Dataset
    model: str
    percent: int
    seed: int

    name = "noise"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(f"clip_captions_{self.model}")
        out = noisy(self.model, self.percent)
        self.writes = (self.dataset.table(f"clip_captions_{out}"),)

    def params(self) -> dict[str, Any]:
        return {"percent": self.percent, "seed": self.seed}

    def process(self, record: Record) -> Record:
        """Change clip_captions; `mistakes` says which mistake each had, or null."""
        captions, mistakes = [], []
        for number, caption in enumerate(record["clip_captions"]):
            rng = random.Random(f"{self.seed}/{record['video_id']}/{number}")
            mistake = rng.choice(MISTAKES) if rng.random() < self.percent / 100 else None
            mistakes.append(mistake)
            captions.append(mistaken(caption, mistake, rng) if mistake else caption)
        kept = [caption for caption in captions if caption is not None]
        return {**record, "clip_captions": kept, "mistakes": mistakes}


def main(argv: Sequence[str] | None = None) -> None:
    """Write the captions."""
    parser = script_parser(__doc__)
    parser.add_argument("--dataset", required=True, metavar="NAME")
    parser.add_argument("--model", required=True, metavar="NAME", help="whose captions")
    parser.add_argument("--percent", type=whole, required=True, help="of the captions are wrong")
    parser.add_argument("--seed", type=whole, default=0, help="(default: %(default)s)")
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    step = NoiseStep(dataset, args.model, args.percent, args.seed)
    run([step], dataset, Options(world_size=1, data_root=args.data_root))


if __name__ == "__main__":
    run_script(main)
