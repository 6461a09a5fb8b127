"""Write lines of text about each video, which a student reads beside its frames.

    python -m distillation.prompts msrvtt 8 --kind event --model qwen2vl7b
    python -m distillation.prompts msrvtt 8 --kind frame --model gpt-4o-mini@https://api.openai.com/v1
    python -m distillation.prompts msrvtt 1 --kind event --import lines.jsonl

event: a line for each clip: stage 2's captions (generate_meta_data.py) where that model has
captioned the video, else captions of --segments equal parts, of two frames each, by the same model.
frame: a line for each frame, from that frame alone. The model sees frames, never a question nor its
options, unless --with_question shows it both, as the public pipeline does: lines are then those of
a question, not of a video, and their name ends in -with-question. The lines are in
data/<dataset>/prompts/<kind>-<model>.jsonl; --import takes a file in that format
(docs/distillation.md), or with `--import questions` the lines that python -m qa.read cater has
kept. The variants random, shuffled, static, empty and none of a student need no file.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from distillation.inputs.lines import (
    KINDS,
    WITH_QUESTION,
    leaks,
    read_lines,
    static_share,
    write_lines,
)
from distillation.inputs.views import (
    FRAMES,
    VIEWS,
    Frames,
    asked_views,
    list_views,
    view_frames,
    view_of,
)
from inference.captioner import Answer, Captioner, Request, answer_groups, request_seed
from inference.models import add_model_flags, captioner_from
from qa.records import read_questions
from tools.cli import add_dataset, add_settings, positive, run_script, script_parser, settings_from
from tools.errors import UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.shots.spans import clip_spans
from tools.store.dataset import NAME, Dataset, open_dataset
from tools.store.jsonl import Record
from tools.text.answers import parse_clip_caption
from tools.text.faults import answer_fault
from tools.text.prompts import (
    DEFAULT,
    Prompts,
    add_prompts_flag,
    asked_clip_messages,
    clip_messages,
    fingerprint,
)
from tools.video.decode import VideoError

SEGMENTS = 4
DIGITS = 6  # of seconds
QUESTIONS = "questions"  # --import: what qa.read has kept


@dataclass
class LinesStep(Step):
    """Caption the parts of a view, each by itself: two frames of each segment, or each frame."""

    dataset: Dataset
    captioner: Captioner
    kind: str
    parts: int
    seed: int = 0
    prompts: Prompts = DEFAULT
    with_question: bool = False

    name = "prompt_lines"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(self.table_of_views)
        self.writes = (self.dataset.table(f"prompt_lines_{self.kind}_{self.lines_name}"),)
        self.batch_size = max(1, self.captioner.batch_size // self.parts)

    @property
    def table_of_views(self) -> str:
        """The table of those that must be captioned."""
        return f"captioned_views_{self.kind}_{self.lines_name}"

    @property
    def lines_name(self) -> str:
        """What the lines are called by."""
        return self.captioner.name + WITH_QUESTION * self.with_question

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "decoding": self.captioner.decoding.as_dict(),
            "prompts": fingerprint(self.prompts.first_clip),
            "parts": self.parts,
            "seed": self.seed,
            **({"with_question": True} if self.with_question else {}),
        }

    def check(self, device: str) -> None:
        self.captioner.check(device, self.captioner.decoding, frames=2)

    def setup(self, device: str, threads: int) -> None:
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add `lines`, [start, end, text] each, and `dropped`, {fault: how many} of the answers
        that cannot be used. A view without a usable answer is kept, without lines."""
        spans: dict[int, list[tuple[float, float]]] = {}
        failed: list[tuple[int, Exception]] = []

        def groups() -> Iterator[tuple[int, list[Request]]]:
            for position, record in enumerate(records):
                try:
                    pairs, spans[position] = self._pairs(record)
                except Exception as error:
                    failed.append((position, error))
                    continue
                yield position, [self._request(record, *part) for part in enumerate(pairs)]

        for position, answers in answer_groups(self.captioner, groups(), self.captioner.decoding):
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            if errors:
                yield position, errors[0]
                continue
            lines, dropped = [], Counter[str]()
            for (start, end), answer in zip(spans[position], answers, strict=True):
                assert isinstance(answer, Answer)
                text = parse_clip_caption(answer.text, self.captioner.reasoning)
                if fault := answer_fault(answer.text, text, answer.finish_reason):
                    dropped[fault] += 1
                else:
                    lines.append([start, end, text])
            yield position, {**records[position], "lines": lines, "dropped": dict(dropped)}
        yield from failed

    def _pairs(self, record: Record) -> tuple[list[list[Any]], list[tuple[float, float]]]:
        """The two pictures that are shown of each part, and its start and end."""
        each = 2 if self.kind == "event" else 1
        frames: Frames = view_frames(record, each * self.parts)
        pictures, step, begin = frames.pictures, frames.step, frames.times[0] - frames.step / 2
        pairs = [[pictures[each * n], pictures[each * n + each - 1]] for n in range(self.parts)]
        bounds = [round(begin + each * step * n, DIGITS) for n in range(self.parts + 1)]
        return pairs, list(pairwise(bounds))

    def _request(self, record: Record, number: int, pair: list[Any]) -> Request:
        what = f"{self.kind} {number}"
        seed = request_seed(self.seed, record["video_id"], what)
        if self.with_question:
            return Request(asked_clip_messages(pair, **record["asked"], prompts=self.prompts), seed)
        return Request(clip_messages([pair], 0, self.prompts), seed)


