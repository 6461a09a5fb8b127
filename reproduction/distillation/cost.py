"""What one answer costs: CPU seconds and floating point operations a question.

    python -m reproduction.distillation.cost exp/distillation

measures, on one thread and in one run, the tiny models of the reproduction on some test videos of
three questions each, decoding included: the student with its CLIP, the captioner that writes its
event lines, and toyvl as a teacher, which reads video and question once and all options from there.
Operations are PyTorch's count of those of matrix products; those of the method's own sizes are
counted on tensors without data: CLIP ViT-B/16 with a student of its width (without lines, whose
cross-attention is small beside CLIP), and a language model of 7B that reads 5 clips of 1,100 tokens
(captioner) or one video of 2,130 tokens (Video-LLaVA), which is all that is counted of the two.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPConfig, CLIPModel, LlamaConfig, LlamaForCausalLM

from distillation.features import Features
from distillation.inputs.batches import Reader
from distillation.inputs.encoder import Encoder
from distillation.inputs.lines import Prompts
from distillation.inputs.views import VIEWS, view_frames
from distillation.prompts import SEGMENTS, LinesStep
from distillation.runs.folder import log_p_of
from distillation.student import Student, StudentConfig
from distillation.teach import TeachStep
from distillation.teachers.opening import TeachSettings, open_teacher
from inference.models import open_captioner
from qa.records import read_questions
from reproduction.distillation.world import CAPTIONER, CLIP, FRAMES, LONGEST_LINE, TOKENS, data_of
from tools.cli import new_folder, run_script, script_parser
from tools.store.files import write_json

VIDEOS = 20
TERA = 1e12
# Of the method's own models: 8 frames of 197 tokens, and what a 7B model reads.
VIT_B16 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 16,
    "image_size": 224,
}
WIDTH, PATCHES, OPTIONS = 512, 197, 5
CLIPS, CLIP_TOKENS, VIDEO_TOKENS = 5, 1100, 2130


def measure(work: Callable[[], object], questions: int) -> dict[str, float]:
    """CPU seconds and TFLOP a question; the work is done twice, since counting takes time."""
    before = time.process_time()
    work()
    seconds = time.process_time() - before
    return {"cpu_s": seconds / questions, "tflop": operations(work) / questions}


def operations(work: Callable[[], object]) -> float:
    """TFLOP of some work."""
    torch.backends.mha.set_fastpath_enabled(False)  # whose one operator a layer is not counted
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    return counter.get_total_flops() / TERA


def here(exp: Path) -> dict[str, dict[str, float]]:
    """{"CLIP", "student", "captioner", "teacher": what a question costs}."""
    dataset = data_of(exp)
    questions = read_questions(dataset, "test")
    names = sorted({question.unit for question in questions})[:VIDEOS]
    questions = [question for question in questions if question.unit in names]
    views = [view for view in dataset.table(VIEWS).read() if view["video_id"] in names]
    encoder = Encoder(str(exp / CLIP), False, TOKENS)
    features = Features(dataset, CLIP)
    config = StudentConfig(features.width, FRAMES, heads=4, ffn=2)
    student = Student(config).eval()
    read = Reader(features, Prompts(dataset, "event", CAPTIONER))
    log_p_of(student, read, questions)  # so that the cache of features is read
    model = open_captioner(CAPTIONER, max_new_tokens=LONGEST_LINE)
    captioner = LinesStep(dataset, model, "event", SEGMENTS)
    teacher = TeachStep(
        dataset, "test", open_teacher(TeachSettings(teacher_name=CAPTIONER)), "text"
    )
    for step in (captioner, teacher):
        step.setup("cpu", 1)
    asked = [{"video_id": q.id, "asked": {**asdict(q), "origin": {}}} for q in questions]

    def encode() -> None:
        for view in views:
            encoder.frames(view_frames(view, FRAMES).pictures)

    work: dict[str, Callable[[], object]] = {
        "CLIP": encode,
        "student": lambda: log_p_of(student, read, questions),
        "captioner": lambda: list(captioner.process_batch(views, [])),
        "teacher": lambda: list(teacher.process_batch(asked, [])),
    }
    return {name: measure(own, len(questions)) for name, own in work.items()}


def at_full_size(questions: int) -> dict[str, float]:
    """TFLOP a question of the method's own models, `questions` about each video."""
    student = Student(StudentConfig(WIDTH, FRAMES)).eval()
    inputs = (
        torch.randn(1, FRAMES, PATCHES, WIDTH),
        torch.randn(questions, WIDTH),
        torch.randn(questions, OPTIONS, WIDTH),
        torch.ones(questions, OPTIONS, dtype=torch.bool),
        torch.zeros(questions, dtype=torch.long),
    )
    with torch.no_grad():
        answers = operations(lambda: student(*inputs))
    with FakeTensorMode(), torch.no_grad():
        clip = CLIPModel(CLIPConfig(vision_config=VIT_B16, projection_dim=WIDTH)).eval()
        llm = LlamaForCausalLM(LlamaConfig()).eval()  # the defaults are those of 7B

        def read(tokens: int) -> float:
            shown = torch.empty(1, tokens, llm.config.hidden_size)
            return operations(lambda: llm(inputs_embeds=shown, use_cache=False))

        side = VIT_B16["image_size"]
        frames = torch.empty(FRAMES, 3, side, side)
        return {
            "CLIP": operations(lambda: clip.vision_model(pixel_values=frames)) / questions,
            "student": answers / questions,
            "captioner": CLIPS * read(CLIP_TOKENS) / questions,
            "teacher": read(VIDEO_TOKENS),
        }


def rows(small: dict[str, dict[str, float]], whole: dict[str, float]) -> dict[str, Any]:
    """What the tables show: {who answers: {"cpu_s", "tflop", "tflop_whole"}}."""
    every = {name: {**own, "tflop_whole": whole[name]} for name, own in small.items()}
    parts = {
        "the student, from the cache": ("student",),
        "the student and CLIP": ("CLIP", "student"),
        "the student, CLIP and the captioner": ("CLIP", "student", "captioner"),
        "the teacher": ("teacher",),
    }
    return {
        who: {key: sum(every[name][key] for name in names) for key in every["student"]}
        for who, names in parts.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write cost.json."""
    parser = script_parser(__doc__)
    parser.add_argument("exp", type=new_folder, help="folder of the reproduction")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    costs = rows(here(args.exp), at_full_size(3))
    for who, row in costs.items():
        print(who, row)
    write_json(args.exp / "cost.json", costs)


if __name__ == "__main__":
    run_script(main)
