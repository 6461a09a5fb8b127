"""What an answer costs: CPU seconds a question, with all that comes before it.

    python -m reproduction.methods.cost 1-0123abcd --exp exp/methods --runs exp

measures on one thread and in one run, on some test videos, 11 questions about each, by the very
steps that the commands run: evaluate_model.py qa decodes a video once for all of its questions,
grounding.answer decodes the frames of each question. What else is done once a video (frames for
CLIP, lines, optical flow) is shared by its questions too. Some questions are answered before the
clock starts, so that loading counts for nothing; of three times the least counts.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from distillation.features import Features
from distillation.inputs.batches import Reader
from distillation.inputs.encoder import Encoder
from distillation.inputs.lines import Prompts
from distillation.inputs.views import VIEWS, view_frames
from distillation.prompts import LinesStep
from distillation.runs.folder import log_p_of, open_student
from grounding.answer import AnswerStep, asking_of
from grounding.answer_settings import NFRAME, AnswerSettings
from grounding.questions import write_question_table
from inference.models import open_captioner
from qa.asked_model import AskedModel
from qa.asking import Asking
from qa.evaluate import video_path
from qa.records import Question, read_questions
from reproduction.distillation.world import CAPTIONER, LONGEST_LINE, TOKENS, data_of
from reproduction.methods.trial import Topa, footage_of, student_of
from reproduction.methods.world import CLIP, EVENTS, FRAMES, by_video
from tools.cli import new_folder, run_script, script_parser
from tools.features.flow import Dis, video_flow
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.files import write_json
from toyworld.questions import CHOICES

VIDEOS = 20
REPEATS = 3
BRIDGE = REPOSITORY / "grounding" / "toybridge"
Videos = Sequence[list[Question]]


def whole_video(dataset: Dataset) -> Callable[[Videos], None]:
    """toyvl, whose tuned versions cost the same, on a frame a second."""
    captioner = open_captioner(CAPTIONER)
    captioner.load("cpu", 1)
    model = AskedModel(captioner, lambda: None, partial(video_path, dataset))
    asking = Asking(frames=1, protocol="per_second")

    def answer(videos: Videos) -> None:
        with TemporaryDirectory() as folder:  # a file of predictions that are there is not asked
            questions = [question for own in videos for question in own]
            failed = model.ask(asking, questions, Path(folder, "answers.jsonl"), {})
        assert not failed

    return answer


def few_frames(dataset: Dataset, frames: str) -> Callable[[Videos], None]:
    """toyvl on frames that are spread evenly, or chosen by the bridge from the video's flow."""
    captioner = open_captioner(CAPTIONER)
    sampler = BRIDGE if frames == "grounded" else None
    settings = AnswerSettings(frames=frames, nframe=NFRAME, sampler=sampler)
    step = AnswerStep(dataset, captioner, settings, asking_of(settings, captioner), "")
    step.setup("cpu", 1)
    write_question_table(dataset, CHOICES)
    records = {record["video_id"]: record for record in step.reads.read()}

    def answer(videos: Videos) -> None:
        for own in videos:
            if sampler:
                video_flow(video_path(dataset, own[0]), Dis())
            rows = [records[question.id] for question in own]
            answers = [row for _, row in step.process_batch(rows, [])]
            assert not any(isinstance(row, Exception) for row in answers)

    return answer


def topa(dataset: Dataset, runs: Path) -> Callable[[Videos], None]:
    """CLIP's vectors of the shots, projected, and the language model."""
    model = Topa.of_seed(1, runs)

    def answer(videos: Videos) -> None:
        model.answer(footage_of(dataset, [own[0].video or "" for own in videos]), videos)

    return answer


def student(dataset: Dataset, exp: Path, key: str) -> Callable[[Videos], None]:
    """CLIP's vectors of the frames, of the captioner's lines, of questions and options, and the
    student that has them."""
    captioner = open_captioner(CAPTIONER, max_new_tokens=LONGEST_LINE)
    encoder = Encoder(str(exp / CLIP), False, TOKENS)
    lines = LinesStep(dataset, captioner, "event", EVENTS)
    lines.setup("cpu", 1)
    model = open_student(student_of(exp, "student", key))
    read = Reader(Features(dataset, CLIP), Prompts(dataset, "event", CAPTIONER))
    views = {view["video_id"]: view for view in dataset.table(VIEWS).read()}

    def answer(videos: Videos) -> None:
        own = [views[questions[0].unit] for questions in videos]
        for view in own:
            encoder.frames(view_frames(view, FRAMES).pictures)
        for _, record in lines.process_batch(own, []):
            encoder.lines([text for *_, text in record["lines"]])
        questions = [question for questions in videos for question in questions]
        for question in questions:
            encoder.vectors([question.question, *(question.choices or ())])
        log_p_of(model, read, questions)

    return answer


def measure(work: Callable[[Videos], None], videos: Videos) -> float:
    """CPU seconds a question."""
    work(videos[:1])
    seconds = []
    for _ in range(REPEATS):
        before = time.process_time()
        work(videos)
        seconds.append(time.process_time() - before)
    return min(seconds) / sum(map(len, videos))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write cost.json."""
    parser = script_parser(__doc__)
    parser.add_argument("key", help="of a seed's answers, as run.py names them")
    parser.add_argument("--exp", type=new_folder, required=True, metavar="DIR")
    parser.add_argument("--runs", type=new_folder, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    dataset = data_of(args.exp)
    videos = list(by_video(read_questions(dataset, CHOICES)).values())[:VIDEOS]
    ways = {
        "video LLM": whole_video(dataset),
        "video LLM, a third of the frames": few_frames(dataset, "uniform"),
        "bridge and video LLM": few_frames(dataset, "grounded"),
        "TOPA": topa(dataset, args.runs),
        "student": student(dataset, args.exp, args.key),
    }
    costs = {name: measure(work, videos) for name, work in ways.items()}
    for name, seconds in costs.items():
        print(f"{name}: {1000 * seconds:.1f} ms")
    write_json(args.exp / "cost.json", costs)


if __name__ == "__main__":
    run_script(main)
