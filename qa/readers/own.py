"""The reader of questions of one's own: a csv or JSONL file with the columns below.

video          path of the video below --video_dir, or its end; absent: a question without media
question       text
answer         text of the right answer; absent, like answer_index: not known
answer_index   position of the right option, from 0; where both are given they name the same option
choices        options, a JSON list; or a0, a1, ... in columns of their own; absent: open
id             unique text (default: <video>/<line>)
start, end     seconds (default: the whole video)
type           kind of question, for tables by type
references     further right answers, a JSON list
media          video, frames, image or text (default: video, or text where there is no video)
fps, first     of media frames: pictures a second, and the first picture's number (default: 1)
context        JSON object that the record's context gets too
"""

from typing import Any

import orjson

from qa.readers.multiple_choice import numbered_options
from qa.readers.rows import Draft, QuestionFiles, Rejected, Row
from qa.records import MEDIA


def own(row: Row, source: QuestionFiles) -> Draft:
    """A row of a file of one's own."""
    del source
    video = row.text("video") if row.has("video") else None
    media = row.text("media") if row.has("media") else "video" if video else "text"
    if media not in MEDIA:
        raise Rejected("unreadable_field", f"'media' is {media!r}, none of {', '.join(MEDIA)}")
    if media != "text" and video is None:
        raise Rejected("missing_field", f"it has no 'video', which media {media} needs")
    context = _json(row, "context", dict, {})
    if media == "frames":
        fps = row.seconds("fps")
        if not fps:
            raise Rejected("missing_field", "it has no 'fps', which media frames needs")
        first = row.whole("first") if row.has("first") else 1
        context = {**context, "frames": {"fps": fps, "first": first}}
    choices = _json(row, "choices", list, None)
    if choices is None:
        choices = numbered_options(row) or None
    return Draft(
        id=row.text("id") if row.has("id") else f"{video or 'row'}/{row.position}",
        question=row.text("question"),
        videos=[video] if video else [],
        media=media,
        choices=None if choices is None else [str(choice).strip() for choice in choices],
        answer=row.text("answer") if row.has("answer") else None,
        answer_index=row.whole("answer_index") if row.has("answer_index") else None,
        type=row.text("type") if row.has("type") else None,
        start=row.seconds("start"),
        end=row.seconds("end"),
        references=[str(text).strip() for text in _json(row, "references", list, [])],
        context=context,
    )


def _json(row: Row, name: str, kind: type, default: Any) -> Any:
    """A list or an object, as itself or as JSON text."""
    if not row.has(name):
        return default
    value = row[name]
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Rejected("unreadable_field", f"{name!r} is not JSON: {value!r:.60}") from None
    if not isinstance(value, kind):
        raise Rejected("unreadable_field", f"{name!r} is no {kind.__name__}: {value!r:.60}")
    return value
