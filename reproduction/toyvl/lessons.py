"""What toyvl is taught: to caption clips, to join captions, to describe a whole video and to answer
questions about it.

Each lesson is a conversation in the toolkit's own prompts about shots of rendered stories, and all
are taught right but one: a whole video is described in an unreliable order, its events in blocks
that were shuffled. Questions of order are not among the lessons. That is the gap which preference
training is to close.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as images

from reproduction.toyvl.checkpoint import FRAME_PIXELS
from tools.text import prompts
from tools.video.frames import read_frames
from toyworld.language import CONTENT_KINDS, Event, StoryQuestion, narrate, questions
from toyworld.stories import RATE, SHOT_SECONDS
from toyworld.truth import events_of, read_truth

SIDE = int(FRAME_PIXELS**0.5)
PATCH = 14
SHOT_FRAMES = round(SHOT_SECONDS * RATE)
# Two frames of a shot lie so far apart: key frames (5, 10 of 16), and frames at one a second.
CLIP_GAPS = (4, 7)
VIDEO_GAPS = (7, 8)
# Half of the pictures are shown mirrored, so that what moved left moves right, and all of them a
# little brighter or darker: a few thousand renders do for many.
MIRRORED_SHARE = 0.5
BRIGHTNESS = 0.1
MIRRORED = {"moves left": "moves right", "moves right": "moves left"}
BLOCKS = (2, 4, 8, 16)  # magnitudes of the shuffled blocks, as TEMPLE's shuffle has them
NOTHING = -100  # label of a token that is not learnt


@dataclass(frozen=True)
class Shots:
    """The shots of rendered stories.

    Attributes:
        frames: uint8 (shots, frames a shot, 3, 28, 28).
        events: what happens in each; no two of one colour and shape meet in one lesson.
    """

    frames: torch.Tensor
    events: list[Event]


def read_shots(dataset: Path) -> Shots:
    """Decode a folder of stories (python -m toyworld --events) at toyvl's 28 x 28 pixels, scaled
    as Qwen2-VL's video processor scales them."""
    frames, events = [], []
    for story in read_truth(dataset):
        pictures = read_frames(dataset / "video" / story["video_name"], range(story["frames"]))
        video = torch.from_numpy(np.stack([pictures[i] for i in range(story["frames"])]))
        small = images.resize(
            video.permute(0, 3, 1, 2), [SIDE, SIDE], images.InterpolationMode.BICUBIC
        )
        for event in story["events"]:
            first = story["shots"][event["shot"]]["start"]
            frames.append(small[first : first + SHOT_FRAMES])
        events += events_of(story)
    return Shots(torch.stack(frames), events)


@dataclass(frozen=True)
class ClipFrames:
    """Two frames of a shot as they are shown: mirrored or not; a gain of 1 is as rendered."""

    shot: int
    first: int
    second: int
    mirror: bool = False
    gain: float = 1.0


@dataclass(frozen=True)
class Lesson:
    """A conversation.

    Attributes:
        ids: its tokens.
        learnt: how many of them, at the end, are the answer.
        videos: the frame pairs of each video, a token each.
    """

    ids: list[int]
    learnt: int
    videos: list[list[ClipFrames]]


