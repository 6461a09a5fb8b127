"""Answer a split's questions from a few frames of each video.

    python -m grounding.answer msvdqa 8 --split test --checkpoint exp/EXPERIMENT --sampler exp/TG
    python -m grounding.answer msvdqa 8 --split test --model qwen25vl7b --sampler exp/TG
    python -m grounding.answer msvdqa 8 --split test --model blip2flant5xl --frames uniform

By default the frames are of the span that a trained bridge points at (--sampler), taken from the
video by their time; a video LLM is shown them as its video, at their own rate. The predictions are
in data/<dataset>/qa/predictions/<split>/<name>.jsonl, which evaluate_model.py qa --predictions and
judge --predictions read. Options are compared or listed as evaluate_model.py qa does it. After a
Ctrl-C or a crash, run the same command again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from grounding.answer_settings import NFRAME, AnswerSettings
from grounding.answerer.models import add_model_flags, captioner_from
from grounding.bridge.moments import frame_times, union_of
from grounding.questions import part_of, question_table, write_question_table
from grounding.spans import bridge_params, check_flow, open_sampler
from inference.captioner import Captioner, Request
from inference.models import check_model_name
from qa.answers import made_by
from qa.asking import Asking, answers_to, gives_log_p, prediction_of
from qa.evaluate import video_path
from qa.frames import MAX_FRAME_PIXELS, PROTOCOLS, frames_of
from qa.predictions import benchmark_digest, write_predictions
from qa.records import Question, read_questions
from tools.cli import (
    add_dataset,
    add_settings,
    run_script,
    script_parser,
    settings_from,
)
from tools.errors import UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record
from tools.video.decode import readable
from tools.video.sampling import sample_moments


@dataclass
class AnswerStep(Step):
    """Choose the frames of a question's video, and ask the model."""

    dataset: Dataset
    captioner: Captioner
    settings: AnswerSettings
    asking: Asking
    benchmark: str

    name = "answer"

    def __post_init__(self) -> None:
        self.reads = question_table(self.dataset, self.settings.split)
        self.writes = (self.dataset.table(f"answers_{self.settings.split}_{self.file_name}"),)
        self.batch_size = self.captioner.batch_size

    @property
    def file_name(self) -> str:
        """Of the predictions, in the names of files."""
        frames = f"{self.settings.frames}{self.asking.frames}"
        return check_model_name(self.settings.name or f"{self.captioner.name}-{frames}")

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "sampling": self.settings.sampling.as_dict(),
            "asking": asdict(self.asking),
            "benchmark": self.benchmark,
            "prompts": self.asking.digest(read_questions(self.dataset, self.settings.split)),
            **self.frames_params(),
        }

    def frames_params(self) -> dict[str, Any]:
        """What shapes the choice of frames, beside their number."""
        if not self.settings.bridge:
            return {}
        own = {name: getattr(self.settings, name) for name in ("k", "extractor")}
        return bridge_params(self.dataset, self.settings.bridge, self.settings.extractor) | own

    def check(self, device: str) -> None:
        if self.settings.frames == "annotated":
            check_spans(read_questions(self.dataset, self.settings.split))
        if self.settings.bridge:
            sampler = open_sampler(self.settings.bridge, self.settings.extractor)
            check_flow(self.dataset, self.reads, sampler.extractor)
        self.captioner.check(device, self.settings.sampling, self.asking.frames)

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        self.captioner.load(device, threads)
        questions = read_questions(self.dataset, self.settings.split)
        self.questions = {question.id: question for question in questions}
        if self.settings.bridge:
            self.sampler = open_sampler(self.settings.bridge, self.settings.extractor, device)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add prediction and finish_reason, or log_p of the options and the tokens of each; and
        span_time, of frames that are not uniform."""
        places = {record["video_id"]: place for place, record in enumerate(records)}
        spans: dict[str, list[tuple[float, float]]] = {}

        def request(question: Question) -> Request:
            shown: tuple[list[Any], float] = ([], 1.0)
            if self.asking.shows_video(question):
                path = video_path(self.dataset, question)
                with readable(path):
                    path.stat()
                whole = self.settings.frames == "uniform"
                if not whole and question.context.get("media", "video") == "video":
                    spans[question.id] = self._spans(question, records[places[question.id]])
                    shown = frames_of_spans(path, spans[question.id], self.asking.frames)
                else:
                    shown = frames_of(question, path, self.asking.frames)
            return self.asking.request(question, shown)

        questions = [self.questions[record["video_id"]] for record in records]
        for question, answer in answers_to(
            self.captioner, self.asking, questions, request, self.settings.sampling, self.threads
        ):
            place = places[question.id]
            if not isinstance(answer, Exception):
                answer = {**records[place], **answer, "span_time": spans.get(question.id)}
            yield place, answer

    def _spans(self, question: Question, record: Record) -> list[tuple[float, float]]:
        if self.settings.frames == "annotated":
            return [(start, end) for start, end in question.context["spans"]]
        flow = self.sampler.read_flow(self.dataset, record["of_video"])
        part = part_of(record, math.inf)
        return self.sampler.ground(flow, record["question"], self.settings.k, part=part).spans


def frames_of_spans(
    path: Path, spans: Sequence[tuple[float, float]], nframe: int
) -> tuple[list[Any], float]:
    """Frames in the middles of equal parts of spans, uint8 RGB (height, width, 3) each, and how
    many of them there are a second.

    Raises:
        VideoError: the file is not there, or cannot be decoded.
    """
    sample = sample_moments(path, lambda length: frame_times(spans, nframe), MAX_FRAME_PIXELS)
    seconds = sum(end - start for start, end in union_of(spans))
    return list(sample.pictures), nframe / seconds if seconds else 1.0


def check_spans(questions: Sequence[Question]) -> None:
    """Check that all questions about a video say when what answers them is seen.

    Raises:
        UserError: some do not.
    """
    without = [
        question.id
        for question in questions
        if question.context.get("media", "video") == "video" and not question.context.get("spans")
    ]
    if without:
        raise UserError(
            f"--frames annotated: {len(without)} of {len(questions)} questions name no span"
            f" (context.spans), such as {without[0]}"
        )


def asking_of(settings: AnswerSettings, captioner: Captioner) -> Asking:
    """How a model is asked: BLIP-2 and InstructBLIP as they are trained, others as qa does it."""
    own_nframe = getattr(captioner, "nframe", None)  # which answerers alone have
    if own_nframe is None and settings.num_beams > 1:
        raise UserError(
            f"--num_beams {settings.num_beams}: {captioner.name} is no BLIP-2 or InstructBLIP,"
            " which alone search by beams here"
        )
    return Asking(
        verbatim=own_nframe is not None and settings.instruction is None and not settings.subtitles,
        write=settings.write or not gives_log_p(captioner),
        frames=settings.nframe or own_nframe or NFRAME,
        protocol=PROTOCOLS[0] if settings.frames == "uniform" else settings.frames,
        subtitles=settings.subtitles,
        instruction=settings.instruction,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Answer the questions of a split."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, AnswerSettings)
    add_model_flags(parser, "answers")
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, AnswerSettings)
    if settings.checkpoint:
        if args.model != parser.get_default("model"):
            raise UserError("--checkpoint and --model do not go together; --base names its base")
        from grounding.answerer.weights import read_settings

        read_settings(settings.checkpoint)  # refuses another folder
        args.model = str(settings.checkpoint)
    questions = read_questions(dataset, settings.split)
    own = {name: getattr(settings, name) for name in ("num_beams", "length_penalty", "base")}
    captioner = captioner_from(args, **own)
    asking = asking_of(settings, captioner)
    step = AnswerStep(dataset, captioner, settings, asking, benchmark_digest(questions))

    from tools.runner.run import run

    run(
        [step],
        dataset,
        settings_from(args, Options),
        prepare=partial(write_question_table, dataset, settings.split),
    )
    print(write_answers(step, questions))


def write_answers(step: AnswerStep, questions: Sequence[Question]) -> Path:
    """Write the predictions of what has been answered; returns their file."""
    records = {record["video_id"]: record for record in step.writes[0].read()}
    answered = [question for question in questions if question.id in records]
    if missing := len(questions) - len(answered):
        print(
            f"{missing} of {len(questions)} questions have no answer: --allow_missing scores the"
            " others"
        )
    captioner, asking = step.captioner, step.asking
    path = step.dataset.predictions(step.settings.split, step.file_name)
    meta = {
        "dataset": step.dataset.name,
        "split": step.settings.split,
        "model": captioner.name,
        "benchmark": step.benchmark,
        "made_by": made_by(captioner) | step.frames_params(),
        **asdict(asking),
        "cut_off": sum(records[q.id]["finish_reason"] == "length" for q in answered),
    }
    write_predictions(path, [prediction_of(asking, q, records[q.id]) for q in answered], meta)
    return path


if __name__ == "__main__":
    run_script(main)
