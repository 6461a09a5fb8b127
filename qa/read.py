"""Read the questions of a benchmark: its own files -> data/<dataset>/qa/<split>.jsonl.

    python -m qa.read nextqa --file val.csv --map map_vid_vidorID.json --video_dir NExTVideo \\
        --dataset nextqa --split val
    python -m qa.read msrvttqa --file test_qa.json --video_dir DIR --dataset msrvttqa \\
        --split test --choices 5 --pool train_qa.json
    python -m qa.read llava --file llava_image_tune_.json videochatgpt_tune_.json \\
        --video_dir DIR --dataset ivinstruct --split train
    python -m qa.read own --file questions.csv --video_dir DIR --dataset mine --split test

A question's video is the toolkit's video: the folder is listed in the data set's anno/init.jsonl as
stage 1 lists it, and remembered. Each row becomes a question or is listed with its reason in
<split>.rejected.jsonl; the numbers of both are printed.

Benchmarks and what each takes as --file:
"""

import re
import textwrap
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qa.checks import REASONS, checked, position_warning
from qa.distractors import with_choices
from qa.draw import draw_videos
from qa.options import LETTERS
from qa.readers.rows import Draft, QuestionFiles, Rejected, Row
from qa.readers.table import BENCHMARKS, rows_of_benchmark
from qa.records import Question, write_questions
from qa.subtitles import Line, overlapping, read_subtitles
from qa.videos import Videos
from tools.cli import (
    add_data_root,
    add_settings,
    positive,
    run_script,
    script_parser,
    settings_from,
    whole,
)
from tools.errors import UserError
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import replace_atomically
from tools.store.jsonl import dumps
from tools.video.listing import Listing

KEPT_REASONS = ("missing_video",)
SPLIT = re.compile(r"[\w-]+")  # the names of the files beside a split's have a dot in them


def manual() -> str:
    """The script's docstring and the table of benchmarks."""
    lines = [
        textwrap.fill(
            benchmark.wants, 100, initial_indent=f"    {name:14}", subsequent_indent=" " * 18
        )
        for name, benchmark in BENCHMARKS.items()
    ]
    return "\n".join([(__doc__ or "").rstrip(), *lines])


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(manual())
    parser.add_argument("benchmark", choices=BENCHMARKS, metavar="BENCHMARK", help="see above")
    parser.add_argument(
        "--file",
        type=Path,
        nargs="+",
        required=True,
        help="the questions; of several files, one split of them all",
    )
    parser.add_argument("--answers", type=Path, metavar="FILE", help="answers in a file of its own")
    parser.add_argument("--map", type=Path, metavar="FILE", help="names of the videos' files")
    parser.add_argument(
        "--subtitles",
        type=Path,
        metavar="DIR",
        help="folder of SubRip files, <video>.srt: the lines shown in the part that is asked about"
        " go into the question's context",
    )
    parser.add_argument(
        "--video_dir",
        type=Path,
        metavar="DIR",
        help="folder of the videos, read with its subfolders (default: the one that is remembered)",
    )
    parser.add_argument("--dataset", required=True, help="name of the dataset, new or known")
    parser.add_argument("--split", required=True, help="name of the split, such as val")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="ask about whole videos, whatever parts the file names (default: about those parts)",
    )
    parser.add_argument(
        "--keep",
        nargs="+",
        choices=KEPT_REASONS,
        default=[],
        help="keep questions whose video is not there, as questions without media",
    )
    parser.add_argument(
        "--choices",
        type=positive,
        help="make multiple choice of open questions, with so many options (default: leave them"
        " open)",
    )
    parser.add_argument(
        "--pool",
        type=Path,
        metavar="FILE",
        help="file of the same benchmark, such as train_qa.json, whose answers are the wrong"
        " options (default: the answers of --file)",
    )
    parser.add_argument(
        "--limit", type=positive, help="draw so many videos, by types (default: take all)"
    )
    parser.add_argument(
        "--seed", type=whole, default=0, help="of --choices and --limit (default: %(default)s)"
    )
    add_settings(parser, Listing)
    add_data_root(parser)
    return parser.parse_args(argv)


