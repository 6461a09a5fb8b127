"""A text video (Tideo) read out of what a model wrote, or out of a released file, and checked.

A Tideo has the fields of TextVID: `frames`, `global_video_caption` and `QAs`. Each frame is a flat
object: "caption" is one entry, each further entry is the name of a thing and its description.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from qa.options import LETTERS, chosen_option
from tools.errors import Filtered
from tools.text.tideo_prompts import FEWEST_FRAMES, MOST_FRAMES, OPTIONS

_FENCED = re.compile(r"```\w*\s*(\{.*?)(?:```|\Z)", re.DOTALL)
_LETTERED = re.compile(r"\s*\(?([A-Ea-e])[).:]\s*(.*)", re.DOTALL)
# "hand", "ball" and "small" refer to nothing; "all of the above", "both A & C" and "A, B and C" do.
_OTHERS = r"(?:options? )?\(?[A-E]\)?(?:, ?\(?[A-E]\)?)*,? (?:and|or|nor|&) \(?[A-E]\)?(?!\w)"
_REFERRING = re.compile(
    r"\b(?:all|none|both|neither|either|any)"
    r" (?:(?:of )?the (?:above|below|options|choices)"
    r"|of (?:the )?(?:above|these|those|others?|options))\b"
    rf"|\b(?:both|neither|either) {_OTHERS}|^{_OTHERS}",
    re.IGNORECASE,
)

Tideo = dict[str, Any]


def json_object(text: str, finish_reason: str) -> dict[str, Any]:
    """The JSON object in a model's answer; chatter around it and small mistakes do not matter.

    Raises:
        Filtered: cut_off (at the token limit: it is never repaired), or no_json.
    """
    if finish_reason == "length":
        raise Filtered("cut_off")
    text = text.rpartition("</think>")[2]
    fenced = _FENCED.search(text)
    _, brace, inside = (fenced[1] if fenced else text).partition("{")
    written = brace + inside
    try:
        # Not strict: a line break inside a text is taken as it is.
        value, _ = json.JSONDecoder(strict=False).raw_decode(written)
    except json.JSONDecodeError:
        import json_repair

        value = json_repair.loads(written) if brace else None
    if not isinstance(value, dict):
        raise Filtered("no_json")
    return value


def checked(written: dict[str, Any], video_id: str, seed: int) -> tuple[Tideo, Counter[str]]:
    """A Tideo that holds nothing but what passed the checks, and why questions were dropped.

    Right answers are often the second or third option when a model writes them, so the options of
    each question are put into an order that (seed, video_id, number of the question) decides.

    Raises:
        Filtered: too_few_frames or too_many_frames with a caption, no_description, no_question
            (none that is good).
    """
    frames = [frame for frame in map(_frame, _listed(written.get("frames"))) if frame]
    if len(frames) < FEWEST_FRAMES:
        raise Filtered("too_few_frames")
    if len(frames) > MOST_FRAMES:
        raise Filtered("too_many_frames")
    description = _text(written.get("global_video_caption"))
    if not description:
        raise Filtered("no_description")
    questions, dropped = [], Counter[str]()
    for number, question in enumerate(_listed(written.get("QAs"))):
        fault, good = _question(question, Random(f"{seed}/{video_id}/{number}"))
        if good:
            questions.append(good)
        else:
            dropped[fault] += 1
    if not questions:
        raise Filtered("no_question")
    return {"frames": frames, "global_video_caption": description, "QAs": questions}, dropped


def entries(frame: dict[str, str]) -> list[str]:
    """The texts of a frame, each of which gets a vector: its caption, and each thing's description
    with the thing's name where the description lacks it."""
    return [
        text if name == "caption" or name.lower() in text.lower() else f"{name}: {text}"
        for name, text in frame.items()
    ]


def _frame(written: Any) -> dict[str, str] | None:
    """A frame as a flat object; None without a caption."""
    if isinstance(written, str):
        written = {"caption": written}
    if not isinstance(written, dict):
        return None
    # The released files and models agree on the word, not on the whole name.
    caption = next((name for name in written if "caption" in name.lower()), None)
    if caption is None or not _text(written[caption]):
        return None
    things = {name: value for name, value in written.items() if name not in (caption, "objects")}
    objects = written.get("objects")
    if isinstance(objects, dict):
        things |= objects
    for number, thing in enumerate(_listed(objects), start=1):
        if isinstance(thing, dict):
            things[_text(thing.get("name")) or f"object {number}"] = thing.get("description")
        else:
            things[_text(thing)] = thing
    described = {_text(name): _text(value) for name, value in things.items()}
    return {"caption": _text(written[caption])} | {
        name: text for name, text in described.items() if text and name != "caption"
    }


def _question(written: Any, rng: Random) -> tuple[str, dict[str, Any] | None]:
    """A good question, its options in a random order; or why it is none."""
    if not isinstance(written, dict) or not _text(written.get("question")):
        return "no_text", None
    options = [_text(option) for option in _listed(written.get("options"))]
    lettered = [_LETTERED.fullmatch(option) for option in options]
    if all(m and m[1].upper() == letter for m, letter in zip(lettered, LETTERS, strict=False)):
        options = [match[2].strip() for match in lettered if match]
    if len(options) != OPTIONS or not all(options):
        return f"not_{OPTIONS}_options", None
    if len({option.casefold() for option in options}) != OPTIONS:
        return "equal_options", None
    right = chosen_option(_text(written.get("answer")), options)
    if right is None:
        return "no_right_option", None
    answer = options[right]
    if not refers_to_options(options):
        options = rng.sample(options, OPTIONS)
    return "", {
        "question": _text(written["question"]),
        "options": options,
        "answer": LETTERS[options.index(answer)],
        "answer_open_ended": _text(written.get("answer_open_ended")) or answer,
    }


def refers_to_options(options: Sequence[str]) -> bool:
    """Whether an option names others, such as "all of the above" and "both A and C": then the
    options must keep their order."""
    return any(_REFERRING.search(option) for option in options)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())
