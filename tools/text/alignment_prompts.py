"""The wording around a video that is read as vectors, in this project's own words.

A row is: instruction, VIDEO, the vectors' slots, body, and what is learned. Training and inference
use the same wording.
"""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from tools.text.qa_prompts import as_sentence

VIDEO = "Video:"
CHOOSE = "Instruction: Use the video to choose the right answer to the question."
DESCRIBE = "Instruction: Describe in detail what happens in the video."
ANSWER = "Instruction: Use the video to answer the question."


class Wording(NamedTuple):
    """The texts of a row.

    Attributes:
        instruction: before the video.
        body: behind the video, not learned.
        learned: what the model learns to say; where it does so, an end token follows.
    """

    instruction: str
    body: str
    learned: str


def choice_wording(
    question: str, options: Sequence[str], letter: str, dialogue: Sequence[str] = ()
) -> Wording:
    """A question with lettered options, answered by a letter.

    >>> choice_wording("who sings", ["a boy", "a girl"], "B").learned
    ' choice is (B)'
    """
    listed = [f"({mark}) {text}" for mark, text in zip(ascii_uppercase, options, strict=False)]
    lines = [*_asked(question, dialogue), "Choices:", *listed, "Answer: The correct"]
    return Wording(CHOOSE, "\n".join(lines), f" choice is ({letter})")


def open_wording(question: str, answer: str, dialogue: Sequence[str] = ()) -> Wording:
    """A question that is answered in words."""
    lines = [*_asked(question, dialogue), "Answer:"]
    return Wording(ANSWER, "\n".join(lines), f" {answer}" if answer else "")


def caption_wording(caption: str) -> Wording:
    """A description of the whole video."""
    return Wording(DESCRIBE, "Description:", f" {caption}" if caption else "")


def _asked(question: str, dialogue: Sequence[str]) -> list[str]:
    lines = ["Dialogue:", *dialogue] if dialogue else []
    return [*lines, f"Question: {as_sentence(question)}"]