class Reading:
    """What becomes of the rows of the files of a split: questions, or reasons."""

    def __init__(self, benchmark: str, sources: Sequence[QuestionFiles]) -> None:
        self.sources = sources
        self.split = sources[0].split
        self.questions: list[Question] = []
        self.rejected: list[dict[str, Any]] = []
        self.notes: Counter[str] = Counter()
        self.left_out = 0
        self._read = BENCHMARKS[benchmark].read
        self._rows: list[tuple[QuestionFiles, Row]] = [
            (source, row) for source in sources for row in rows_of_benchmark(benchmark, source)
        ]

    def read(
        self,
        dataset: str,
        videos: Videos,
        keep: Sequence[str],
        subtitles: Path | None,
        whole_videos: bool,
    ) -> None:
        """Make a question of each row, or list why it is none."""
        lines: dict[str, list[Line] | None] = {}
        file_of: dict[str, Path] = {}
        for source, row in self._rows:
            draft = None
            try:
                draft = self._read(row.regular(), source)
                if file_of.setdefault(draft.id, source.file) != source.file:
                    draft.id = f"{source.file.stem}/{draft.id}"
                    draft.notes.append("its id is another file's too, and has its file before it")
                if whole_videos:
                    draft.start = draft.end = None
                question = checked(draft, row.origin, dataset, self.split, videos, keep)
            except Rejected as rejected:
                self._reject(rejected, draft, row.origin)
                continue
            if subtitles and question.video_id:
                self._add_subtitles(question, draft, subtitles, lines)
            self.notes.update(draft.notes)
            self.questions.append(question)

    def _reject(self, rejected: Rejected, draft: Draft | None, origin: dict[str, Any]) -> None:
        published = {
            "id": draft and draft.id,
            "video": draft.videos[0] if draft and draft.videos else None,
            "question": draft and draft.question,
        }
        reason = {"reason": rejected.reason, "detail": rejected.detail}
        self.rejected.append({**published, **reason, "origin": origin})

    def _add_subtitles(
        self, question: Question, draft: Draft, folder: Path, lines: dict[str, list[Line] | None]
    ) -> None:
        name = draft.subtitles or Path(question.video or draft.videos[0]).stem
        if name not in lines:
            path = folder / f"{name}.srt"
            lines[name] = read_subtitles(path) if path.is_file() else None
        of_video = lines[name]
        if of_video is None:
            draft.notes.append("no file of subtitles")
        else:
            part = overlapping(of_video, question.start, question.end)
            question.context["subtitles"] = part

    def add_choices(self, pool: Sequence[tuple[str, str]], count: int, seed: int) -> None:
        """Make multiple choice of the open questions."""
        self.questions, without = with_choices(self.questions, pool, count, seed)
        for question in without:
            draft = Draft(question.id, question.question, [question.video or ""])
            rejected = Rejected("no_other_answer", f"{question.answer!r} is the only one")
            self._reject(rejected, draft, question.origin)

    def draw(self, limit: int, seed: int) -> None:
        """Keep the questions of some videos."""
        drawn = draw_videos(self.questions, limit, seed)
        self.left_out = len(self.questions) - len(drawn)
        self.questions = drawn

    def write(self, dataset: Dataset) -> None:
        """Write the questions and the rejected rows.

        Raises:
            UserError: no question is left, or an id comes twice.
        """
        if self.questions:
            write_questions(dataset.questions(self.split), self.questions)
        path = dataset.rejected_questions(self.split)
        if self.rejected:
            with replace_atomically(path) as file:
                file.writelines(dumps(row) + b"\n" for row in self.rejected)
        else:
            path.unlink(missing_ok=True)
        if not self.questions:
            raise UserError(f"no question is left of {len(self._rows)}: {self.reasons()}")

    def reasons(self) -> str:
        """The reasons in one line, with an example of the most frequent one."""
        counts = Counter(row["reason"] for row in self.rejected)
        if not counts:
            return "the file has no rows"
        [(most, _)] = counts.most_common(1)
        example = next(row["detail"] for row in self.rejected if row["reason"] == most)
        return ", ".join(f"{n} {reason}" for reason, n in counts.most_common()) + f" ({example})"

    def print_funnel(self, dataset: Dataset) -> None:
        """Print what became of the rows; the numbers add up."""
        files = ", ".join(str(source.file) for source in self.sources)
        print(f"{len(self._rows):>9,} rows read from {files}")
        for reason, count in Counter(row["reason"] for row in self.rejected).most_common():
            example = next(row for row in self.rejected if row["reason"] == reason)
            print(f"{-count:>9,} {reason}: {REASONS[reason]}, such as {_place(example)}")
        if self.left_out:
            print(f"{-self.left_out:>9,} not drawn by --limit")
        units = len({question.unit for question in self.questions})
        path = dataset.questions(self.split)
        print(f"{len(self.questions):>9,} questions kept, of {units:,} videos or texts: {path}")
        hidden = sum(question.answer is None for question in self.questions)
        for note, count in [("labels are hidden", hidden), *self.notes.most_common()]:
            if count:
                print(f"note: {note}: {count:,} questions")
        if warning := position_warning(self.questions):
            print(warning)
        if self.rejected:
            print(f"rejected rows: {dataset.rejected_questions(self.split)}")


