"""Options of a question to a teacher from one reading of the video over one forward pass an option:
CPU seconds, and how far the log p are apart.

    python -m benchmarks.teachers           # 10 questions, 5 options, 2,056 video tokens

The teacher is a tiny Video-LLaVA with random weights, on one thread, shown eight frames of 224 x
224 pixels as the released one is. An option's forward pass puts the video through the processor
again, as in benchmarks.options.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from distillation.teachers.teacher import Case, Judged
from distillation.teachers.video_llava import VideoLlava
from inference.tiny.teachers import video_llava
from inference.tiny.tokenizer import WORDS
from tools.cli import positive, run_script, script_parser
from tools.text.qa_prompts import question_prompt

MIN_RATIO, MAX_APART = 3.0, 1e-5
FRAMES, SIDE = 8, 224
WORDS_AN_OPTION = (2, 9)


def cases(count: int, options: int, seed: int) -> list[Case]:
    """Questions about videos of random colours, each with options of random words."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        coarse = rng.integers(0, 256, (FRAMES, 8, 8, 3), np.uint8)
        frames = list(coarse.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2))
        texts = [
            " ".join(rng.choice(WORDS, rng.integers(*WORDS_AN_OPTION))) for _ in range(options)
        ]
        made.append(Case(str(number), frames, 1.0, f"what happens in video {number}", texts))
    return made


def one_reading(teacher: VideoLlava, asked: list[Case]) -> list[list[float]]:
    """log p of each question's options, nats, as the teacher gives it."""
    values = []
    for _, judged in teacher.judge(asked, "text"):
        assert isinstance(judged, Judged) and judged.judgement.log_p
        values.append(judged.judgement.log_p)
    return values


@torch.inference_mode()
def one_forward_an_option(teacher: VideoLlava, asked: list[Case]) -> list[list[float]]:
    """The same, each option from a forward pass of its own over video, question and option."""
    values = []
    for case in asked:
        own = []
        for option in case.options:
            inputs = teacher.encode(case, question_prompt(case.question))
            ids = teacher.tokenizer.encode(option, add_special_tokens=False, return_tensors="pt")
            whole = {**inputs, "input_ids": torch.cat([inputs["input_ids"], ids], 1)}
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            keep = ids.shape[1] + 1
            logits = teacher.network(**whole, use_cache=False, logits_to_keep=keep).logits
            log_p = logits[0, :-1].float().log_softmax(-1)
            own.append(float(log_p.gather(1, ids[0][:, None]).double().sum()))
        values.append(own)
    return values


def measured(
    ask: Callable[..., list[list[float]]], teacher: VideoLlava, asked: list[Case]
) -> tuple[list[list[float]], float]:
    """log p, and CPU seconds."""
    ask(teacher, asked[:1])
    start = time.process_time()
    values = ask(teacher, asked)
    return values, time.process_time() - start


def main() -> None:
    """Measure both, print the ratio, and exit with 1 where a bound is missed."""
    parser = script_parser(__doc__)
    parser.add_argument("--questions", type=positive, default=10, help="how many (default 10)")
    parser.add_argument("--options", type=positive, default=5, help="of each (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="of videos and options (default 0)")
    args = parser.parse_args()
    asked = cases(args.questions, args.options, args.seed)
    with tempfile.TemporaryDirectory(prefix="teachers-") as name:
        teacher = VideoLlava("tiny", str(video_llava(Path(name) / "tiny", image=SIDE)))
        teacher.load("cpu", 1)
    inputs = teacher.encode(asked[0], "what")
    video = int((inputs["input_ids"] == teacher.network.config.video_token_index).sum())
    ours, seconds = measured(one_reading, teacher, asked)
    theirs, whole_seconds = measured(one_forward_an_option, teacher, asked)
    apart = float(np.abs(np.subtract(ours, theirs)).max())
    ratio = whole_seconds / seconds
    print(f"{args.questions} questions, {args.options} options, {video} video tokens")
    print(f"one forward an option: {whole_seconds:.1f} CPU s; one reading: {seconds:.1f} CPU s")
    print(f"ratio: {ratio:.2f} (bound {MIN_RATIO}); log p differ by at most {apart:.1e}")
    sys.exit(0 if ratio >= MIN_RATIO and apart <= MAX_APART and video == 2056 else 1)


if __name__ == "__main__":
    run_script(main)