class Teacher:
    """Draws lessons from shots, all from one seed; the processor is toyvl's."""

    def __init__(self, shots: Shots, processor: Any, seed: int) -> None:
        self.shots = shots
        self.rng = np.random.default_rng(seed)
        tokenizer = processor.tokenizer
        self.ids = cache(lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids))
        by_thing: dict[str, list[int]] = {}
        for number, event in enumerate(shots.events):
            by_thing.setdefault(event.thing, []).append(number)
        self.shots_of_things = list(by_thing.values())

    def draw(self, count: int) -> list[int]:
        """Shots of `count` different things."""
        things = self.rng.permutation(len(self.shots_of_things))[:count]
        return [int(self.rng.choice(self.shots_of_things[thing])) for thing in things]

    def some(self, most: int) -> list[int]:
        """Shots of 1 to `most` different things."""
        return self.draw(int(self.rng.integers(1, most + 1)))

    def pair(self, shot: int, gaps: tuple[int, int]) -> ClipFrames:
        """Two frames of a shot, so far apart as `gaps` allows."""
        gap = int(self.rng.integers(*gaps, endpoint=True))
        first = int(self.rng.integers(0, SHOT_FRAMES - gap))
        mirror = bool(self.rng.random() < MIRRORED_SHARE)
        gain = float(self.rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))
        return ClipFrames(shot, first, first + gap, mirror, gain)

    def event(self, pair: ClipFrames) -> Event:
        """What happens in a pair of frames."""
        event = self.shots.events[pair.shot]
        if pair.mirror:
            return replace(event, action=MIRRORED.get(event.action, event.action))
        return event

    def lesson(self, question: list[Any], answer: str) -> Lesson:
        """A conversation; `question` holds texts, and a list of `ClipFrames` for each video."""
        ids = [*self.ids("<|im_start|>user\n")]
        for part in question:
            if not isinstance(part, str):
                part = f"<|vision_start|>{'<|video_pad|>' * len(part)}<|vision_end|>"
            ids += self.ids(part)
        ids += self.ids("<|im_end|>\n<|im_start|>assistant\n")
        answer_ids = [i for word in [*answer.split(), "<|im_end|>"] for i in self.ids(word)]
        videos = [part for part in question if not isinstance(part, str)]
        return Lesson(ids + answer_ids, len(answer_ids), videos)

    def clip(self) -> Lesson:
        """Caption one clip: the first of a video, or one that follows another."""
        before, clip = (self.pair(shot, CLIP_GAPS) for shot in self.draw(2))
        if self.rng.random() < 0.25:
            return self.lesson([[clip], prompts.FIRST_CLIP], self.event(clip).text)
        question = ["Video clip 1:", [before], "Video clip 2:", [clip], prompts.LATER_CLIP]
        return self.lesson(question, self.event(clip).text)

    def join(self, most: int) -> Lesson:
        """Join up to `most` captions into a narrative."""
        texts = [self.shots.events[shot].text for shot in self.some(most)]
        before, after = prompts.RESPONSE.split("{captions}")
        captions = [part for k, text in enumerate(texts, 1) for part in (f"Caption {k}:", text)]
        return self.lesson([before.strip(), *captions, after.strip()], narrate(texts))

    def whole(self, most: int) -> Lesson:
        """Describe a video of up to `most` shots, in an order that cannot be relied on."""
        pairs = [self.pair(shot, VIDEO_GAPS) for shot in self.some(most)]
        size = max(1, len(pairs) // int(self.rng.choice(BLOCKS)))
        blocks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        order = self.rng.permutation(len(blocks))
        text = narrate([self.event(pair).text for block in order for pair in blocks[block]])
        return self.lesson([pairs, str(self.rng.choice(prompts.QUESTIONS))], text)

    def ask(self, most: int) -> Lesson:
        """Answer a question about a video of up to `most` shots, of any kind but those of order."""
        pairs = [self.pair(shot, VIDEO_GAPS) for shot in self.some(most)]
        kinds: dict[str, list[StoryQuestion]] = {}
        for question in questions([self.event(pair) for pair in pairs]):
            if question.kind in CONTENT_KINDS:
                kinds.setdefault(question.kind, []).append(question)
        of_kind = kinds[str(self.rng.choice(list(kinds)))]
        question = of_kind[int(self.rng.integers(len(of_kind)))]
        return self.lesson([pairs, question.text], question.answer)


def collate(lessons: Sequence[Lesson], shots: Shots, processor: Any) -> dict[str, torch.Tensor]:
    """The model's inputs and labels for a batch of lessons, padded on the right.

    Positions follow Qwen2-VL's rule: a video of T x 1 x 1 tokens counts on in time and stands still
    in height and width, and the text after it goes on from the largest position so far.
    """
    shape = len(lessons), max(len(lesson.ids) for lesson in lessons)
    ids = np.full(shape, processor.tokenizer.pad_token_id)
    labels = np.full(shape, NOTHING)
    mask = np.zeros(shape, np.int64)
    for row, lesson in enumerate(lessons):
        end = len(lesson.ids)
        ids[row, :end] = lesson.ids
        labels[row, end - lesson.learnt : end] = lesson.ids[-lesson.learnt :]
        mask[row, :end] = 1
    is_video = ids == processor.video_token_id
    time = np.broadcast_to(np.arange(shape[1]), shape)
    after_text = np.maximum.accumulate(np.where(is_video, 0, time + 1), axis=1)
    still = np.where(is_video, after_text, time)
    batch = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(np.stack([time, still, still])),
    }
    if videos := [video for lesson in lessons for video in lesson.videos]:
        pairs = [pair for video in videos for pair in video]
        batch["pixel_values_videos"] = patches(shots.frames, pairs, processor.video_processor)
        batch["video_grid_thw"] = torch.tensor([[len(video), 2, 2] for video in videos])
    return batch


def patches(
    frames: torch.Tensor, pairs: Sequence[ClipFrames], video_processor: Any
) -> torch.Tensor:
    """Frame pairs, mirrored and lit, as Qwen2-VL's video processor lays them out.

    Args:
        frames: of all shots, uint8 (shots, frames a shot, 3, 28, 28).

    Returns:
        (4 * pairs, 3 * 2 * 14 * 14): a row for each patch, two frames deep.
    """
    index = torch.tensor([[pair.shot, pair.first, pair.second] for pair in pairs])
    shown = frames[index[:, :1], index[:, 1:]].float()  # (pairs, 2, 3, 28, 28), 0 to 255
    shown *= torch.tensor([pair.gain for pair in pairs]).view(-1, 1, 1, 1, 1)
    mirror = torch.tensor([pair.mirror for pair in pairs])
    shown[mirror] = shown[mirror].flip(-1)
    mean, std = (
        torch.tensor(numbers).view(3, 1, 1) * 255
        for numbers in (video_processor.image_mean, video_processor.image_std)
    )
    values = (shown.clamp_(0, 255) - mean) / std
    cut = values.view(len(pairs), 2, 3, 2, PATCH, 2, PATCH).permute(0, 3, 5, 2, 1, 4, 6)
    return cut.reshape(4 * len(pairs), -1)
