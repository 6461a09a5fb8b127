"""What all seeds share: stories, the questions of `python -m toyworld --qa`, and a tiny CLIP.

    python -m reproduction.methods.world exp/methods --size whole

A story has six events, the most that TOPA's language model has read; whoever knows which events
happen but not in which order is at chance in the questions that ask for order. A video is seen in
one frame a second, two of a shot, as toyvl was trained.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qa.records import Question, write_questions
from reproduction.distillation.clips import train_clip
from reproduction.distillation.world import CAPTIONER, DATASET, LONGEST_LINE, TOKENS, data_of
from reproduction.jobs import python
from tools.cli import new_folder, run_script, script_parser
from tools.store.dataset import open_dataset
from tools.video.listing import list_videos
from toyworld.language import TEMPLATES, WORDS
from toyworld.questions import CHOICES, toy_questions
from toyworld.truth import events_of, read_truth

SEED = 1700  # the toy world's seed, which no other reproduction takes
EVENTS, FRAMES = 6, 12
CLIP = "tiny"


@dataclass(frozen=True)
class Size:
    """How many stories there are, how long the CLIP learns from those of its own, and the epochs
    of a student."""

    train: int
    val: int
    test: int
    clip: int
    clip_steps: int
    epochs: int

    @property
    def splits(self) -> dict[str, range]:
        """The numbers of the stories that each split asks about; those of the CLIP come last."""
        ends = [self.test, self.test + self.val, self.test + self.val + self.train]
        return {
            CHOICES: range(ends[0]),
            "val": range(ends[0], ends[1]),
            "train": range(ends[1], ends[2]),
        }

    @property
    def stories(self) -> int:
        """All of them."""
        return self.train + self.val + self.test + self.clip


SIZES = {"whole": Size(300, 60, 120, 120, 450, 24), "quick": Size(60, 20, 30, 60, 200, 12)}


def commands(exp: Path, name: str, workers: int) -> Iterator[list[str]]:
    """What makes the world of a size, with the repository's own commands."""
    root = data_of(exp).root
    if not (root / "truth.jsonl").is_file():
        words = ["--videos", SIZES[name].stories, "--events", EVENTS, "--seed", SEED]
        yield python("toyworld", *words, "--workers", workers, "--out", root)
    yield python("reproduction.methods.world", exp, "--size", name)
    fixed = (DATASET, workers, "--data_root", root.parent)
    words = ["--model", CAPTIONER, "--max_new_tokens", LONGEST_LINE, "--segments", EVENTS]
    yield python("distillation.prompts", *fixed, "--kind", "event", *words)
    words = ["--clip", exp / CLIP, "--tokens", TOKENS, "--num_video_frames", FRAMES]
    yield python("distillation.features", *fixed, *words)
    yield python("grounding.flow", *fixed)


def write_world(exp: Path, size: Size) -> None:
    """List the rendered stories, write the questions about them, and train the CLIP."""
    root = data_of(exp).root
    dataset = open_dataset(DATASET, root.parent, may_be_new=True)
    list_videos(dataset, root / "video")
    dataset.remember_video_dir(root / "video")
    truths = read_truth(root)
    every = toy_questions(truths, DATASET, SEED, len(TEMPLATES), {"file": "truth.jsonl"})
    of_story = list(by_video(every).values())
    for split, numbers in size.splits.items():
        rows = [replace(q, split=split) for number in numbers for q in of_story[number]]
        print(f"{split}: {write_questions(dataset.questions(split), rows)} questions")
    folder = exp / CLIP
    if not (folder / "trained").is_file():
        lines = truths[-size.clip :]
        films = [(root / "video" / line["video_name"], events_of(line)) for line in lines]
        train_clip(films, folder, size.clip_steps, question_words())
        (folder / "trained").touch()


def question_words() -> list[str]:
    """The words of the questions and options, as a tokenizer splits them."""
    text = " ".join([*TEMPLATES.values(), *WORDS]).lower()
    for mark in ("?", "."):
        text = text.replace(mark, f" {mark} ")
    return [word for word in text.split() if "{" not in word]


def by_video(questions: Iterable[Question]) -> dict[str, list[Question]]:
    """Video -> its questions, in order."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        groups.setdefault(question.unit, []).append(question)
    return groups


def main(argv: Sequence[str] | None = None) -> None:
    """Make it."""
    parser = script_parser(__doc__)
    parser.add_argument("exp", type=new_folder, help="folder of the reproduction")
    parser.add_argument("--size", choices=SIZES, default="whole", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    write_world(args.exp, SIZES[args.size])


if __name__ == "__main__":
    run_script(main)