def clip_lines(dataset: Dataset, captioner: str) -> dict[str, dict[str, Any]]:
    """{video_id: row} of the videos whose clips stage 2 has captioned."""
    rows = {}
    for record in dataset.table(f"clip_captions_{captioner}").read():
        if record.get("filtered"):
            continue
        pairs = zip(clip_spans(record), record["clip_captions"], strict=True)
        lines = [{"start": start, "end": end, "text": text} for (start, end), text in pairs]
        rows[record["video_id"]] = _row(record["video_id"], "clips", lines)
    return rows


def kept_lines(dataset: Dataset, kind: str) -> Iterator[dict[str, Any]]:
    """Rows of the lines that questions hold (`qa.read cater`), one for each equal part of what a
    question is about; what cannot be read is counted in one line."""
    list_views(dataset)
    views = {view["video_id"]: view for view in dataset.table(VIEWS).read()}
    texts = {
        view_of(question): question.context[f"{kind}_prompts"]
        for split in dataset.question_splits()
        for question in read_questions(dataset, split)
        if question.video is not None and question.context.get(f"{kind}_prompts")
    }
    unreadable = 0
    for view in sorted(views.keys() & texts.keys()):
        try:
            whole = view_frames(views[view], 1)  # one frame, which stands for all of the time
        except VideoError:
            unreadable += 1
            continue
        begin, step = whole.times[0] - whole.step / 2, whole.step / len(texts[view])
        bounds = pairwise(begin + number * step for number in range(len(texts[view]) + 1))
        lines = [
            {"start": round(start, DIGITS), "end": round(end, DIGITS), "text": text}
            for (start, end), text in zip(bounds, texts[view], strict=True)
        ]
        yield _row(view, "import", lines)
    if unreadable:
        print(f"{unreadable} videos cannot be read: their {kind} lines are left out")


