"""Stage 2: a caption for every clip, from its key frames."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from inference.ahead import good_ahead
from inference.captioner import Answer, Captioner, Request, answer_groups, request_seed
from inference.workload import Workload, estimate
from tools.errors import Filtered
from tools.runner.step import Step
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.text.answers import parse_clip_caption
from tools.text.faults import answer_fault
from tools.text.prompts import DEFAULT, Prompts, clip_messages, fingerprint
from tools.video.frames import read_frames
from tools.video.scan import kept_scan

# Frames are held at no more than this: twice the 28 * 28 * 512 pixels that the method shows a model
# (TEMPLE), so that the model's own scaling decides, and 64 frames fit in 160 MB.
MAX_FRAME_PIXELS = 2 * 28 * 28 * 512
# Decoded videos that wait for the model: about a captioner's window, 20 frames or 50 MB each.
VIDEOS_AHEAD = 8
# A video has about this many clips: how many videos make up a captioner's batch.
CLIPS_A_VIDEO = 8


@dataclass
class RawCaptionsStep(Step):
    """Show each clip, with the clip before it, to a captioner."""

    dataset: Dataset
    captioner: Captioner
    seed: int = 0
    prompts: Prompts = DEFAULT
    rate: float | None = None  # requests a second, for the estimate alone

    name = "raw_captions"

    def __post_init__(self) -> None:
        self.reads = self.dataset.videos()
        self.writes = (self.dataset.table(f"raw_clip_captions_{self.captioner.name}"),)
        self.batch_size = max(1, self.captioner.batch_size // CLIPS_A_VIDEO)

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "decoding": self.captioner.decoding.as_dict(),
            "prompts": fingerprint(self.prompts.first_clip, self.prompts.later_clip),
            "seed": self.seed,
        }

    def workload(self, left: Iterable[tuple[Record, tuple[str, ...]]]) -> str:
        return estimate(left, self._workload_of, self.rate)

    def _workload_of(self, record: Record, _: tuple[str, ...]) -> Workload:
        clips = len(record["frame_indices"])
        # The first clip is shown alone, each other one with the clip before it.
        return Workload(videos=1, requests=clips, pictures=4 * clips - 2)

    def check(self, device: str) -> None:
        self.captioner.check(device, self.captioner.decoding, frames=4)  # of two clips

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add raw_clip_captions and finish_reasons to each record; videos are decoded ahead."""
        failed: list[tuple[int, Exception]] = []
        groups = good_ahead(
            lambda position: self._requests(records[position]),
            range(len(records)),
            self.threads,
            VIDEOS_AHEAD + self.threads,
            failed,
        )
        for position, answers in answer_groups(self.captioner, groups, self.captioner.decoding):
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            good = [answer for answer in answers if isinstance(answer, Answer)]
            captions = {
                "raw_clip_captions": [answer.text for answer in good],
                "finish_reasons": [answer.finish_reason for answer in good],
            }
            yield position, errors[0] if errors else {**records[position], **captions}
        yield from failed

    def _requests(self, record: Record) -> list[Request]:
        video, pairs = self.dataset.video_path(record), record["frame_indices"]
        frames = read_frames(
            video,
            (index for pair in pairs for index in pair),
            kept_scan(self.dataset, record["video_id"], video),
            self.threads,
            MAX_FRAME_PIXELS,
        )
        clips = [[frames[index] for index in pair] for pair in pairs]
        return [
            Request(
                clip_messages(clips, k, self.prompts),
                request_seed(self.seed, record["video_id"], f"clip {k}"),
            )
            for k in range(len(clips))
        ]


@dataclass
class CaptionsStep(Step):
    """Take the captions out of the answers.

    A video with a clip whose answer is cut off, empty, looping or tagged is filtered: every
    response would be written from that clip's caption too.
    """

    dataset: Dataset
    captioner: Captioner

    name = "captions"
    revision = 2
    batch_size = 32

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(f"raw_clip_captions_{self.captioner.name}")
        self.writes = (self.dataset.table(f"clip_captions_{self.captioner.name}"),)

    def limits(self) -> dict[str, str]:
        more = "--max_new_tokens sets the limit: give more with --redo raw_captions"
        return {"cut_off_caption": more}

    def params(self) -> dict[str, Any]:
        return {"reasoning": self.captioner.reasoning}

    def process(self, record: Record) -> Record:
        answers = record["raw_clip_captions"]
        # Tables of the reference do not record how an answer ended.
        finish_reasons = record.get("finish_reasons", ["stop"] * len(answers))
        captions = [parse_clip_caption(text, self.captioner.reasoning) for text in answers]
        for text, caption, finish_reason in zip(answers, captions, finish_reasons, strict=True):
            if fault := answer_fault(text, caption, finish_reason):
                raise Filtered(f"{fault}_caption")
        return {**record, "clip_captions": captions}
