"""Preference pairs in ms-swift's format for DPO, and their estimated length in tokens."""

import math
from typing import Any

from tools.video.budget import TOKEN_PIXELS, VIDEO_TOTAL_PIXELS

VIDEO_TOKENS = VIDEO_TOTAL_PIXELS // TOKEN_PIXELS
TEMPLATE_TOKENS = 24  # system prompt, roles and end marks of Qwen's chat template
# UTF-8 bytes of text a token: a rule of thumb that errs upwards, since English prose has 4 or more;
# bytes and not characters, because a character of other scripts has more tokens.
BYTES_PER_TOKEN = 3.5
MAX_LENGTH = 16384  # tokens a row that training takes (the paper's max_length)


def swift_row(question: str, chosen: str, rejected: str | None, path: str) -> dict[str, Any]:
    """One pair as ms-swift reads it for DPO (custom dataset format, 3.7 to 4.6); without a rejected
    side, a row of fine-tuning."""
    messages = [
        {"role": "user", "content": f"<video>{question}"},
        {"role": "assistant", "content": chosen},
    ]
    rejection = {} if rejected is None else {"rejected_response": rejected}
    return {"messages": messages, **rejection, "videos": [path]}


def estimated_tokens(question: str, chosen: str, rejected: str) -> int:
    """About how many tokens the longer side of a pair has in training, with question and video.

    An estimate from above: the text counts BYTES_PER_TOKEN, the video the most it can have. What
    training compares with its max_length is each side by itself.
    """
    longer = max(len(chosen.encode()), len(rejected.encode()))
    text = (len(question.encode()) + longer) / BYTES_PER_TOKEN
    return math.ceil(text) + VIDEO_TOKENS + TEMPLATE_TOKENS
