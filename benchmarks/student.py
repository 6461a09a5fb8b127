"""An epoch of a student from the cache of features, over one that runs CLIP at every step.

    python -m benchmarks.student --videos 20

measures CPU seconds of one thread on some videos of 8 frames, one question of 5 options each, and
extrapolates both to an epoch over 2,000. CLIP is ViT-B/16-shaped with random weights. The public
code encodes all frames, prompt lines and options of a video again at every step; frames are
already decoded and scaled here, and texts have its fixed lengths. An encoding takes seconds and
each takes as long, so some of the videos are enough (`--encoded`). From the cache, vectors are read
from files. Both train a student of the same size.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel

from distillation.features import Features
from distillation.inputs.batches import Group, Reader, grouped
from distillation.inputs.encoder import LINE_SLOTS, OPTION_SLOTS
from distillation.inputs.lines import Prompts, write_lines
from distillation.inputs.texts import TextTable
from distillation.runs.folder import inputs_of
from distillation.student import Student, StudentConfig
from distillation.training.losses import label_loss
from qa.records import Question
from tools.cli import positive, run_script, script_parser
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset

EPOCH, FRAMES, OPTIONS, WIDTH, TOKENS, WORDS = 2000, 8, 5, 512, 197, 12
FLOOR = 25.0
CLIP_NAME = "random"


def write_cache(dataset: Dataset, videos: int) -> list[Question]:
    """Random features of some videos, with a line a frame; returns a question about each."""
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float16)

    params = {"clip": CLIP_NAME, "frames": FRAMES, "tokens": None, "preset": "default"}
    questions: list[Question] = []
    rows: list[dict[str, Any]] = []
    for number in range(videos):
        name = f"v{number:03}"
        description = {"params": params, "times": [n + 0.5 for n in range(FRAMES)], "step": 1.0}
        path = dataset.vectors(CLIP_NAME, "tokens") / f"{name}.safetensors"
        write_arrays(path, {"tokens": drawn(FRAMES, TOKENS, WIDTH)}, description)
        own = [{"start": n, "end": n + 1, "text": f"{name} line {n}"} for n in range(FRAMES)]
        rows.append({"video": name, "source": "import", "lines": own, "dropped": {}})
        choices = [f"{name} option {n}" for n in range(OPTIONS)]
        questions.append(
            Question(
                *(name, dataset.name, "train", f"{name}?", name, name),
                choices=choices,
                answer_index=number % OPTIONS,
            )
        )
    write_lines(dataset.prompt_lines("event", CLIP_NAME), rows)
    prompts = [line["text"] for row in rows for line in row["lines"]]
    texts = [text for q in questions for text in (q.question, *(q.choices or ()))]
    table = TextTable(dataset.vectors(CLIP_NAME, "lines"))
    table.add(prompts, lambda part: [drawn(WORDS, WIDTH) for _ in part], params)
    table = TextTable(dataset.vectors(CLIP_NAME, "texts"))
    table.add(texts, lambda part: [drawn(WIDTH) for _ in part], params)
    return questions


@torch.inference_mode()
def encode_all(model: CLIPModel, videos: int) -> None:
    """What the public code computes by CLIP for each video at every step."""
    for _ in range(videos):
        frames = torch.randn(FRAMES, 3, 224, 224)
        model.visual_projection(model.vision_model(pixel_values=frames).last_hidden_state)
        for count, slots in ((FRAMES, LINE_SLOTS), (OPTIONS, OPTION_SLOTS)):
            ids = torch.randint(0, 49000, (count, slots))
            model.text_projection(model.text_model(input_ids=ids).last_hidden_state)


def step_of(student: Student, read: Reader) -> Callable[[Sequence[Group]], None]:
    """A step of training on some videos."""
    optimizer = torch.optim.AdamW(student.parameters(), 1e-3)

    def step(groups: Sequence[Group]) -> None:
        batch = read(groups)
        loss = label_loss(student(**inputs_of(batch)).logits, batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    before = time.process_time()
    work()
    return time.process_time() - before


def main(argv: Sequence[str] | None = None) -> None:
    """Print the seconds of an epoch both ways."""
    parser = script_parser(__doc__)
    parser.add_argument("--videos", type=positive, default=20, help="that are measured")
    parser.add_argument("--encoded", type=positive, default=4, help="of them that CLIP encodes")
    parser.add_argument("--batch", type=positive, default=10, help="videos of a step")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
    vision |= {"num_attention_heads": 12, "patch_size": 16, "image_size": 224}
    model = CLIPModel(CLIPConfig(vision_config=vision, projection_dim=WIDTH)).eval()
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset("cache", Path(folder))
        questions = write_cache(dataset, args.videos)
        read = Reader(Features(dataset, CLIP_NAME), Prompts(dataset, "event", CLIP_NAME))
        groups = grouped(questions)
        step = step_of(Student(StudentConfig(WIDTH, FRAMES)), read)
        step(groups[:1])  # what is done once

        def epoch() -> None:
            for start in range(0, len(groups), args.batch):
                step(groups[start : start + args.batch])

        cached = cpu_seconds(epoch) / args.videos
        encode_all(model, 1)  # what is done once
        encoding = cpu_seconds(lambda: encode_all(model, args.encoded)) / args.encoded
    again = encoding + cached
    print(
        f"{args.videos} videos of {FRAMES} frames, {args.encoded} of them encoded, ViT-B/16-shaped"
        " random CLIP, one CPU thread"
    )
    print(f"from the cache       {cached:7.3f} s a video {cached * EPOCH:9,.0f} s an epoch")
    print(f"encoding every time  {again:7.3f} s a video {again * EPOCH:9,.0f} s an epoch")
    print(f"ratio {again / cached:.1f}, at least {FLOOR:g} is wanted; both of {EPOCH:,} videos")


if __name__ == "__main__":
    run_script(main)
