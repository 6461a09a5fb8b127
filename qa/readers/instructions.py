"""Readers of instruction data: VideoInstruct100K, the conversations of LLaVA and Video-LLaVA, and
TextVID's texts that stand for videos."""

import re

from qa.readers.rows import Draft, QuestionFiles, Rejected, Row, rows_of

TAG = re.compile(r"<(?:image|video)>")
SPEAKERS = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt"}


def videoinstruct(row: Row, source: QuestionFiles) -> Draft:
    """VideoInstruct100K: a list of q, a and video_id, or LSTP's object of them by position."""
    del source
    name = row.text("video_id")
    return Draft(
        id=f"{name}/{row.position}",
        question=TAG.sub("", row.text("q")).strip(),
        videos=[name],
        answer=row.text("a"),
    )


def llava(row: Row, source: QuestionFiles) -> Draft:
    """A conversation: its last question and answer, with the turns before them as context. Tags
    of images and videos leave the text; a turn of the model's before the first question is
    dropped. An id that comes twice in the file gets its position behind it."""
    notes = []
    turns = _turns(row)
    if turns and turns[0][0] == "gpt":
        turns = turns[1:]
        notes.append("a turn of the model's before the first question was dropped")
    speakers = [speaker for speaker, _ in turns]
    if not turns or speakers != ["human", "gpt"] * (len(turns) // 2):
        raise Rejected(
            "unreadable_field", f"its turns are not of human and gpt alternately: {speakers}"
        )
    own = row.text("id") if row.has("id") else "row"
    repeated = not row.has("id") or source.times_of_id[own] > 1
    media = "video" if row.has("video") else "image" if row.has("image") else "text"
    return Draft(
        id=f"{own}/{row.position}" if repeated else own,
        question=turns[-2][1],
        videos=[row.text(media)] if media != "text" else [],
        media=media,
        answer=turns[-1][1],
        context={"conversation": turns[:-2]} if turns[:-2] else {},
        notes=notes,
    )


def _turns(row: Row) -> list[list[str]]:
    """[speaker, text] of each turn."""
    try:
        return [
            [SPEAKERS[turn["from"]], TAG.sub("", turn["value"]).strip()]
            for turn in row["conversations"]
        ]
    except (TypeError, KeyError) as error:
        raise Rejected("unreadable_field", f"'conversations' cannot be read: {error!r}") from None


def textvid_rows(source: QuestionFiles) -> list[Row]:
    """The questions of TextVID's texts, each with its text's fields; a text without questions stays
    as one row, which is rejected later."""
    return [
        Row({**question, **_text_of(row), "number": number}, row.origin)
        for row in rows_of(source.file)
        for number, question in enumerate(_questions_of(row))
    ]


def _questions_of(row: Row) -> list[dict[str, object]]:
    questions = row.get("QAs")
    is_list = isinstance(questions, list) and all(isinstance(q, dict) for q in questions)
    return (questions if is_list else None) or [{}]


def _text_of(row: Row) -> dict[str, object]:
    return {name: row.get(name) for name in ("idx", "frames", "global_video_caption")}


def textvid(row: Row, source: QuestionFiles) -> Draft:
    """TextVID: five options and a letter; the frames' texts and the caption go into the context,
    and the text's `idx` is what its features are named by."""
    del source
    letter = row.text("answer")
    options = row.texts("options")
    index = ord(letter) - ord("A") if len(letter) == 1 else -1
    if not 0 <= index < len(options):
        raise Rejected("answer_not_an_option", f"{letter!r} is no letter of {len(options)} options")
    text = {"text_frames": row["frames"], "text_caption": row["global_video_caption"]}
    return Draft(
        id=f"{row.text('idx')}/{row['number']}",
        question=row.text("question"),
        videos=[row.text("idx")],
        media="text",
        choices=options,
        answer_index=index,
        references=[row.text("answer_open_ended")] if row.has("answer_open_ended") else [],
        context={name: value for name, value in text.items() if value is not None},
    )
