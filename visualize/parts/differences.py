"""The words in which two texts differ, marked for the browser."""

import difflib
import re
from html import escape

# A word with the space behind it, so that a text is put together again as it was.
_WORD = re.compile(r"\S+\s*|\s+")
# Above this many words on a side, the longest common blocks take too long to find while one waits:
# then frequent words are not where blocks begin, which difflib calls autojunk.
PATIENT_WORDS = 3000


def marked(left: str, right: str) -> tuple[str, str]:
    """Both texts as HTML, the words that the other lacks in that place inside <mark>."""
    ours, theirs = _WORD.findall(left), _WORD.findall(right)
    matcher = difflib.SequenceMatcher(
        None,
        [word.strip() for word in ours],
        [word.strip() for word in theirs],
        autojunk=max(len(ours), len(theirs)) > PATIENT_WORDS,
    )
    sides = ["", ""]
    for kind, begin, end, other_begin, other_end in matcher.get_opcodes():
        for side, words in enumerate((ours[begin:end], theirs[other_begin:other_end])):
            text = "".join(words)
            body = text.rstrip()
            if kind != "equal" and body:
                sides[side] += f"<mark>{escape(body)}</mark>{escape(text[len(body) :])}"
            else:
                sides[side] += escape(text)
    return sides[0], sides[1]
