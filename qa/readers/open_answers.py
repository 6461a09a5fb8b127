"""Readers of benchmarks with open answers: MSRVTT-QA, MSVD-QA, ActivityNet-QA and TGIF-QA in their
own files and in the lists of zero-shot evaluation, and Video-ChatGPT's benchmark."""

import re
from pathlib import Path

from qa.readers.multiple_choice import numbered_options
from qa.readers.rows import Draft, QuestionFiles, Row, entry, rows_of

# The official file of TGIF-QA names the kind of its questions.
TGIF_KIND = re.compile(r"(?:train|test|total)_(\w+)_question", re.I)


def _open(row: Row, source: QuestionFiles, name: str, videos: list[str], own_id: str) -> Draft:
    """A question of any of the layouts that the four data sets share.

    Args:
        name: of the video, as the row gives it.
        videos: names of the video's file.
        own_id: field with the benchmark's own id; where it is absent, the id is
            `<name>/<position>`.
    """
    answers = source.answer_row(row) if source.answers else row
    kind = answers if answers.has("type") else row
    return Draft(
        id=row.text(own_id) if row.has(own_id) else f"{name}/{row.position}",
        question=row.text("question"),
        videos=videos,
        answer=answers.text("answer") if answers.has("answer") else None,
        type=kind.text("type") if kind.has("type") else None,
    )


def msrvttqa(row: Row, source: QuestionFiles) -> Draft:
    """MSRVTT-QA: `test_qa.json` (id, video_id as a number: the file is video<number>), or lists
    with video_name."""
    if row.has("video_name"):
        name = row.text("video_name")
        return _open(row, source, name, [name], "question_id")
    name = f"video{row.whole('video_id')}"
    return _open(row, source, name, [name], "id")


def msvdqa(row: Row, source: QuestionFiles) -> Draft:
    """MSVD-QA: `test_qa.json` (id, video_id as a number), or lists with video_name. The map,
    `youtube_mapping.txt`, says which YouTube clip is vid<number>: files may have either name."""
    official = not row.has("video_name")
    name = f"vid{row.whole('video_id')}" if official else row.text("video_name")
    other = entry(source.names, name, str)
    videos = [name, other] if other else [name]
    return _open(row, source, name, videos, "id" if official else "question_id")


def activitynetqa(row: Row, source: QuestionFiles) -> Draft:
    """ActivityNet-QA: `test_q.json` with the answers `test_a.json`, or a list that has both. The
    files are `v_<name>`, in any container."""
    name = row.text("video_name")
    videos = [f"v_{name.removeprefix('v_')}", name]
    return _open(row, source, name, videos, "question_id")


def tgifqa(row: Row, source: QuestionFiles) -> Draft:
    """TGIF-QA: tab-separated files such as `Test_frameqa_question.csv` (gif_name; a1 to a5 where
    there are options), or lists with video_name."""
    if row.has("video_name"):
        name = row.text("video_name")
        return _open(row, source, name, [name], "question_id")
    name = row.text("gif_name")
    draft = _open(row, source, name, [name], "")
    kind = TGIF_KIND.search(row.origin["file"])
    draft.type = draft.type or (kind[1].lower() if kind else None)
    if "a1" in row:
        draft.choices = numbered_options(row, first=1)
        draft.answer_index, draft.answer = row.whole("answer"), None
    return draft


def videochatgpt_rows(source: QuestionFiles) -> list[Row]:
    """The rows of a file of Video-ChatGPT's benchmark, a question each: consistency_qa.json asks
    two for one answer."""
    rows = []
    for row in rows_of(source.file):
        for key in [name for name in ("Q", "Q1", "Q2") if name in row] or ["Q"]:
            rows.append(Row({**row, "number": key.removeprefix("Q")}, row.origin))
    return rows


def videochatgpt(row: Row, source: QuestionFiles) -> Draft:
    """Video-ChatGPT's benchmark: `generic_qa.json`, `temporal_qa.json` or `consistency_qa.json`;
    the file gives the type."""
    del source
    name, number = row.text("video_name"), row["number"]
    return Draft(
        id="/".join([name, str(row.position), *number]),
        question=row.text(f"Q{number}"),
        videos=[name],
        answer=row.text("A") if row.has("A") else None,
        type=Path(row.origin["file"]).stem.removesuffix("_qa"),
    )
