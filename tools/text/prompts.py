"""Every prompt, and how captions are read out of the answers.

Method: arXiv 2503.16929, which shows a clip together with the clip before it and asks for thinking
before the caption; the wording is this project's own.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

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


def fingerprint(*prompts: str) -> str:
    """Twelve hex digits that change when one of the prompts does."""
    return hashlib.sha1("\0".join(prompts).encode()).hexdigest()[:12]


def clip_messages(pairs: Sequence[FramePair], k: int) -> list[Message]:
    """Ask for the caption of clip k, which from k = 1 on is shown after the clip before it.

    Args:
        pairs: the key frames of all clips of one video, in time order.
        k: position of the clip, from 0.
    """
    if k == 0:
        content = [_video(pairs[0]), _text(FIRST_CLIP)]
    else:
        content = [
            _text("Video clip 1:"),
            _video(pairs[k - 1]),
            _text("Video clip 2:"),
            _video(pairs[k]),
            _text(LATER_CLIP),
        ]
    return [{"role": "user", "content": content}]


def video_messages(frames: Sequence[np.ndarray], question: str, fps: float) -> list[Message]:
    """Ask something of a whole video, which stands before the question as in a training row.

    Args:
        frames: of the video, uint8 RGB (H, W, 3) each, in time order.
        fps: how many of them there are to a second.
    """
    return [{"role": "user", "content": [{**_video(frames), "fps": fps}, _text(question)]}]


def response_messages(captions: Sequence[str]) -> list[Message]:
    """Ask for one chronological paragraph from clip captions, told in the order given."""
    listed = "\n".join(
        f"Caption {number}: {' '.join(caption.split())}"
        for number, caption in enumerate(captions, start=1)
    )
    return [{"role": "user", "content": [_text(RESPONSE.replace("{captions}", listed))]}]


def listed_captions(messages: Sequence[Message]) -> list[str]:
    """The captions that `response_messages` put into a prompt, in its order."""
    texts = [part["text"] for message in messages for part in message["content"]]
    return re.findall(r"^Caption \d+: (.*)$", "\n".join(texts), flags=re.MULTILINE)


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _video(frames: FramePair) -> dict[str, Any]:
    return {"type": "video", "video": list(frames)}


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
    r"""Take the caption out of an answer to `clip_messages`.

    The caption is the last paragraph that holds a word, from its last line with a label
    ("Caption:") on, without label, markdown bold and quotes around it. "Video clip 2" becomes "this
    video clip", "video clip 1" "the previous clip".

    Args:
        text: the whole answer.
        reasoning: first lose \boxed{} around the answer; what stands before </think> is lost in any
            case.

    Returns:
        The caption; empty when the answer holds none.
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


def mimo_response(text: str) -> str | None:
    """What counts of a MiMo-VL response, whose answer comes at the end of its thinking aloud.

    Keeps what starts at the last "the video opens", "starts" or "begins" and loses parentheses that
    mention captions. None where no such phrase is.
    """
    openings = list(_OPENING.finditer(text))
    if not openings:
        return None
    return _ABOUT_CAPTIONS.sub("", text[openings[-1].start() :]).strip()


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