def _place(row: dict[str, Any]) -> str:
    origin = row["origin"]
    where = f"line {origin['line']}" if "line" in origin else f"place {origin['place']}"
    return f"{where} of {origin['file']} ({row['detail'] or row['id']:.120})"


def pool_of(benchmark: str, source: QuestionFiles) -> list[tuple[str, str]]:
    """The (question, answer) pairs of a file, whose videos need not be there."""
    pairs = []
    for row in rows_of_benchmark(benchmark, source):
        try:
            draft = BENCHMARKS[benchmark].read(row.regular(), source)
        except Rejected:
            continue
        if draft.answer and draft.question:
            pairs.append((draft.question, draft.answer))
    if not pairs:
        raise UserError(f"--pool {source.file} holds no open question with an answer")
    return pairs


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files of one split."""
    args = parse_arguments(argv)
    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True)
    if not SPLIT.fullmatch(args.split):
        raise UserError(f"--split {args.split!r}: use letters, digits, '_' and '-' only")
    if args.choices == 1:
        raise UserError("--choices 1: a choice needs two options")
    if args.choices and args.choices > len(LETTERS):
        raise UserError(f"--choices {args.choices}: options have letters, which end at Z, the 26th")
    if args.pool and not args.choices:
        raise UserError("--pool is where --choices takes wrong options from: add --choices 5")
    if args.subtitles and not args.subtitles.is_dir():
        raise UserError(f"--subtitles {args.subtitles}: no such folder")
    if args.answers and len(args.file) > 1:
        raise UserError("--answers belongs to one --file: read one file")
    sources = [QuestionFiles(file, args.split, args.answers, args.map) for file in args.file]
    reading = Reading(args.benchmark, sources)
    listing = settings_from(args, Listing)
    videos = Videos(dataset, args.video_dir, listing, may_lack="missing_video" in args.keep)
    reading.read(dataset.name, videos, args.keep, args.subtitles, args.whole)
    if args.choices:
        pool = []
        if args.pool:
            pool = pool_of(args.benchmark, QuestionFiles(args.pool, args.split, map=args.map))
        reading.add_choices(pool, args.choices, args.seed)
    if args.limit:
        reading.draw(args.limit, args.seed)
    reading.write(dataset)
    reading.print_funnel(dataset)


if __name__ == "__main__":
    run_script(main)
