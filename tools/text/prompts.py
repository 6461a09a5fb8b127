"""The prompts, and the chat messages made of them.

`prompts.yaml` holds the wording; `--prompts FILE.yaml` replaces any of its entries.
"""

import argparse
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tools.errors import UserError
from tools.text.answers import media_or_special_tag

_WORDING = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
FIRST_CLIP: str = _WORDING["first_clip"]
LATER_CLIP: str = _WORDING["later_clip"]
RESPONSE: str = _WORDING["response"]
QUESTIONS: tuple[str, ...] = tuple(_WORDING["questions"])

Message = dict[str, Any]
FramePair = Sequence[np.ndarray]
"""The key frames of one clip: uint8 RGB (H, W, 3), in time order."""


@dataclass(frozen=True)
class Prompts:
    """The prompts that a user may replace; `prompts.yaml` says what each of them asks for."""

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
        f" {', '.join(_WORDING)} (default: the wording of tools/text/prompts.yaml)",
    )


def read_prompts(path: str) -> Prompts:
    """Read a YAML file that replaces some of the prompts.

    Raises:
        UserError: it cannot be read, holds another key or value, or a prompt lacks the placeholder
            that its default has, has another one, or holds a tag that stands for media.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    known = ", ".join(_WORDING)
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path} holds no prompts; its keys may be {known}")
    for key, value in values.items():
        if key not in _WORDING:
            raise UserError(f"{path}: there is no prompt {key!r}; there are {known}")
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
    questions = tuple(values.pop("questions", QUESTIONS))
    return Prompts(**values, questions=questions)


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


def asked_clip_messages(
    pair: FramePair, question: str, choices: Sequence[str], prompts: Prompts = DEFAULT
) -> list[Message]:
    """Ask for the caption of one clip, with a question about its video and the options in view."""
    listed = "\n".join(f"- {' '.join(choice.split())}" for choice in choices)
    text = f"{prompts.first_clip}\nMention what helps to answer: {question}\nOptions:\n{listed}"
    return [{"role": "user", "content": [_video(pair), _text(text)]}]


def video_messages(frames: Sequence[np.ndarray], question: str, fps: float) -> list[Message]:
    """Ask something of a whole video, which stands before the question as in a training row.

    Args:
        frames: of the video, uint8 RGB (H, W, 3) each, in time order.
        fps: how many of them there are to a second.
    """
    return [{"role": "user", "content": [{**_video(frames), "fps": fps}, _text(question)]}]


def response_messages(captions: Sequence[str], prompts: Prompts = DEFAULT) -> list[Message]:
    """Ask for one chronological paragraph from clip captions, in the order given."""
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


def _video(frames: Sequence[np.ndarray]) -> dict[str, Any]:
    return {"type": "video", "video": list(frames)}
