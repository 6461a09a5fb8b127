"""Where each video answers its questions, by a trained grounding bridge.

    python -m grounding.spans videoinstruct 8 --sampler exp/VideoTGB_TG_blip2flant5xl_videoinstruct
    python -m grounding.spans mine 1 --sampler exp/mine --split test --k 2
    python -m grounding.spans mine 1 --sampler exp/mine --decode reference --name drawn

The spans of every split that has questions are written, a row a question, to
data/<dataset>/grounding/<split>/spans_<name>.jsonl, where grounding.train finds them. Flow is read,
not computed: python -m grounding.flow does that. Where questions say when their answer can be seen
(context.spans), the overlap with that is printed. After a Ctrl-C or a crash, run the same command
again.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

from grounding.bridge.moments import iou_of_unions
from grounding.questions import part_of, question_table, write_question_table
from inference.captioner import request_seed
from inference.models import check_model_name
from qa.records import Question, read_questions
from tools.cli import (
    add_dataset,
    add_settings,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import Filtered, UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.statistics import interval
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import replace_atomically
from tools.store.jsonl import Record, Table, dumps

GOOD_IOUS = (0.3, 0.5)  # shares of spans above these are reported


@dataclass(frozen=True)
class SpanSettings:
    """See the help of each field."""

    sampler: Path = setting(
        Path(),
        "folder of a trained bridge, such as exp/EXPERIMENT (no default)",
        type=Path,
        metavar="DIR",
        required=True,
        group="spans",
    )
    split: str | None = setting(
        None, "whose questions (default: those of every split)", metavar="NAME"
    )
    name: str | None = setting(
        None, "in the names of files (default: that of the sampler's folder)", metavar="NAME"
    )
    k: int = setting(1, "spans of a question at most, which overlap nowhere", type=positive)
    decode: str = setting(
        "joint",
        "joint: the best pairs of start and end; reference: drawn, as the released code does",
        choices=["joint", "reference"],
    )
    seed: int = setting(0, "of --decode reference")
    extractor: str | None = setting(
        None,
        "whose optical flow is read (default: that which the bridge has learned from)",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        if self.decode == "reference" and self.k > 1:
            raise UserError(f"--k {self.k} does not go with --decode reference, which draws two")

    @property
    def file_name(self) -> str:
        """Of the spans, in the names of files."""
        return check_model_name(self.name or self.sampler.resolve().name)


@dataclass
class SpanStep(Step):
    """Ask the bridge where a video answers a question."""

    dataset: Dataset
    split: str
    settings: SpanSettings

    name = "spans"

    def __post_init__(self) -> None:
        self.reads = question_table(self.dataset, self.split)
        name = f"spans_{self.split}_{self.settings.file_name}"
        self.writes = (self.dataset.table(name),)

    def params(self) -> dict[str, Any]:
        settings = self.settings
        drawn = {"seed": settings.seed} if settings.decode == "reference" else {}
        own = {name: getattr(settings, name) for name in ("k", "decode", "extractor")}
        return {**bridge_params(self.dataset, settings.sampler, settings.extractor), **own, **drawn}

    def check(self, device: str) -> None:
        extractor = open_sampler(self.settings.sampler, self.settings.extractor).extractor
        check_flow(self.dataset, self.reads, extractor)

    def setup(self, device: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.sampler = open_sampler(self.settings.sampler, self.settings.extractor, device)

    def process(self, record: Record) -> Record:
        """Add span_time, span_ratio and log_p, a value a span."""
        if record["of_video"] is None or record["media"] != "video":
            raise Filtered("no_video")
        grounding = self.sampler.ground(
            self.sampler.read_flow(self.dataset, record["of_video"]),
            record["question"],
            self.settings.k,
            self.settings.decode,
            request_seed(self.settings.seed, record["video_id"], "span"),
            part_of(record, math.inf),
        )
        return {
            **record,
            "span_time": [[round(time, 4) for time in span] for span in grounding.spans],
            "span_ratio": [[round(ratio, 6) for ratio in span] for span in grounding.ratios],
            "log_p": [round(value, 4) for value in grounding.log_p],
        }


def open_sampler(folder: Path, extractor: str | None, device: str = "cpu") -> Any:
    """The sampler of a folder, that reads the flow of `extractor` in the place of its own."""
    from grounding.bridge.sampler import Sampler

    sampler = Sampler.open(folder, device)
    sampler.extractor = extractor or sampler.extractor
    return sampler


def sampler_digest(folder: Path) -> str:
    """Sixteen hex digits that change with a bridge.

    Raises:
        UserError: the folder holds none.
    """
    from grounding.bridge.sampler import bridge_file

    with open(bridge_file(folder), "rb") as file:
        return file_digest(file, "sha256").hexdigest()[:16]


def bridge_params(dataset: Dataset, folder: Path, extractor: str | None) -> dict[str, Any]:
    """What changes where a bridge points: its weights, and the flow that it reads.

    Raises:
        UserError: the folder holds no bridge.
    """
    from grounding.bridge.sampler import bridge_file
    from grounding.bridge.weights import read_config

    digest = sampler_digest(folder)
    table = dataset.table(f"flow_{extractor or read_config(bridge_file(folder)).extractor}")
    return {"sampler": digest, "flow": table.meta().get("fingerprint")}


def check_flow(dataset: Dataset, questions: Table, extractor: str) -> None:
    """See that videos of the questions have flow; one that has none fails by itself.

    Raises:
        UserError: none has.
    """
    videos = {record["of_video"] for record in questions.read() if record["media"] == "video"}
    if videos and not any(dataset.flow(extractor, str(video)).exists() for video in videos):
        others = [name for name in dataset.flow_extractors() if name != extractor]
        there = f" (there is that of {', '.join(others)}; --extractor chooses it)" if others else ""
        raise UserError(
            f"{dataset.name} has no flow of {extractor}{there}: run python -m grounding.flow"
            f" {dataset.name} WORLD_SIZE --extractor {extractor}"
        )


def write_spans(dataset: Dataset, split: str, name: str, table: Table) -> dict[str, Record]:
    """Write the spans of a split under the questions' ids; returns them by these."""
    made = table.meta().get("fingerprint")
    kept = ("question", "span_time", "span_ratio", "log_p")
    rows = {
        record["video_id"]: {
            "id": record["video_id"],
            "video_id": record["of_video"],
            **{key: record[key] for key in kept},
            "fingerprint": made,
        }
        for record in table.sorted_records()
        if not record.get("filtered")
    }
    with replace_atomically(dataset.spans(split, name)) as file:
        file.writelines(dumps(row) + b"\n" for row in rows.values())
    return rows


