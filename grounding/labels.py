"""Step 1: which moment of its video answers a question, by a model's own answers.

    python -m grounding.labels videoinstruct 8 --model blip2flant5xl
    python -m grounding.labels videoinstruct 8 --model qwen25vl7b --baseline top --redo labels
    python -m grounding.labels videoinstruct 1 --labels pseudo_label.json      # the released format

Each of 32 frames, by itself, is shown to the model with the question, and its answer is compared
with the right one. The largest rectangle under these scores is the moment. The labels are in
data/<dataset>/grounding/<split>/pseudo_labels.jsonl; of two steps, frame_answers is the costly one,
and labels chooses the moment. After a Ctrl-C or a crash, run the same command again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grounding.answerer.models import add_model_flags, captioner_from
from grounding.bridge.moments import BASELINES, label_of, ratios_of
from grounding.pseudo_labels import import_labels, write_labels, write_rows
from grounding.questions import part_of, question_table, write_question_table
from grounding.scores import METRICS
from inference.ahead import good_ahead
from inference.captioner import Answer, Captioner, Request, Sampling, answer_groups, request_seed
from inference.checkpoints import local_folder
from qa.records import read_questions
from tools.cli import (
    add_dataset,
    add_settings,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
    share,
)
from tools.errors import Filtered
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record, Table
from tools.text.answers import parse_response
from tools.text.chat import turns_of
from tools.text.qa_prompts import qa_messages
from tools.video.sampling import sample_moments

BERTSCORE = "bertscore"
QUESTIONS_AHEAD = 1  # decoded videos that wait for the model: 32 frames of 1080p are 200 MB


@dataclass(frozen=True)
class LabelSettings:
    """See the help of each field."""

    split: str = setting("train", "whose questions get labels", metavar="NAME", group="labels")
    frames: int = setting(32, "frames of a video that are asked about", type=positive)
    max_answer: int = setting(128, "longest answer to a frame, tokens", type=positive)
    metric: str = setting(
        "rouge1_recall",
        "how an answer is compared with the right one; bertscore by an encoder",
        choices=[*METRICS, BERTSCORE],
    )
    bert: str = setting(
        "roberta-large", "of bertscore: folder or id of the encoder", metavar="NAME"
    )
    bert_layer: int = setting(
        -1, "of bertscore: the layer whose vectors count; -1: the last", type=int
    )
    baseline: str = setting(
        "mean",
        "what is taken off the scores of a video: none or min (the released code), mean; or top,"
        " which counts the best frames alone",
        choices=list(BASELINES),
    )
    min_confidence: float = setting(
        0.5,
        "labels below this are filtered: 1 - area of the best moment beside the label / its own",
        type=share,
    )
    labels: Path | None = setting(
        None,
        "take the labels of this file, in the released format, and ask no model",
        type=Path,
        metavar="FILE",
    )


@dataclass
class FrameAnswersStep(Step):
    """Show each of a video's frames by itself to a model, with the question."""

    dataset: Dataset
    captioner: Captioner
    settings: LabelSettings

    name = "frame_answers"

    def __post_init__(self) -> None:
        self.sampling = Sampling.greedy(self.settings.max_answer)
        self.reads = question_table(self.dataset, self.settings.split)
        name = f"frame_answers_{self.settings.split}_{self.captioner.name}"
        self.writes = (self.dataset.table(name),)
        self.batch_size = max(1, self.captioner.batch_size // self.settings.frames)

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "sampling": self.sampling.as_dict(),
            "frames": self.settings.frames,
        }

    def check(self, device: str) -> None:
        self.captioner.check(device, self.sampling, frames=1)

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add frame_times and video_seconds, in seconds, and the answers to each frame."""
        failed: list[tuple[int, Exception]] = []
        seconds: dict[int, dict[str, Any]] = {}

        def groups() -> Iterator[tuple[int, list[Request]]]:
            for position, (requests, times) in good_ahead(
                lambda position: self._requests(records[position]),
                range(len(records)),
                self.threads,
                QUESTIONS_AHEAD + self.threads,
                failed,
            ):
                seconds[position] = times
                yield position, requests

        for position, answers in answer_groups(self.captioner, groups(), self.sampling):
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            texts = [
                parse_response(answer.text) for answer in answers if isinstance(answer, Answer)
            ]
            record = {**records[position], **seconds[position], "answers": texts}
            yield position, errors[0] if errors else record
        yield from failed

    def _requests(self, record: Record) -> tuple[list[Request], dict[str, Any]]:
        if record["of_video"] is None or record["media"] != "video":
            raise Filtered("no_video")
        if record["answer"] is None:
            raise Filtered("no_answer")
        count = self.settings.frames

        def middles(length: float) -> list[float]:
            start, end = part_of(record, length)
            if start >= end:
                raise ValueError(f"the part that is asked about starts at {start} s, of {length} s")
            return [start + (place + 0.5) / count * (end - start) for place in range(count)]

        video = self.dataset.video_path({**record, "video_id": record["of_video"]})
        sample = sample_moments(video, middles)
        earlier = turns_of(record["conversation"])
        requests = [
            Request(
                qa_messages(record["question"], [picture], 1.0, earlier),
                request_seed(0, record["video_id"], f"frame {place}"),
            )
            for place, picture in enumerate(sample.pictures)
        ]
        rounded = [round(time, 4) for time in sample.times]
        return requests, {"frame_times": rounded, "video_seconds": round(sample.seconds, 4)}


@dataclass
class LabelStep(Step):
    """Choose the moment by the answers."""

    dataset: Dataset
    answers: Table
    settings: LabelSettings

    name = "labels"
    batch_size = 32

    def __post_init__(self) -> None:
        self.reads = self.answers
        self.writes = (self.dataset.table(self.answers.name.replace("frame_answers", "labels", 1)),)

    def params(self) -> dict[str, Any]:
        names = ["metric", "baseline", "min_confidence"]
        names += ["bert", "bert_layer"] if self.settings.metric == BERTSCORE else []
        return {name: getattr(self.settings, name) for name in names}

    def check(self, device: str) -> None:
        """Find the encoder, or fetch it once."""
        if self.settings.metric == BERTSCORE:
            local_folder(self.settings.bert)

    def setup(self, device: str, threads: int) -> None:
        if self.settings.metric == BERTSCORE:
            from grounding.bertscore import BertScore

            self.bert = BertScore(self.settings.bert, self.settings.bert_layer)

    def _scores(self, answers: Sequence[str], right: str) -> list[float]:
        if self.settings.metric == BERTSCORE:
            return self.bert.scores(answers, right)
        metric = METRICS[self.settings.metric]
        return [metric(answer, right) for answer in answers]

    def process(self, record: Record) -> Record:
        """Add scores, span_time and span_ratio, confidence, metric and baseline; filter a question
        whose answers single out no moment, or more than one."""
        scores = self._scores(record["answers"], record["answer"])
        label = label_of(scores, self.settings.baseline)
        start, end = part_of(record, record["video_seconds"])
        times = [
            start + ratio * (end - start)
            for ratio in ratios_of(label.first, label.last, len(scores))
        ]
        labelled = {
            **record,
            "scores": [round(score, 4) for score in scores],
            "span_time": [round(time, 4) for time in times],
            "span_ratio": [round(time / record["video_seconds"], 6) for time in times],
            "confidence": None if label.confidence is None else round(label.confidence, 4),
            "metric": self.settings.metric,
            "baseline": self.settings.baseline,
        }
        if label.confidence is None:
            raise Filtered("no_label", labelled)
        if label.confidence < self.settings.min_confidence:
            raise Filtered("low_confidence", labelled)
        return labelled


def main(argv: Sequence[str] | None = None) -> None:
    """Make the labels of a split, or import them."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, LabelSettings)
    add_model_flags(parser, "answers")
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, LabelSettings)
    path = dataset.pseudo_labels(settings.split)
    if settings.labels:
        questions = read_questions(dataset, settings.split)
        rows, left_out, scale = import_labels(settings.labels, questions)
        write_rows(path, rows)
        reasons = "".join(f", {count} left out ({why})" for why, count in sorted(left_out.items()))
        print(f"{settings.labels} holds {scale}: {len(rows)} labels{reasons} -> {path}")
        return
    read_questions(dataset, settings.split)
    captioner = captioner_from(args)

    from tools.runner.run import run

    answers = FrameAnswersStep(dataset, captioner, settings)
    labels = LabelStep(dataset, answers.writes[0], settings)
    run(
        [answers, labels],
        dataset,
        settings_from(args, Options),
        prepare=lambda: write_question_table(dataset, settings.split),
    )
    print(f"{write_labels(dataset, settings.split, labels.writes[0])} labels -> {path}")


if __name__ == "__main__":
    run_script(main)