def _row(video: str, source: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    return {"video": video, "source": source, "lines": lines, "dropped": {}}


def _captioned(dataset: Dataset, args: Namespace, captioner: Captioner) -> Iterator[dict[str, Any]]:
    """The rows of all views, after the captioner has written what is missing."""
    from tools.runner.run import run

    list_views(dataset)
    clips = {}
    if args.kind == "event" and not args.with_question:
        clips = clip_lines(dataset, captioner.name)
    yield from clips.values()
    parts = args.segments if args.kind == "event" else args.num_video_frames
    shaped = (args.kind, parts, args.seed, args.prompts, args.with_question)
    step = LinesStep(dataset, captioner, *shaped)
    views = asked_views(dataset) if args.with_question else dataset.table(VIEWS).read()
    missing = [view for view in views if view["of"] not in clips]
    if not missing:
        return
    run(
        [step],
        dataset,
        settings_from(args, Options),
        prepare=lambda: dataset.table(step.table_of_views).write(missing),
    )
    wanted = {view["video_id"] for view in missing}
    for record in step.writes[0].read():
        if record["video_id"] in wanted:
            lines = [{"start": s, "end": e, "text": text} for s, e, text in record["lines"]]
            row = _row(record["video_id"], "segments", lines)
            yield {**row, "dropped": record["dropped"]}


def _imported(dataset: Dataset, source: str, kind: str) -> Iterator[dict[str, Any]]:
    if source == QUESTIONS:
        yield from kept_lines(dataset, kind)
        return
    for video, lines in read_lines(Path(source)).items():
        yield _row(video, "import", [vars(line) for line in lines])


def _report(dataset: Dataset, path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Print how many lines there are, what was dropped, and whether they give answers away."""
    sources = Counter(row["source"] for row in rows)
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped.update(row["dropped"])
    total = sum(len(row["lines"]) for row in rows)
    print(f"{total} lines of {len(rows)} videos ({_counts(sources)}) -> {path}")
    if dropped:
        print(
            f"{dropped.total()} answers were dropped ({_counts(dropped)}): their frames read none"
        )
    lines = read_lines(path)
    if total:
        share = static_share(chain.from_iterable(lines.values()))
        print(f"static shows {share:.1%} of the lines up to a verb, the others whole")
    for split in dataset.question_splits():
        count, of_any, of_right = leaks(read_questions(dataset, split), lines)
        if of_any:
            print(
                f"warning: {split}: in {of_any / count:.1%} of {count} questions a line contains"
                f" the whole text of an option, in {of_right / count:.1%} that of the right one:"
                " a student may read the answer instead of seeing it"
            )


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.most_common())


def main(argv: Sequence[str] | None = None) -> None:
    """Write the lines of a kind."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("--kind", choices=KINDS, required=True, help="of lines; see above")
    parser.add_argument(
        "--import",
        dest="source",
        metavar="FILE",
        help="take lines that were made elsewhere: a file, or `questions` (default: caption)",
    )
    parser.add_argument(
        "--with_question",
        action="store_true",
        help="show the captioner each question and its options too, for comparison",
    )
    parser.add_argument(
        "--segments",
        type=positive,
        default=SEGMENTS,
        help="event: equal parts of a video without clip captions (default: %(default)s)",
    )
    parser.add_argument(
        "--num_video_frames",
        type=positive,
        default=FRAMES,
        help="frame: frames of a video, as for features (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of what a model draws (default: %(default)s)"
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        help="longest line, tokens (default: the model's in models.yaml, 2048 for any other)",
    )
    add_prompts_flag(parser)
    add_model_flags(parser, "lines")
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    if args.source and args.with_question:
        raise UserError("--with_question is for a captioner; lines of --import are there already")
    if args.source:
        name = args.model_name or "import"
        if not NAME.fullmatch(name):
            raise UserError(f"--model_name {name}: this cannot name a file")
        rows = list(_imported(dataset, args.source, args.kind))
        if not rows:
            raise UserError(f"--import {args.source}: no {args.kind} lines are there")
    else:
        captioner = captioner_from(args, args.max_new_tokens)
        name = captioner.name + WITH_QUESTION * args.with_question
        rows = list(_captioned(dataset, args, captioner))
    path = dataset.prompt_lines(args.kind, name)
    write_lines(path, rows)
    _report(dataset, path, rows)


if __name__ == "__main__":
    run_script(main)
