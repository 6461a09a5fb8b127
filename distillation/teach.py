"""Let a teacher judge the options of a split's questions.

    python -m distillation.teach msrvtt 8 --teacher_name videollava
    python -m distillation.teach msrvtt 8 --teacher_name flamingo --load_in_4bit
    python -m distillation.teach msrvtt 8 --teacher_name qwen2vl7b --split val
    python -m distillation.teach msrvtt 1 --teacher_name gpt-4o-mini@https://api.openai.com/v1
    python -m distillation.teach msrvtt 1 --teacher_name mine.jsonl

Its judgements are in data/<dataset>/teachers/<name>/<split>.jsonl, where distillation.train reads
them (distillation/judgements.py describes the file), its vectors beside them. How good it is, is
printed; a teacher that may be guessing is refused. After a Ctrl-C or a crash, run the same command
again.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from distillation.judgements import Judgement, read_judgements, write_judgements
from distillation.teachers.opening import TeachSettings, open_teacher
from distillation.teachers.report import choice_of, report_of
from distillation.teachers.teacher import NO_LETTERS, Case, Judged, Teacher
from inference.ahead import good_ahead
from inference.models import check_model_name
from qa.evaluate import video_path
from qa.frames import frames_of
from qa.records import Question, read_questions
from tools.cli import (
    add_dataset,
    add_foreign_flags,
    add_settings,
    run_script,
    script_parser,
    settings_from,
)
from tools.errors import UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import write_json
from tools.store.jsonl import Record, Table, dumps
from tools.video.decode import readable

COMPARED = 200  # questions that --by auto judges both ways
AHEAD = 2  # cases whose frames are decoded while the teacher reads others
DIGITS = 6  # of log p
OPEN_VIDEOS = 4  # whose frames are kept for the next question about them


@dataclass
class TeachStep(Step):
    """Show a teacher the frames of a question's video, and keep what it says of the options."""

    dataset: Dataset
    split: str
    teacher: Teacher
    by: str

    name = "judge"

    def __post_init__(self) -> None:
        self.reads = choices_table(self.dataset, self.split)
        name = f"judged_{self.split}_{self.teacher.name}_{self.by}"
        self.writes = (self.dataset.table(name),)
        self.batch_size = self.teacher.batch_size

    def params(self) -> dict[str, Any]:
        return {**self.teacher.fingerprint(), **asdict(self.teacher.view), "by": self.by}

    def check(self, device: str) -> None:
        self.teacher.check(device)

    def setup(self, device: str, threads: int) -> None:
        self.teacher.load(device, threads)

        @lru_cache(OPEN_VIDEOS)
        def shown(part: tuple[Any, ...]) -> tuple[list[np.ndarray], float]:
            view = self.teacher.view
            path = video_path(self.dataset, self.asked[part])
            with readable(path):
                path.stat()
            return frames_of(self.asked[part], path, view.count, view.protocol, view.most)

        self.asked: dict[tuple[Any, ...], Question] = {}
        self.shown = shown

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Replace a record by what the teacher says: see `row_of`."""
        places: list[int] = []  # in `records`, of each case that could be decoded
        unreadable: list[tuple[int, Exception]] = []

        def cases() -> Iterator[Case]:
            for place, case in good_ahead(
                lambda place: self._case(records[place]), range(len(records)), 1, AHEAD, unreadable
            ):
                places.append(place)
                yield case

        for position, judged in self.teacher.judge(cases(), self.by):
            if isinstance(judged, Judged):
                yield places[position], row_of(judged)
            else:
                yield places[position], judged
        yield from unreadable

    def _case(self, record: Record) -> Case:
        question = Question(**record["asked"])
        part = (question.video, question.start, question.end)
        self.asked[part] = question
        frames, fps = self.shown(part)
        return Case(question.id, frames, fps, question.question, question.choices or [])


def choices_table(dataset: Dataset, split: str) -> Table:
    """The questions with options as the runner reads them: what it calls video_id is their id."""
    return dataset.table(f"choices_{split}")


def write_choices(dataset: Dataset, split: str, questions: Sequence[Question]) -> None:
    """Bring the table up to date."""
    table = choices_table(dataset, split)
    records = [{"video_id": q.id, "asked": {**asdict(q), "origin": {}}} for q in questions]
    fingerprint = hashlib.sha256(b"".join(map(dumps, records))).hexdigest()[:16]
    if table.meta().get("fingerprint") != fingerprint or not table.exists():
        table.write(records)
        write_json(table.meta_path, {"fingerprint": fingerprint})


def row_of(judged: Judged) -> Record:
    """A line of the step's table: the fields of a judgement, `unlisted`, and `feature`, the bytes
    of float16 numbers in base64."""
    judgement = asdict(judged.judgement)
    for name in ("log_p", "letter_log_p"):
        if judgement[name] is not None:
            judgement[name] = [round(value, DIGITS) for value in judgement[name]]
    vector = judged.feature
    feature = None if vector is None else base64.b64encode(vector.tobytes()).decode()
    return {
        "video_id": judgement.pop("id"),
        **judgement,
        "unlisted": judged.unlisted,
        "feature": feature,
    }


def judgement_of(record: Record) -> Judgement:
    """What a line of the step's table says."""
    names = ("log_p", "tokens", "letter_log_p", "choice", "frames")
    return Judgement(record["video_id"], **{name: record[name] for name in names})


def rows_of(step: TeachStep) -> dict[str, Record]:
    """{id: line} of what has been judged."""
    return {row["video_id"]: row for row in step.writes[0].read() if not row.get("filtered")}