def overlap_line(questions: Sequence[Question], rows: Mapping[str, Record]) -> str | None:
    """How far spans overlap with what questions say is the moment of their answer; None where none
    says so. The interval of 95 % is a bootstrap over videos."""
    ious: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        if question.id in rows and (truth := question.context.get("spans")):
            ious[question.unit].append(iou_of_unions(rows[question.id]["span_time"], truth))
    counts = [(sum(values), len(values)) for values in ious.values()]
    if not counts:
        return None
    mean = interval(counts)
    assert mean
    every = [value for values in ious.values() for value in values]
    shares = (sum(value >= good for value in every) / len(every) for good in GOOD_IOUS)
    good = ", ".join(
        f"{share:.0%} have {least} or more" for share, least in zip(shares, GOOD_IOUS, strict=True)
    )
    return (
        f"IoU with the true moments {mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}], {good}"
        f" ({len(every)} questions)"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Write the spans of a data set's questions."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, SpanSettings)
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, SpanSettings)
    splits = [settings.split] if settings.split else dataset.question_splits()
    if not splits:
        raise UserError(f"{dataset.name} has no questions: python -m qa.read writes them")

    from tools.runner.run import run

    for split in splits:
        questions = read_questions(dataset, split)
        step = SpanStep(dataset, split, settings)
        run(
            [step],
            dataset,
            settings_from(args, Options),
            prepare=partial(write_question_table, dataset, split),
        )
        name = settings.file_name
        rows = write_spans(dataset, split, name, step.writes[0])
        print(f"{len(rows)} of {len(questions)} questions -> {dataset.spans(split, name)}")
        if line := overlap_line(questions, rows):
            print(f"{dataset.name}/{split}: {line}")


if __name__ == "__main__":
    run_script(main)
