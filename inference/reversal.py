"""What a model says of videos that are played backwards.

    python -m inference.reversal mine 8 --model qwen25vl7b

For each video with clip captions by the model, it is asked to describe the video from frames in the
wrong direction; data/<dataset>/anno/reversed_<model>.jsonl holds its text in `reversed`. GRPO's
second reward (train_scripts/grpo.sh) is paid for telling a video in another order than this one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from inference.ahead import good_ahead
from inference.captioner import Answer, Captioner, Request, answer_groups, request_seed
from inference.models import add_model_flags, captioner_from
from tools.cli import (
    add_dataset,
    add_settings,
    amount,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import Filtered, UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record
from tools.text.answers import parse_response
from tools.text.faults import answer_fault
from tools.text.prompts import add_prompts_flag, fingerprint, video_messages
from tools.video.sampling import sample_moments

VIDEOS_AHEAD = 4  # decoded before they are asked about


@dataclass(frozen=True)
class Showing:
    """See the help of each field."""

    fps: float = setting(1.0, "frames shown a second of video, as training shows it", type=amount)
    max_frames: int = setting(64, "frames of a video, at most; fewer a second then", type=positive)
    max_pixels: int = setting(512 * 28 * 28, "pixels of a frame, at most", type=positive)
    seed: int = setting(0, "of what a model draws")

    def moments(self, length: float) -> list[float]:
        """Seconds from the start, rising, of the frames of a video of this length."""
        count = min(self.max_frames, max(2, round(length * self.fps)))
        return [(number + 0.5) * length / count for number in range(count)]


@dataclass
class ReversedStep(Step):
    """Show a video backwards, and ask for a description."""

    dataset: Dataset
    captioner: Captioner
    question: str
    showing: Showing

    name = "reversed"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(f"clip_captions_{self.captioner.name}")
        self.writes = (self.dataset.table(f"reversed_{self.captioner.name}"),)
        self.batch_size = self.captioner.batch_size

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "decoding": self.captioner.decoding.as_dict(),
            "question": fingerprint(self.question),
            **vars(self.showing),
        }

    def check(self, device: str) -> None:
        self.captioner.check(device, self.captioner.decoding, self.showing.max_frames)

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield {video_id, video_path, reversed} for each record; videos are decoded ahead."""
        failed: list[tuple[int, Exception]] = []
        groups = good_ahead(
            lambda position: [self._request(records[position])],
            range(len(records)),
            self.threads,
            VIDEOS_AHEAD + self.threads,
            failed,
        )
        for position, (answer,) in answer_groups(self.captioner, groups, self.captioner.decoding):
            yield position, self._row(records[position], answer)
        yield from failed

    def _row(self, record: Record, answer: Answer | Exception) -> Record | Exception:
        if isinstance(answer, Exception):
            return answer
        text = parse_response(answer.text)
        row = {key: record[key] for key in ("video_id", "video_path")} | {"reversed": text}
        fault = answer_fault(answer.text, text, answer.finish_reason)
        return Filtered(fault, row) if fault else row

    def _request(self, record: Record) -> Request:
        video, showing = self.dataset.video_path(record), self.showing
        sample = sample_moments(video, showing.moments, showing.max_pixels)
        frames = list(sample.pictures[::-1])
        messages = video_messages(frames, self.question, len(frames) / sample.seconds)
        return Request(messages, request_seed(showing.seed, record["video_id"], "reversed"))


def main(argv: Sequence[str] | None = None) -> None:
    """Ask about the videos of a data set."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, Showing)
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        help="longest answer, tokens (default: the model's in models.yaml, 2048 for any other)",
    )
    add_prompts_flag(parser)
    add_model_flags(parser, "descriptions")
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    captioner = captioner_from(args, args.max_new_tokens)
    if not dataset.table(f"clip_captions_{captioner.name}").exists():
        raise UserError(
            f"{args.dataset} has no clip captions by {captioner.name}: run generate_meta_data.py"
            f" {args.world_size} --dataset {args.dataset} --model {args.model} first"
        )

    from tools.runner.run import run

    step = ReversedStep(dataset, captioner, args.prompts.questions[0], settings_from(args, Showing))
    run([step], dataset, settings_from(args, Options))
    print(step.writes[0].path)


if __name__ == "__main__":
    run_script(main)
