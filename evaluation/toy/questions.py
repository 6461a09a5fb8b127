"""What the toy benchmark asks about a story: the same of every model, chosen by the story's name.

Four kinds of requests are answered in text: the whole video described, the event right after and
right before another, and captions of single clips. A fifth is answered in likelihoods: is the true
narrative more likely than one in another order, or with events left out?
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from evaluation.toy.stories import Story
from inference.captioner import Request
from tools.store.jsonl import dumps
from tools.text import prompts
from tools.text.prompts import FramePair
from toyworld.language import TEMPLATES, narrate

NEIGHBOURS = 2  # events a story after which, and as many before which, one is asked what happens
CLIPS = 3  # clips a story whose caption is asked for, at most
ADJACENT = 3  # narratives a story with two neighbours swapped, at most


@dataclass(frozen=True)
class Questions:
    """What is asked about one story. An event's place is its number in the story, from 0."""

    question: str  # how the description of the whole video is asked for
    after: list[tuple[int, int]]  # places of the event asked about and of the one right after it
    before: list[tuple[int, int]]  # places of the event asked about and of the one right before it
    clips: list[int]  # places of the events whose clips are shown
    narrative: str  # the truth, in the world's own words
    perturbed: dict[str, list[str]]  # metric -> narratives that must be less likely


def questions_about(story: Story) -> Questions:
    """Choose what is asked; of a story of one event there is less to ask."""
    n = len(story.events)

    def draw(what: str) -> random.Random:
        return random.Random(f"toy benchmark/{story.name}/{what}")

    def some(what: str, first: int, stop: int, most: int) -> list[int]:
        places = range(first, max(first, stop))
        return sorted(draw(what).sample(places, min(most, len(places))))

    def narratives(*orders: Sequence[int]) -> list[str]:
        others = (order for order in orders if list(order) != list(range(n)))
        return [narrate([story.texts[place] for place in order]) for order in others]

    swaps = some("adjacent", 0, n - 1, ADJACENT)
    kept = sorted(draw("dropped").sample(range(n), n - n // 2))
    return Questions(
        question=draw("question").choice(prompts.QUESTIONS),
        after=[(place, place + 1) for place in some("after", 0, n - 1, NEIGHBOURS)],
        before=[(place, place - 1) for place in some("before", 1, n, NEIGHBOURS)],
        clips=some("clips", 0, n, CLIPS),
        narrative=narrate(story.texts),
        perturbed={
            "prefer_reversed": narratives(range(n)[::-1]),
            "prefer_halves": narratives([*range(n // 2, n), *range(n // 2)]),
            "prefer_adjacent": narratives(
                *([*range(at), at + 1, at, *range(at + 2, n)] for at in swaps)
            ),
            "prefer_dropped": narratives(kept),
        },
    )


@dataclass(frozen=True)
class Case:
    """A story, what is asked about it, and the frames of it that `look` gives."""

    story: Story
    questions: Questions
    whole: list[np.ndarray] = field(default_factory=list)
    clips: list[FramePair] = field(default_factory=list)

    def ask_whole(self, question: str) -> Request:
        """Ask something of the whole video."""
        fps = len(self.whole) / self.story.frames * self.story.fps
        return Request(prompts.video_messages(self.whole, question, fps), 0)

    def descriptions(self) -> list[Request]:
        """Ask for the whole video's events, once."""
        return [self.ask_whole(self.questions.question)]

    def neighbours(self) -> list[Request]:
        """Ask what happens right after, then right before, the chosen events."""
        texts = [text.removesuffix(" .") for text in self.story.texts]
        after = [TEMPLATES["after"].format(event=texts[about]) for about, _ in self.questions.after]
        before = [
            TEMPLATES["before"].format(event=texts[about]) for about, _ in self.questions.before
        ]
        return [self.ask_whole(question) for question in (*after, *before)]

    def captions(self) -> list[Request]:
        """Ask for captions of the chosen clips, each shown with the one before it."""
        places = self.questions.clips
        return [Request(prompts.clip_messages(self.clips, place), 0) for place in places]

    def narratives(self) -> list[tuple[Request, str]]:
        """The true narrative, then the perturbed ones, as answers to the description's question."""
        request = self.ask_whole(self.questions.question)
        perturbed = (text for texts in self.questions.perturbed.values() for text in texts)
        return [(request, text) for text in (self.questions.narrative, *perturbed)]


def benchmark_digest(cases: Sequence[Case]) -> str:
    """Twelve hex digits that change with what is true, what is shown and what is asked."""
    wording = prompts.fingerprint(
        TEMPLATES["after"], TEMPLATES["before"], prompts.FIRST_CLIP, prompts.LATER_CLIP
    )
    # Not where the files lie.
    stories = [case.story for case in cases]
    truths = [[story.name, story.texts, story.shots, story.fps] for story in stories]
    content = [truths, [asdict(case.questions) for case in cases]]
    return hashlib.sha1(dumps([wording, content])).hexdigest()[:12]
