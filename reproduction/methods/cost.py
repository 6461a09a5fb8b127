"""What an answer costs: CPU seconds a question, decoding and all that comes before it included.

    python -m reproduction.methods.cost --exp exp/methods --runs exp

measures on one thread and in one run, on some test videos, 11 questions about each. What is done
once a video (frames for CLIP, lines, optical flow) is shared by its questions; a video LLM decodes
and reads the video again for each, as its command does. The first video of all is answered before
the clock starts, so that loading counts for nothing.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from distillation.features import Features
from distillation.inputs.batches import Reader
from distillation.inputs.encoder import Encoder
from distillation.inputs.lines import Prompts
from distillation.inputs.views import VIEWS, view_frames
from distillation.prompts import LinesStep
from distillation.runs.folder import log_p_of, open_student
from grounding.answer import frames_of_spans
from grounding.answer_settings import NFRAME
from grounding.bridge.sampler import Sampler
from inference.captioner import Captioner
from inference.models import open_captioner
from qa.asking import Asking, Frames, answers_to
from qa.evaluate import video_path
from qa.frames import frames_of
from qa.records import Question, read_questions
from reproduction.distillation.world import CAPTIONER, LONGEST_LINE, TOKENS
from reproduction.methods.trial import Topa, footage_of
from reproduction.methods.world import CLIP, EVENTS, FRAMES, by_video, data_of
from tools.cli import new_folder, run_script, script_parser
from tools.features.flow import Dis, video_flow
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.files import write_json
from toyworld.questions import CHOICES

VIDEOS = 20
BRIDGE = REPOSITORY / "grounding" / "toybridge"
Videos = Sequence[list[Question]]


class VideoLLM:
    """toyvl, whose tuned versions cost the same."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.captioner: Captioner = open_captioner(CAPTIONER)
        self.captioner.load("cpu", 1)

    def ask(self, questions: Sequence[Question], frames: Callable[[Question], Frames]) -> None:
        """Compare the options of questions."""
        asking = Asking()

        def request(question: Question) -> Any:
            return asking.request(question, frames(question))

        sampling = self.captioner.decoding
        assert all(
            not isinstance(answer, Exception)
            for _, answer in answers_to(self.captioner, asking, questions, request, sampling)
        )

    def uniform(self, count: int, videos: Videos) -> None:
        """From frames that are spread evenly."""

        def frames(question: Question) -> Frames:
            return frames_of(question, video_path(self.dataset, question), count)

        self.ask([question for own in videos for question in own], frames)

    def grounded(self, sampler: Sampler, videos: Videos) -> None:
        """From frames that the bridge chooses."""
        for own in videos:
            path = video_path(self.dataset, own[0])
            flow = video_flow(path, Dis())

            def frames(question: Question, flow: Any = flow, path: Path = path) -> Frames:
                return frames_of_spans(path, sampler.ground(flow, question.question).spans, NFRAME)

            self.ask(own, frames)


def student(dataset: Dataset, exp: Path, captioner: Captioner) -> Callable[[Videos], None]:
    """CLIP's vectors of the frames, the captioner's lines, and a student that has them."""
    features = Features(dataset, CLIP)
    encoder = Encoder(str(exp / CLIP), False, TOKENS)
    lines = LinesStep(dataset, captioner, "event", EVENTS)
    lines.setup("cpu", 1)
    model = open_student(exp / "students" / "student" / "s1")
    read = Reader(features, Prompts(dataset, "event", CAPTIONER))
    views = {view["video_id"]: view for view in dataset.table(VIEWS).read()}

    def answer(videos: Videos) -> None:
        own = [views[questions[0].unit] for questions in videos]
        for view in own:
            encoder.frames(view_frames(view, FRAMES).pictures)
        list(lines.process_batch(own, []))
        log_p_of(model, read, [question for questions in videos for question in questions])

    return answer


def measure(work: Callable[[Videos], object], videos: Videos) -> float:
    """CPU seconds a question."""
    work(videos[:1])
    before = time.process_time()
    work(videos[1:])
    return (time.process_time() - before) / sum(map(len, videos[1:]))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write cost.json."""
    parser = script_parser(__doc__)
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--runs", type=new_folder, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dataset = data_of(args.exp)
    videos = list(by_video(read_questions(dataset, CHOICES)).values())[: VIDEOS + 1]
    llm, topa = VideoLLM(dataset), Topa.of_seed(1, args.runs)

    def answer_topa(videos: Videos) -> None:
        topa.answer(footage_of(dataset, [own[0].video or "" for own in videos]), videos)

    lines = open_captioner(CAPTIONER, max_new_tokens=LONGEST_LINE)
    ways: dict[str, Callable[[Videos], object]] = {
        "video LLM": partial(llm.uniform, FRAMES),
        "video LLM, a third of the frames": partial(llm.uniform, NFRAME),
        "bridge and video LLM": partial(llm.grounded, Sampler.open(BRIDGE)),
        "TOPA": answer_topa,
        "student": student(dataset, args.exp, lines),
    }
    costs = {name: measure(work, videos) for name, work in ways.items()}
    for name, seconds in costs.items():
        print(f"{name}: {1000 * seconds:.1f} ms")
    write_json(args.exp / "cost.json", costs)


if __name__ == "__main__":
    run_script(main)
