"""The wording of every prompt, and the chat messages made of it.

Method: arXiv 2503.16929, which shows a clip together with the clip before it and asks for thinking
before the caption; the wording is this project's own. `--prompts FILE.yaml` replaces any of
first_clip, later_clip, response and questions.
"""

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import UserError
from tools.text.answers import media_or_special_tag

FIRST_CLIP = (
    "Describe this video clip in detail: who and what is in it, where it takes place, what happens "
    "and in which order, and how it is filmed. Write one paragraph, and report only what can be "
    "seen."
)

LATER_CLIP = (
    "Above are two clips of one video: first video clip 1, then video clip 2, which follows it. "
    "Work in three steps.\n"
    "1. Describe what can be seen in video clip 2: people, objects, place, actions, camera.\n"
    "2. Say how video clip 2 connects with video clip 1: what continues, what has changed, what is "
    "new.\n"
    "3. Using both steps, write a detailed caption for video clip 2 as one paragraph, which is the "
    'last of your answer and begins with "Caption:". Report only what can be seen.'
)

RESPONSE = (
    "Below are captions of the clips of one video, in the order in which the clips are shown.\n\n"
    "{captions}\n\n"
    "Put them together into a description of the whole video: one detailed and coherent paragraph "
    "that tells everything in the order of the captions. Speak of the video, not of captions or "
    "clips, add nothing that the captions do not say, and write the paragraph alone."
)

QUESTIONS = (
    "What happens in this video? Describe the events in the order in which they occur.",
    "Give a detailed account of this video's events, from the first to the last.",
    "Describe this video in detail, following its events as they unfold.",
    "Walk me through the video: which events does it show, and in what order?",
    "Write a detailed description of everything that takes place in the video over time.",
    "Tell the course of events in this video step by step, in full detail.",
)
"""Six ways to ask for a video's events: the user's turn of a preference pair."""

AFTER = "What happens right after {event}? Answer with that event alone."
BEFORE = "What happens right before {event}? Answer with that event alone."
"""Two ways to ask for one event by its neighbour, such as "a red circle moves left"."""

WHAT_DOES = "What does the {colour} {shape} do in this video?"
WHICH_COLOUR = "What colour is the {shape} that {action} in this video?"
WHICH_SHAPE = "What shape is the {colour} thing that {action} in this video?"
"""Questions about one event of a toy video, in the toolkit's fine-tuning rows."""

Message = dict[str, Any]
FramePair = Sequence[np.ndarray]
"""The key frames of one clip: uint8 RGB (H, W, 3), in time order."""


@dataclass(frozen=True)
class Prompts:
    """The prompts that a user may replace.

    Attributes:
        first_clip: asks for the caption of a video's first clip.
        later_clip: asks for the caption of a clip that is shown after the clip before it.
        response: asks for one description of the video from {captions}.
        questions: ways to ask for a video's events; each preference pair draws one.
    """

    first_clip: str = FIRST_CLIP
    later_clip: str = LATER_CLIP
    response: str = RESPONSE
    questions: tuple[str, ...] = QUESTIONS


DEFAULT = Prompts()


def add_prompts_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--prompts`, which becomes a `Prompts`."""
    parser.add_argument(
        "--prompts",
        type=read_prompts,
        default=DEFAULT,
        metavar="FILE.yaml",
        help="replaces prompts by those of a YAML file, whose keys may be"
        f" {', '.join(field.name for field in fields(Prompts))} (default: the wording of"
        " tools/text/prompts.py)",
    )


def read_prompts(path: str) -> Prompts:
    """Read a YAML file that replaces some of the prompts.

    Raises:
        UserError: it cannot be read, holds another key or value, or a prompt lacks the placeholder
            that its default has, has another one, or holds a tag that stands for media.
    """
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    known = [field.name for field in fields(Prompts)]
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path} holds no prompts; its keys may be {', '.join(known)}")
    for key, value in values.items():
        if key not in known:
            raise UserError(f"{path}: there is no prompt {key!r}; there are {', '.join(known)}")
        texts = value if key == "questions" else [value]
        if not isinstance(texts, list) or not texts:
            raise UserError(f"{path}: {key} must be a list of texts")
        expected = "{captions}" if key == "response" else "none"
        for text in texts:
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"{path}: {key} must be text, and is {text!r}")
            placeholders = ", ".join(dict.fromkeys(re.findall(r"\{\w+\}", text))) or "none"
            if placeholders != expected:
                raise UserError(
                    f"{path}: the placeholders of {key} must be {expected}, and are {placeholders}"
                )
            if tag := media_or_special_tag(text):
                raise UserError(f"{path}: {key} contains {tag}, which models take for media")
    if "questions" in values:
        values["questions"] = tuple(values["questions"])
    return Prompts(**values)


def fingerprint(*prompts: str) -> str:
    """Twelve hex digits that change when one of the prompts does."""
    return hashlib.sha1("\0".join(prompts).encode()).hexdigest()[:12]


def clip_messages(pairs: Sequence[FramePair], k: int, prompts: Prompts = DEFAULT) -> list[Message]:
    """Ask for the caption of clip k, which from k = 1 on is shown after the clip before it.

    Args:
        pairs: the key frames of all clips of one video, in time order.
        k: position of the clip, from 0.
    """
    if k == 0:
        content = [_video(pairs[0]), _text(prompts.first_clip)]
    else:
        content = [
            _text("Video clip 1:"),
            _video(pairs[k - 1]),
            _text("Video clip 2:"),
            _video(pairs[k]),
            _text(prompts.later_clip),
        ]
    return [{"role": "user", "content": content}]


def video_messages(frames: Sequence[np.ndarray], question: str, fps: float) -> list[Message]:
    """Ask something of a whole video, which stands before the question as in a training row.

    Args:
        frames: of the video, uint8 RGB (H, W, 3) each, in time order.
        fps: how many of them there are to a second.
    """
    return [{"role": "user", "content": [{**_video(frames), "fps": fps}, _text(question)]}]


def response_messages(captions: Sequence[str], prompts: Prompts = DEFAULT) -> list[Message]:
    """Ask for one chronological paragraph from clip captions, told in the order given."""
    listed = "\n".join(
        f"Caption {number}: {' '.join(caption.split())}"
        for number, caption in enumerate(captions, start=1)
    )
    return [{"role": "user", "content": [_text(prompts.response.replace("{captions}", listed))]}]


def listed_captions(messages: Sequence[Message]) -> list[str]:
    """The captions that `response_messages` put into a prompt, in its order."""
    texts = [part["text"] for message in messages for part in message["content"]]
    return re.findall(r"Caption \d+: (.*)", "\n".join(texts))


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _video(frames: FramePair) -> dict[str, Any]:
    return {"type": "video", "video": list(frames)}
