"""What toyvl is taught: to caption a clip, to join a list of captions, to describe a whole video.

Each lesson is a conversation in the toolkit's own prompts about shots of rendered stories. The
first two are taught right; a whole video is described in an unreliable order, its events in blocks
that were shuffled. That is the gap which preference training is to close.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional as images

from reproduction.toyvl.checkpoint import FRAME_PIXELS
from tools.text import prompts
from tools.video.frames import read_frames
from toyworld.stories import RATE, SHOT_SECONDS
from toyworld.truth import narrate, read_truth

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
SIDES = {"left": "right", "right": "left"}
BLOCKS = (2, 4, 8, 16)  # magnitudes of the shuffled blocks, as TEMPLE's shuffle has them
NOTHING = -100  # label of a token that is not learnt


@dataclass(frozen=True)
class Shots:
    """The shots of rendered stories.

    Attributes:
        frames: uint8 (shots, frames a shot, 3, 28, 28).
        texts: what happens in each.
        things: colour and shape of each, no two of which meet in one lesson.
    """

    frames: torch.Tensor
    texts: list[str]
    things: list[tuple[str, str]]


def read_shots(dataset: Path) -> Shots:
    """Decode a folder of stories (python -m toyworld --events) as toyvl sees them."""
    frames, texts, things = [], [], []
    for story in read_truth(dataset):
        pictures = read_frames(dataset / "video" / story["video_name"], range(story["frames"]))
        whole = torch.from_numpy(np.stack([pictures[i] for i in range(story["frames"])]))
        small = shrunk(whole.permute(0, 3, 1, 2))
        for event in story["events"]:
            first = story["shots"][event["shot"]]["start"]
            frames.append(small[first : first + SHOT_FRAMES])
            texts.append(event["text"])
            things.append((event["colour"], event["shape"]))
    return Shots(torch.stack(frames), texts, things)


def shrunk(frames: torch.Tensor) -> torch.Tensor:
    """Frames (n, 3, H, W) at 28 x 28 pixels, as Qwen2-VL's video processor scales them."""
    return images.resize(
        frames, [SIDE, SIDE], interpolation=images.InterpolationMode.BICUBIC, antialias=True
    )


@dataclass
class Lesson:
    """Token ids, which of them are learnt, and the frame pairs that its video tokens stand for."""

    ids: list[int]
    learnt: list[bool]
    pairs: list["Pair"]


@dataclass(frozen=True)
class Pair:
    """Two frames of a shot as they are shown.

    Attributes:
        shot: its number.
        first, second: frames of the shot.
        mirror: whether left and right change places.
        gain: its brightness; 1 is as rendered.
    """

    shot: int
    first: int
    second: int
    mirror: bool = False
    gain: float = 1.0


def mirrored(text: str) -> str:
    """What happens in a mirrored picture."""
    return " ".join(SIDES.get(word, word) for word in text.split())