def better_way(steps: Mapping[str, TeachStep], questions: Sequence[Question]) -> str:
    """Whichever way of comparing options is right more often on the questions that have been judged
    both ways, text where both are equal.

    Raises:
        UserError: none of these has a public answer.
    """
    rows = {by: rows_of(step) for by, step in steps.items()}
    if not rows["letter"] and rows["text"]:
        print(f"letters are left out: {NO_LETTERS}")
        return "text"
    both = [
        q for q in questions if q.answer_index is not None and all(q.id in r for r in rows.values())
    ]
    if not both:
        raise UserError(
            "--by auto compares accuracies, and no question with a public answer was judged both"
            " ways: give --by text or --by letter"
        )
    right = {
        by: sum(choice_of(judgement_of(rows[by][q.id])) == q.answer_index for q in both)
        for by in steps
    }
    print(f"right of {len(both)}: {right['text']} by text, {right['letter']} by letter")
    return max(steps, key=lambda by: right[by])


def judge(
    teacher: Teacher,
    settings: TeachSettings,
    dataset: Dataset,
    questions: Sequence[Question],
    options: Options,
) -> TeachStep:
    """Judge what is left; returns the step whose table holds the judgements.

    Raises:
        UserError: the teacher cannot compare options as --by asks.
    """
    from tools.runner.fingerprints import forget
    from tools.runner.run import lock_key, run

    steps = {by: TeachStep(dataset, settings.split, teacher, by) for by in teacher.by}
    prepare = partial(write_choices, dataset, settings.split, questions)
    by = settings.by if len(steps) > 1 or settings.by != "auto" else teacher.by[0]
    if by not in ("auto", *steps):
        raise UserError(f"--by {by}: {teacher.name} compares options by {teacher.by[0]} alone")
    if by == "auto":
        if options.redo == TeachStep.name:
            for step in steps.values():
                with dataset.lock(lock_key(dataset, step.name, step.writes)):
                    forget(step.writes[0])
            options = replace(options, redo=None)
        first = replace(options, limit=min(COMPARED, options.limit or COMPARED))
        for step in steps.values():
            run([step], dataset, first, prepare)
        by = better_way(steps, questions)
    run([steps[by]], dataset, options, prepare)
    return steps[by]


def main(argv: Sequence[str] | None = None) -> None:
    """Judge a split, report, and write the judgements."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, TeachSettings)
    add_settings(parser, Options)
    add_foreign_flags(
        parser,
        "name the data set that python -m qa.read cater --file FILE --dataset NAME --split SPLIT"
        " makes of such a file, and that --split; judgements go to data/NAME/teachers/",
        *("--input_jsonl", "--output_jsonl"),
    )
    args = parser.parse_args(argv)
    dataset, settings = (
        open_dataset(args.dataset, args.data_root),
        settings_from(args, TeachSettings),
    )
    questions = [q for q in read_questions(dataset, settings.split) if q.choices and q.video]
    if not questions:
        raise UserError(f"no question of {dataset.name}/{settings.split} has options and a video")
    file = Path(settings.teacher_name)
    if file.suffix == ".jsonl":
        judgements, vectors = read_judgements(file, questions)
        judgements = {q.id: judgements[q.id] for q in questions}
        name, meta, blind = check_model_name(settings.name or file.stem), {"file": file.name}, 0
    else:
        teacher = open_teacher(settings)
        if settings.teacher_name == "flamingo":
            print("flamingo: IDEFICS-1 stands for it, the open model that is built as Flamingo is")
        step = judge(teacher, settings, dataset, questions, settings_from(args, Options))
        rows = rows_of(step)
        judgements = {q.id: judgement_of(rows[q.id]) for q in questions if q.id in rows}
        vectors = {
            key: np.frombuffer(base64.b64decode(row["feature"]), np.float16)
            for key, row in rows.items()
            if row["feature"]
        }
        if unlisted := sum(row["unlisted"] for row in rows.values()):
            print(f"{unlisted} letters were not among the likeliest tokens that the server gave")
        name, meta, blind = teacher.name, step.params(), teacher.order_blind_below
        if not rows:
            is_left_out = bool(step.writes[0].index().filtered)
            why = f": {NO_LETTERS} of this model, use --by text" if is_left_out else ""
            raise UserError(f"no question of {dataset.name}/{settings.split} was judged{why}")
    path = dataset.judgements_of(name, settings.split)
    report = report_of(questions, judgements)
    counted = f"{len(judgements)} of {len(questions)} questions"
    print(f"{name} on {dataset.name}/{settings.split}, {counted}")
    for line in report.lines():
        print(line)
    if blind:
        few = sum((own.frames or 0) < blind for own in judgements.values())
        print(f"order-blind below {blind} frames: {few} of {len(judgements)} questions")
    if report.is_at_chance and not settings.allow_chance:
        assert report.accuracy
        raise UserError(
            f"{name} may be guessing: its accuracy {report.accuracy.value:.3f} is below chance plus"
            f" 3 standard errors, {report.least:.3f}; --allow_chance writes the file nevertheless"
        )
    features = np.stack([vectors[key] for key in judgements]) if vectors else None
    write_judgements(path, list(judgements.values()), features)
    write_json(
        path.with_name(f"{path.stem}.meta.json"), {"made_by": meta, "report": asdict(report)}
    )
    print(path)


if __name__ == "__main__":
    run_script(main)
