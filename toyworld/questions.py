"""The toy world's questions as a data set: `python -m toyworld --qa` writes them.

A video gets as many questions of one kind as of another, as far as their number allows and its
story has them. Of a kind, each answer that some question about the story has is drawn as often as
another, so that "one ." is hardly a better guess than "two .", although most things are alone.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from qa.records import Question, write_questions
from tools.store.dataset import Dataset
from tools.video.listing import list_videos, video_id
from toyworld.language import TEMPLATES, Event, StoryQuestion, options, questions
from toyworld.truth import events_of, read_truth

T = TypeVar("T")

EVENTS = tuple(range(4, 11))  # of the stories, where no other numbers are given
OPTIONS = 5  # of a question; fewer where the world has fewer: four shapes, yes and no
CHOICES, OPEN = "test", "open"  # the splits: with options, and the same questions without


def choose_questions(
    events: Sequence[Event], number: int, seed: int, count: int
) -> list[StoryQuestion]:
    """Questions about a story: at most `count`, in the order in which they were drawn.

    The kinds take turns, and go on with the next video where they stopped: 3 questions each give
    the first video the kinds 0 to 2 of TEMPLATES, and the second the kinds 3 to 5.

    Args:
        number: of the video in the world `seed`, from 0.
    """
    rng = random.Random(f"{seed}/{number}")
    every = questions(events)
    first = number * count % len(TEMPLATES)
    kinds = [*TEMPLATES][first:] + [*TEMPLATES][:first]
    by_kind = []
    for kind in kinds:
        by_answer: dict[str, list[StoryQuestion]] = {}
        for question in every:
            if question.kind == kind:
                by_answer.setdefault(question.answer, []).append(question)
        groups = [rng.sample(group, len(group)) for group in by_answer.values()]
        by_kind.append(_in_turn(rng.sample(groups, len(groups))))
    return _in_turn(by_kind)[:count]


def _in_turn(groups: Iterable[Sequence[T]]) -> list[T]:
    """The first of each group, then the second of each, and so on."""
    return [item for row in zip_longest(*groups) for item in row if item is not None]


def toy_questions(
    truths: Iterable[dict[str, Any]],
    dataset: str,
    seed: int,
    count: int,
    origin: dict[str, Any],
) -> Iterator[Question]:
    """The records of the questions about a world, with options, one video after another.

    Args:
        truths: the lines of truth.jsonl, in order.
        dataset: name of the data set.
        count: of questions a video, at most.
        origin: {"file", "sha256"} of what was read.
    """
    for place_in_file, line in enumerate(truths, start=1):
        name = line["video_name"]
        stem = Path(name).stem
        number = int(stem.removeprefix("toy_"))
        events = events_of(line)
        for place, posed in enumerate(choose_questions(events, number, seed, count)):
            rng = random.Random(f"{seed}/{number}/{place}")
            choices = options(posed, events, OPTIONS, rng)
            shown = [line["events"][i] for i in posed.places]
            yield Question(
                id=f"{stem}/{place:03d}",
                dataset=dataset,
                split=CHOICES,
                question=posed.text,
                video_id=video_id(dataset, name),
                video=name,
                choices=choices,
                answer=posed.answer,
                answer_index=choices.index(posed.answer),
                type=posed.kind,
                # When what the answer follows from can be seen, seconds.
                context={
                    "media": "video",
                    "spans": [[event["start_time"], event["end_time"]] for event in shown],
                },
                origin={**origin, "line": place_in_file},
            )


def write_toy_questions(dataset: Dataset, seed: int, count: int) -> int:
    """List the videos of a toy world, whose folder is that of a data set, and write its questions.

    Returns:
        How many questions each of the two splits has.
    """
    list_videos(dataset, dataset.root / "video")
    dataset.remember_video_dir(dataset.root / "video")
    with open(dataset.root / "truth.jsonl", "rb") as file:
        origin = {"file": "truth.jsonl", "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
    truths = read_truth(dataset.root)
    with_choices = list(toy_questions(truths, dataset.name, seed, count, origin))
    write_questions(dataset.questions(CHOICES), with_choices)
    without = (replace(q, split=OPEN, choices=None, answer_index=None) for q in with_choices)
    return write_questions(dataset.questions(OPEN), without)