class Teacher:
    """Draws lessons from shots.

    Args:
        shots: what there is to see.
        processor: toyvl's.
        seed: of all that is drawn.
    """

    def __init__(self, shots: Shots, processor: Any, seed: int) -> None:
        self.shots = shots
        self.rng = np.random.default_rng(seed)
        tokenizer: Any = processor.tokenizer
        self.of = cache(lambda text: tuple(tokenizer(text, add_special_tokens=False).input_ids))
        (self.pad,) = self.of("<|video_pad|>")
        self.by_thing: dict[tuple[str, str], list[int]] = {}
        for number, thing in enumerate(shots.things):
            self.by_thing.setdefault(thing, []).append(number)
        self.all_things = list(self.by_thing)
        self.response = prompts.RESPONSE.split("{captions}")

    def draw(self, count: int) -> list[int]:
        """Shots of `count` different things."""
        chosen = self.rng.permutation(len(self.all_things))[:count]
        return [int(self.rng.choice(self.by_thing[self.all_things[i]])) for i in chosen]

    def pair(self, shot: int, gaps: tuple[int, int]) -> Pair:
        """Two frames of a shot, so far apart as `gaps` allows."""
        gap = int(self.rng.integers(*gaps, endpoint=True))
        first = int(self.rng.integers(0, SHOT_FRAMES - gap))
        mirror = bool(self.rng.random() < MIRRORED_SHARE)
        gain = float(self.rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS))
        return Pair(shot, first, first + gap, mirror, gain)

    def told(self, pair: Pair) -> str:
        """What happens in a pair of frames."""
        text = self.shots.texts[pair.shot]
        return mirrored(text) if pair.mirror else text

    def lesson(self, asked: list[Any], answer: str) -> Lesson:
        """A conversation; `asked` are texts, and lists of `Pair` for videos."""
        ids, pairs = [*self.of("<|im_start|>user\n")], []
        for part in asked:
            if isinstance(part, str):
                ids += self.of(part)
            else:
                ids += (*self.of("<|vision_start|>"), *[self.pad] * len(part))
                ids += self.of("<|vision_end|>")
                pairs += part
        ids += self.of("<|im_end|>\n<|im_start|>assistant\n")
        told = [i for word in answer.split() for i in self.of(word)]
        told += self.of("<|im_end|>")
        return Lesson(ids + told, [False] * len(ids) + [True] * len(told), pairs)

    def clip(self) -> Lesson:
        """Caption one clip: the first of a video, or one that follows another."""
        before, later = (self.pair(shot, CLIP_GAPS) for shot in self.draw(2))
        if self.rng.random() < 0.25:
            return self.lesson([[later], prompts.FIRST_CLIP], self.told(later))
        asked = ["Video clip 1:", [before], "Video clip 2:", [later], prompts.LATER_CLIP]
        return self.lesson(asked, self.told(later))

    def join(self, most: int) -> Lesson:
        """Join up to `most` captions into a narrative."""
        texts = [self.shots.texts[shot] for shot in self.draw(int(self.rng.integers(1, most + 1)))]
        head, tail = self.response
        listed = [part for k, text in enumerate(texts, 1) for part in (f"Caption {k}:", text)]
        return self.lesson([head.strip(), *listed, tail.strip()], narrate(texts))

    def whole(self, most: int, ordered: bool = False) -> Lesson:
        """Describe a video of up to `most` shots, in an order that cannot be relied on."""
        pairs = [
            self.pair(shot, VIDEO_GAPS) for shot in self.draw(int(self.rng.integers(1, most + 1)))
        ]
        told = list(range(len(pairs)))
        if not ordered:
            size = max(1, len(told) // int(self.rng.choice(BLOCKS)))
            blocks = [told[i : i + size] for i in range(0, len(told), size)]
            told = [i for block in self.rng.permutation(len(blocks)) for i in blocks[block]]
        text = narrate([self.told(pairs[i]) for i in told])
        question = str(self.rng.choice(prompts.QUESTIONS))
        return self.lesson([pairs, question], text)


def shown(frames: torch.Tensor, pairs: Sequence[Pair]) -> torch.Tensor:
    """The frames of pairs, mirrored and lit, (n, 2, 3, 28, 28), 0 to 255.

    Args:
        frames: of all shots, uint8 (shots, frames a shot, 3, 28, 28).
    """
    index = torch.tensor([[pair.shot, pair.first, pair.second] for pair in pairs])
    found = frames[index[:, :1], index[:, 1:]].float()
    found *= torch.tensor([pair.gain for pair in pairs]).view(-1, 1, 1, 1, 1)
    mirror = torch.tensor([pair.mirror for pair in pairs])
    found[mirror] = found[mirror].flip(-1)
    return found.clamp_(0, 255)


def patches(frames: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Frame pairs (n, 2, 3, 28, 28), 0 to 255, as Qwen2-VL's video processor lays them out.

    Returns:
        (4 * n, 3 * 2 * 14 * 14): a row for each patch, two frames deep.
    """
    scale = torch.tensor(std).view(3, 1, 1) * 255
    shift = torch.tensor(mean).view(3, 1, 1) * 255
    values = (frames - shift) / scale
    count = len(frames)
    cut = values.view(count, 2, 3, 2, PATCH, 2, PATCH).permute(0, 3, 5, 2, 1, 4, 6)
    return cut.reshape(4 * count, -1)


def collate(lessons: Sequence[Lesson], shots: Shots, processor: Any, pad: int) -> dict[str, Any]:
    """The model's inputs and labels for a batch of lessons, padded on the right.

    Positions follow Qwen2-VL's rule: a video of T x 1 x 1 tokens counts on in time and stands still
    in height and width, and the text after it goes on from the largest position so far.
    """
    length = max(len(lesson.ids) for lesson in lessons)
    count = len(lessons)
    video = int(processor.tokenizer.convert_tokens_to_ids("<|video_pad|>"))
    ids = np.full((count, length), pad)
    labels = np.full((count, length), NOTHING)
    mask = np.zeros((count, length), np.int64)
    for row, lesson in enumerate(lessons):
        end = len(lesson.ids)
        ids[row, :end] = lesson.ids
        mask[row, :end] = 1
        labels[row, :end] = np.where(lesson.learnt, lesson.ids, NOTHING)
    is_video = ids == video
    time = np.broadcast_to(np.arange(length), ids.shape)
    starts = is_video & ~np.pad(is_video, ((0, 0), (1, 0)))[:, :-1]
    since = np.maximum.accumulate(np.where(starts, time, 0), axis=1)
    still = np.where(is_video, since, time)
    grids = [[len(run), 2, 2] for lesson in lessons for run in _runs(lesson, video)]
    pairs = [pair for lesson in lessons for pair in lesson.pairs]
    batch: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(np.stack([time, still, still])),
    }
    if pairs:
        look = processor.video_processor
        seen = shown(shots.frames, pairs)
        batch["pixel_values_videos"] = patches(seen, look.image_mean, look.image_std)
        batch["video_grid_thw"] = torch.tensor(grids)
    return batch


def _runs(lesson: Lesson, video: int) -> Iterator[list[int]]:
    run: list[int] = []
    for token in [*lesson.ids, None]:
        if token == video:
            run.append(token)
        elif run:
            yield run
            run = []
