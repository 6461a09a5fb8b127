"""What is read out of a model's answers: the caption of a clip, the description of a video."""

import re

_LABEL = re.compile(
    r"""\A [\s>#*_-]* (?:\d+[.)]\s*)? [*_]*                   # quote mark, heading, bullet, number
        (?:here(?:'s|\s+is)\s+)? (?:(?:a|the|final|full|detailed)\s+)* caption
        (?:\s+(?:for|of)\s+(?:the\s+)?(?:second\s+)?(?:video\s+)?clip(?:\s*\#?2)?)?
        [*_]* \s* (?: : [*_]* | \n | \Z) \s*""",
    flags=re.IGNORECASE | re.VERBOSE,
)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}
_CLIP = re.compile(r"\b(?:the\s+)?video\s+clip\s*#?([12])\b", flags=re.IGNORECASE)
_CLIP_NAMES = {"1": "the previous clip", "2": "this video clip"}
_SENTENCE_START = re.compile(r"(?:\A|\n|[.!?][\"')\u201d\u2019]?\s)[\s\"'(\u201c\u2018]*\Z")
_TAG = re.compile(
    # ms-swift replaces the first group by media or boxes, wherever it stands in a text
    # (swift/template/base.py, Template.special_tokens); the second is a tokenizer's own.
    r"</?(?:video|image|audio|bbox|ref-object|cot-process|start-image)>|<\|[^|<>\s]+\|>",
    flags=re.IGNORECASE,
)
_OPENING = re.compile(r"\bthe video (?:opens|starts|begins)\b", flags=re.IGNORECASE)
_ABOUT_CAPTIONS = re.compile(r"\s*\([^()]*\bcaptions?\b[^()]*\)", flags=re.IGNORECASE)


def parse_clip_caption(text: str, reasoning: bool = False) -> str:
    r"""The caption in an answer to `clip_messages`; empty where it holds none.

    The caption is the last paragraph that holds a word, from its last line with a label
    ("Caption:") on, without label, markdown bold and quotes around it. "Video clip 2" becomes "this
    video clip", "video clip 1" "the previous clip". Thinking before it, up to </think>, is left
    out.

    Args:
        reasoning: whether to remove a \boxed{} around the answer too.
    """
    text = parse_response(text)
    if reasoning:
        text = _unwrap_boxes(text)
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if re.search(r"\w", part)]
    if not paragraphs:
        return ""
    lines = paragraphs[-1].strip().splitlines()
    labelled = [i for i, line in enumerate(lines) if _LABEL.match(line)]
    caption = "\n".join(lines[labelled[-1] :] if labelled else lines).replace("**", "").strip()
    before = None
    while caption != before:  # a label may stand inside the quotes or outside
        before = caption
        caption = _unquote(_LABEL.sub("", caption))
    return _CLIP.sub(_clip_name, caption)


def parse_response(text: str) -> str:
    """What follows the last </think> of an answer; empty where thinking began and never ended."""
    _, end, answer = text.rpartition("</think>")
    if not end and answer.lstrip().startswith("<think>"):
        return ""
    return answer.strip()


def media_or_special_tag(text: str) -> str | None:
    """The first thing in a text that training would take for media or for a control token."""
    match = _TAG.search(text)
    return match[0] if match else None


def clean_response(answer: str, model: str) -> str | None:
    """What counts of a whole-video answer: what follows its thinking.

    A model whose name contains "mimo" thinks aloud before the answer itself, so what counts starts
    at the last "the video opens", "starts" or "begins", without parentheses that mention captions.

    Returns:
        The response; empty where the answer holds none, None where such a model's has no opening.
    """
    text = parse_response(answer)
    if not text or "mimo" not in model.lower():
        return text
    openings = list(_OPENING.finditer(text))
    return _ABOUT_CAPTIONS.sub("", text[openings[-1].start() :]).strip() if openings else None


def _unwrap_boxes(text: str) -> str:
    r"""Replace each \boxed{...} and \text{...} by what it holds, to the end where unclosed."""
    while match := re.search(r"\\(?:boxed|text)\s*\{", text):
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        inside = text[match.end() : end - 1] if depth == 0 else text[match.end() :]
        text = text[: match.start()] + inside + text[end:]
    return text


def _unquote(text: str) -> str:
    """Remove quotes around a whole text, but not those of two quotations at its ends."""
    closing = _QUOTES.get(text[:1])
    if closing is None or len(text) < 2 or text[-1] != closing:
        return text
    inside = text[1:-1]
    first_opening = re.search(rf"(?<!\S){re.escape(text[0])}(?=\S)", inside)
    first_closing = re.search(rf"(?<=\S){re.escape(closing)}(?!\w)", inside)
    if first_closing and (not first_opening or first_closing.start() < first_opening.start()):
        return text
    return inside.strip()


def _clip_name(match: re.Match[str]) -> str:
    name = _CLIP_NAMES[match[1]]
    starts_sentence = _SENTENCE_START.search(match.string[: match.start()])
    return name[0].upper() + name[1:] if starts_sentence else name
