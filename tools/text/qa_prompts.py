"""The wording of questions about videos, in this project's own words.

A question stands alone where the likelihood of answers is computed. Where an answer is written, its
options follow with letters, and then an instruction that says how to answer.
"""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

import numpy as np

from tools.text.prompts import Message

LETTER = "Answer with the letter of the right option alone."
SHORT_ANSWER = "Answer with one word or a short phrase."
NO_QUESTION = "Give an answer."  # stands for the question where a model is to see the options alone
SUBTITLES = "Subtitles of this part of the video:"
ENDS = ".?!:"
ROLES = ("user", "assistant")


def question_prompt(
    question: str | None,
    choices: Sequence[str] = (),
    instruction: str = "",
    subtitles: Sequence[str] = (),
) -> str:
    """The text of a question: its subtitles, the question as a sentence, options, instruction.

    Args:
        question: as published; None: it is left out.
        choices: options to list with letters; none: they are not listed.
        instruction: how to answer; empty: nothing is said of it.
    """
    lines = [SUBTITLES, *subtitles] if subtitles else []
    if question is not None:
        lines.append(as_sentence(question))
    lines += [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)]
    lines += [instruction] if instruction else []
    return "\n".join(lines) or NO_QUESTION


def as_sentence(question: str) -> str:
    """A question with a capital letter and a mark at its end: few benchmarks publish them so."""
    text = question.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(tuple(ENDS)) else '?'}"


def qa_messages(
    prompt: str,
    frames: Sequence[np.ndarray] = (),
    fps: float = 1.0,
    earlier: Sequence[tuple[str, str]] = (),
) -> list[Message]:
    """The conversation that ends in a question; the video stands at its beginning.

    Args:
        frames: of the video, uint8 RGB (H, W, 3) each, in time order; none: no video is shown.
        fps: how many of them there are to a second.
        earlier: (question, answer) of the turns before.
    """
    turns = [(role, text) for pair in earlier for role, text in zip(ROLES, pair, strict=True)]
    messages: list[dict[str, Any]] = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in [*turns, ("user", prompt)]
    ]
    if len(frames):
        messages[0]["content"].insert(0, {"type": "video", "video": list(frames), "fps": fps})
    return messages
