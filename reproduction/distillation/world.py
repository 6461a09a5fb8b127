"""What all seeds share: the stories with their questions, and a tiny CLIP that has seen others.

    python -m reproduction.distillation.world exp/distillation --size whole

writes the questions and trains the CLIP, once the stories are rendered (`commands` has all that is
done before a student is trained, in order). The world, its lines by toyvl and the CLIP are made
once in all, and the CLIP is frozen then; a seed has its own first weights, order of the data, draw
of the labels, noise of the teachers and partners of random lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qa.records import write_questions
from reproduction.distillation.clips import train_clip
from reproduction.distillation.questions import EVENTS, questions_about
from reproduction.jobs import python
from tools.cli import new_folder, run_script, script_parser
from tools.store.dataset import Dataset, open_dataset
from tools.video.listing import list_videos
from toyworld.truth import events_of, read_truth

DATASET = "stories"
SEED = 1600  # the toy world's, which no other reproduction takes
CAPTIONER, LONGEST_LINE = "toyvl", 24  # tokens
CLIP, FAITHFUL = "tiny", "tiny-faithful"  # the names of its features, of the two presets
TOKENS = 5  # of a frame: patches are averaged to 2 x 2, for speed
FRAMES = 8  # two of a shot


@dataclass(frozen=True)
class Size:
    """How many stories there are, how long the CLIP learns from those of its own, and the epochs of
    a student."""

    train: int
    val: int
    test: int
    clip: int
    clip_steps: int
    epochs: int

    @property
    def asked(self) -> int:
        """How many stories are asked about."""
        return self.train + self.val + self.test

    @property
    def stories(self) -> int:
        """All of them; those of the CLIP come last."""
        return self.asked + self.clip

    def split_of(self, number: int) -> str | None:
        """The split of a story; None: it is the CLIP's."""
        ends = {"train": self.train, "val": self.train + self.val, "test": self.asked}
        return next((split for split, end in ends.items() if number < end), None)


SIZES = {
    "whole": Size(1000, 200, 400, 200, 450, 24),
    "quick": Size(250, 60, 120, 100, 200, 12),
}


def data_of(exp: Path) -> Dataset:
    """The data set in a folder of the reproduction."""
    return Dataset(DATASET, exp / "data" / DATASET)


def commands(exp: Path, name: str, workers: int) -> Iterator[list[str]]:
    """What makes the world of a size, with the repository's own commands; `ready` says that all
    were run."""
    root = data_of(exp).root
    if not (root / "truth.jsonl").is_file():
        words = ["--videos", SIZES[name].stories, "--events", EVENTS, "--seed", SEED]
        yield python("toyworld", *words, "--workers", workers, "--out", root)
    yield python("reproduction.distillation.world", exp, "--size", name)
    fixed = (DATASET, workers, "--data_root", root.parent)
    for kind in ("event", "frame"):
        words = ["--kind", kind, "--model", CAPTIONER, "--max_new_tokens", LONGEST_LINE]
        yield python("distillation.prompts", *fixed, *words)
    words = ["--clip", exp / CLIP, "--name", CLIP, "--tokens", TOKENS]
    yield python("distillation.features", *fixed, *words)
    words = ["--clip", exp / CLIP, "--name", FAITHFUL, "--tokens", TOKENS, "--preset", "faithful"]
    yield python("distillation.features", *fixed, *words)
    yield python("reproduction.distillation.cost", exp)


def write_world(exp: Path, size: Size) -> None:
    """List the rendered stories, write the questions about them, and train the CLIP."""
    root = data_of(exp).root
    dataset = open_dataset(DATASET, root.parent, may_be_new=True)
    list_videos(dataset, root / "video")
    dataset.remember_video_dir(root / "video")
    stories = [(Path(line["video_name"]).stem, events_of(line)) for line in read_truth(root)]
    for split in ("train", "val", "test"):
        rows = [
            question
            for number, (name, events) in enumerate(stories)
            if size.split_of(number) == split
            for question in questions_about(events, name, DATASET, split, SEED)
        ]
        print(f"{split}: {write_questions(dataset.questions(split), rows)} questions")
    folder = exp / CLIP
    if not (folder / "trained").is_file():
        films = [(root / "video" / f"{name}.mp4", events) for name, events in stories[size.asked :]]
        train_clip(films, folder, size.clip_steps)
        (folder / "trained").touch()


def main(argv: Sequence[str] | None = None) -> None:
    """Make it."""
    parser = script_parser(__doc__)
    parser.add_argument("exp", type=new_folder, help="folder of the reproduction")
    parser.add_argument("--size", choices=SIZES, default="whole", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    write_world(args.exp, SIZES[args.size])


if __name__ == "__main__":
    run_script(main)
