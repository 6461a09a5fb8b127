"""The words in which two texts differ, marked for the browser."""

import difflib
import html
import re

# A word with the space behind it, so that a text is put together again as it was.
_WORD = re.compile(r"\S+\s*|\s+")
# Above this many words on a side, the longest common blocks take too long to find while one waits:
# then frequent words are not where blocks begin, which difflib calls autojunk.
PATIENT_WORDS = 3000


def escape(text: object) -> str:
    """Text as HTML shows it, whatever it holds."""
    return html.escape(str(text), quote=True)


def marked(left: str, right: str) -> tuple[str, str]:
    """Both texts as HTML, the words that the other lacks in that place inside <mark>."""
    ours, theirs = _WORD.findall(left), _WORD.findall(right)
    matcher = difflib.SequenceMatcher(
        None,
        [word.strip() for word in ours],
        [word.strip() for word in theirs],
        autojunk=max(len(ours), len(theirs)) > PATIENT_WORDS,
    )
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, *spans in matcher.get_opcodes():
        for side, words, (begin, end) in (
            (sides[0], ours, spans[:2]),
            (sides[1], theirs, spans[2:]),
        ):
            text = "".join(words[begin:end])
            if not text:
                continue
            if kind == "equal":
                side.append(escape(text))
            else:
                body = text.rstrip()
                side.append(f"<mark>{escape(body)}</mark>{escape(text[len(body) :])}")
    return "".join(sides[0]), "".join(sides[1])
