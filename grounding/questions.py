"""The questions of a split as records of the runner, and what of a video they are about."""

import hashlib

from qa.records import read_questions
from tools.store.dataset import Dataset
from tools.store.files import write_json
from tools.store.jsonl import Record, Table, dumps


def question_table(dataset: Dataset, split: str) -> Table:
    """The questions as the runner reads them: what it calls video_id is the question's id."""
    return dataset.table(f"questions_{split}")


def write_question_table(dataset: Dataset, split: str) -> None:
    """Bring the table up to date with the split's questions."""
    folder, table = dataset.video_dir(), question_table(dataset, split)
    records, digest = [], hashlib.sha256()
    for question in read_questions(dataset, split):
        record = {
            "video_id": question.id,
            "of_video": question.video_id,
            "question": question.question,
            "answer": question.answer,
            "part": [question.start, question.end],
            "media": question.context.get("media", "video"),
            "conversation": question.context.get("conversation", []),
        }
        digest.update(dumps(record))  # where the video is does not shape the answers
        path = str(folder / question.video) if folder and question.video else ""
        records.append({**record, "video_path": path})
    fingerprint = digest.hexdigest()[:16]
    if table.meta().get("fingerprint") != fingerprint or list(table.read()) != records:
        table.write(records)
        write_json(table.meta_path, {"fingerprint": fingerprint})


def part_of(record: Record, length: float) -> tuple[float, float]:
    """Seconds of the part of a video of `length` seconds that the question is about."""
    start, end = record["part"]
    return start or 0.0, length if end is None else min(end, length)
