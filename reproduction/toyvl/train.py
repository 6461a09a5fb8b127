"""Build and train toyvl, the tiny video LLM of the demo and of the reproduction.

    python -m reproduction.toyvl --seed 0 --out inference/toyvl

A real Qwen2-VL checkpoint of 0.85 million parameters, from nothing: it renders stories, learns to
caption clips, to join captions and to describe whole videos, and is measured on stories that it has
not seen. `inference/toyvl` is what this command left with --workers 2; the number of processes and
the torch release shape the last digits of the weights.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from tqdm import tqdm

from inference.captioner import Answer, Model, Request, Sampling
from inference.engines.huggingface import HuggingFaceCaptioner
from reproduction.toyvl import TRAINED
from reproduction.toyvl.checkpoint import build_model, build_processor, save
from reproduction.toyvl.lessons import Lesson, Teacher, collate, read_shots
from tools.cli import new_folder, positive, run_script, script_parser, whole
from tools.store.dataset import REPOSITORY
from tools.text import prompts
from tools.video.frames import read_frames
from toyworld.truth import narrate, read_truth

STEPS = 2000
# In every step: clips; captions of all lists and shots of all videos, were each of the longest: so
# that a step costs about the same all along.
CLIPS, CAPTIONS, SHOTS = 72, 180, 154
RATE, DECAY = 1.5e-3, 0.4  # learning rate, and the last share of the steps in which it falls to 0
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.98), 0.02, 1.0
WARMUP = 50  # steps
# From a share of the steps on: most captions in a list, most shots in a video (0: none yet).
COURSE = ((0.0, 4, 0), (0.15, 4, 4), (0.3, 8, 8), (0.5, 16, 16))
TRAINING, UNSEEN = 31, 32  # seeds of the stories, plus 100 * the run's own seed
STORIES, UNSEEN_STORIES = 320, 24
LIST = 8  # captions that are joined when a checkpoint is measured


def lengths_at(share: float) -> tuple[int, int]:
    """The longest list and the longest video at a share of the steps."""
    return next((join, whole) for start, join, whole in reversed(COURSE) if share >= start)


def rate_at(share: float, step: int) -> float:
    """The learning rate: a short warm-up, level, then linearly to 0."""
    return RATE * min(1.0, (step + 1) / WARMUP, (1 - share) / DECAY)


def lessons_of(teacher: Teacher, share: float, part: int) -> list[list[Lesson]]:
    """One step's lessons; `part` is how many processes share them."""
    join, whole = lengths_at(share)
    batches = [
        [teacher.clip() for _ in range(max(1, CLIPS // part))],
        [teacher.join(join) for _ in range(max(1, round(CAPTIONS / join / part)))],
    ]
    if whole:
        count = max(1, round(SHOTS / whole / part))
        batches.append([teacher.whole(whole) for _ in range(count)])
    return batches


def train(
    rank: int, workers: int, seed: int, steps: int, stories: Path, out: Path, port: int
) -> None:
    """One process of the training: its share of every step's lessons; rank 0 saves."""
    torch.set_num_threads(1)
    if workers > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
    processor = build_processor()
    model: Any = build_model(processor, seed).train()
    shots = read_shots(stories)
    teacher = Teacher(shots, processor, seed * 1000 + rank)
    pad = processor.tokenizer.pad_token_id
    weights = list(model.parameters())
    decayed = [w for w in weights if w.ndim > 1]
    groups = [
        {"params": decayed, "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS)
    bar = tqdm(range(steps), desc="toyvl", unit="step", disable=rank > 0, mininterval=5)
    for step in bar:
        share = step / steps
        for group in optimizer.param_groups:
            group["lr"] = rate_at(share, step)
        losses = []
        for batch in lessons_of(teacher, share, workers):
            inputs = collate(batch, shots, processor, pad)
            loss = loss_of(model, inputs)
            loss.backward()
            losses.append(loss.item())
        if workers > 1:
            average([w.grad for w in weights], workers)
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        bar.set_postfix_str(" ".join(f"{one:.3f}" for one in losses), refresh=False)
    if rank == 0:
        save(model.eval(), processor, out)


def loss_of(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Mean cross-entropy of the learnt tokens; logits of the others are not computed."""
    labels = inputs.pop("labels")[:, 1:]
    hidden = model.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
    learnt = labels >= 0
    logits = model.lm_head(hidden[learnt])
    return torch.nn.functional.cross_entropy(logits, labels[learnt])


def average(gradients: list[torch.Tensor], workers: int) -> None:
    """Replace gradients by their mean over the processes."""
    flat = torch.cat([one.flatten() for one in gradients])
    dist.all_reduce(flat)
    flat /= workers
    start = 0
    for one in gradients:
        one.copy_(flat[start : start + one.numel()].view_as(one))
        start += one.numel()


def render(seed: int, stories: int, events: str, folder: Path) -> Path:
    """Render stories into a folder, as any toy world is rendered; what is there stays."""
    if not (folder / "truth.jsonl").is_file():
        maker = [sys.executable, "-m", "toyworld"]
        told = ["--videos", str(stories), "--events", events, "--seed", str(seed)]
        subprocess.run([*maker, *told, "--out", str(folder)], check=True)
    return folder


def measure(checkpoint: Path, unseen: Path) -> dict[str, float]:
    """How good a checkpoint is on stories that it has not seen, through the toolkit's captioner.

    Returns:
        clips: share of clip captions that are right to the letter, of all clips of all videos.
        lists_of_8: share of lists of 8 captions, of clips that follow one another, joined in order
            without a mistake.
    """
    captioner = HuggingFaceCaptioner(
        Model("toyvl", engine="huggingface", checkpoint=str(checkpoint)), batch=64
    )
    captioner.load("cpu", 1)
    greedy = Sampling(temperature=0, top_p=1, repetition_penalty=1, max_new_tokens=256)
    requests, truths, lists = [], [], []
    for story in read_truth(unseen):
        own = [(shot["start"] + 5, shot["start"] + 10) for shot in story["shots"]]
        video = unseen / "video" / story["video_name"]
        frames = read_frames(video, [index for pair in own for index in pair])
        clips = [[frames[index] for index in pair] for pair in own]
        requests += [Request(prompts.clip_messages(clips, k), 0) for k in range(len(clips))]
        texts = [event["text"] for event in story["events"]]
        truths += texts
        lists += [texts[first : first + LIST] for first in range(len(texts) - LIST + 1)]
    joined = [Request(prompts.response_messages(one), 0) for one in lists]
    return {
        "clips": right(captioner, requests, truths, greedy),
        "lists_of_8": right(captioner, joined, [narrate(one) for one in lists], greedy),
    }


def right(
    captioner: HuggingFaceCaptioner, requests: list[Request], truths: list[str], how: Sampling
) -> float:
    """The share of answers that are the truth to the letter."""
    answers = captioner.generate(requests, how)
    good = [isinstance(a, Answer) and a.text == truths[place] for place, a in answers]
    return sum(good) / len(good)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--seed",
        type=whole,
        default=0,
        help="of weights, stories and lessons (default: %(default)s)",
    )
    parser.add_argument("--out", type=new_folder, required=True, help="the checkpoint's folder")
    parser.add_argument(
        "--steps", type=positive, default=STEPS, help="optimizer steps (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=min(2, os.cpu_count() or 1),
        help="processes that train together, one CPU each (default here: %(default)s)",
    )
    parser.add_argument(
        "--stories",
        type=new_folder,
        help="folder for the rendered stories (default: exp/toyvl_stories_<seed>)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Render, train, measure."""
    args = parse_arguments(argv)
    start = time.monotonic()
    folder = args.stories or REPOSITORY / "exp" / f"toyvl_stories_{args.seed}"
    seen = render(100 * args.seed + TRAINING, STORIES, "16", folder / "seen")
    unseen = render(100 * args.seed + UNSEEN, UNSEEN_STORIES, "16", folder / "unseen")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = (args.workers, args.seed, args.steps, seen, args.out, port)
    if args.workers == 1:
        train(0, *given)
    else:
        processes.spawn(train, given, nprocs=args.workers)  # type: ignore[no-untyped-call]
    trained = time.monotonic() - start
    found = measure(args.out, unseen)
    report = {
        "command": f"python -m reproduction.toyvl --seed {args.seed} --steps {args.steps}"
        f" --workers {args.workers}",
        "torch": torch.__version__,
        "minutes": round(trained / 60, 1),
        **found,
    }
    (args.out / TRAINED).write_bytes(orjson.dumps(report) + b"\n")
    print(f"{args.out}: {trained / 60:.1f} minutes")
    print(f"clip captions right: {found['clips']:.1%} of unseen renders")
    print(f"lists of 8 captions joined in order: {found['lists_of_8']:.1%}")


if __name__ == "__main__":
    run_script(main)
