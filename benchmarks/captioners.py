"""What batching and decoding ahead bring, with a tiny Qwen2-VL on the CPU.

    python -m benchmarks.captioners
    python -m benchmarks.captioners --checkpoint Qwen/Qwen2-VL-7B-Instruct --device cuda:0

First: output tokens a second in batches over one request at a time, for clip captions and for
responses, with the same greedy text. Every answer is --max_new_tokens long, since the tiny model's
would be of wildly different lengths; a batch waits for its longest answer. Second: wall time of
stage 2 on videos joined from real footage over the larger of decoding alone and the model alone;
what is decoded is what the step itself decodes. Answers of the tiny model are random words. Exit
code 1 where a bound is missed. Answers of stage 2 are as long as the method allows, since the model
is what takes longest in a real run. Wants an idle machine: decoding, the processor and the model
are three threads that compute, and where the model needs no more than the other two
(--stage2_tokens 64), two cores are what limits stage 2.
"""

import os
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.footage import FOOTAGE, join
from inference.ahead import map_ahead
from inference.captioner import Answer, Request, Sampling
from inference.captioning import RawCaptionsStep
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.models import open_captioner
from inference.tiny.checkpoints import qwen2vl
from tools.cli import positive, run_script, script_parser
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Record
from tools.text import prompts

DISTINCT = 4  # videos; the others are their copies
MIN_SPEEDUP = 4.0
MAX_OVERLAP_RATIO = 1.15
FRAME = (112, 196, 3)  # height, width: 28 visual tokens a clip, as small as the model


def clip_requests(count: int, frame: tuple[int, int, int] = FRAME) -> list[Request]:
    """Every other one shows a clip before the clip; `frame` is a frame's shape."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, frame, dtype=np.uint8) for _ in range(4 * count)]
    return [
        Request(
            prompts.clip_messages(
                [frames[4 * n : 4 * n + 2], frames[4 * n + 2 : 4 * n + 4]], n % 2
            ),
            n,
        )
        for n in range(count)
    ]


def response_requests(count: int) -> list[Request]:
    """Lists of 4 to 11 clip captions."""
    caption = "A man with a white cup walks slowly through the yellow kitchen and opens the door."
    return [
        Request(prompts.response_messages([f"{caption} {n} {k}" for k in range(4 + n % 8)]), n)
        for n in range(count)
    ]


def answered(
    captioner: HuggingFaceCaptioner, requests: list[Request], sampling: Sampling
) -> tuple[list[str], int, float]:
    """(texts, output tokens, seconds)."""
    start = time.perf_counter()
    found = dict(captioner.generate(iter(requests), sampling))
    seconds = time.perf_counter() - start
    texts = []
    for position in range(len(requests)):
        answer = found[position]
        if not isinstance(answer, Answer):
            raise answer
        texts.append(answer.text)
    tokens = sum(len(captioner.tokenizer.encode(text)) for text in texts)
    return texts, tokens, seconds


def batching(args: Namespace, captioner: HuggingFaceCaptioner) -> bool:
    """Print the speed-ups; whether both reach the bound with the same text."""
    good = True
    sampling = Sampling.greedy(args.max_new_tokens)
    for what, requests in (
        ("clip captions", clip_requests(args.requests)),
        ("responses", response_requests(args.requests)),
    ):
        rates, texts = {}, {}
        for batch in (1, args.batch):
            captioner.batch = batch
            answered(captioner, requests[:2], replace(sampling, max_new_tokens=2))
            texts[batch], tokens, seconds = answered(captioner, requests, sampling)
            rates[batch] = tokens / seconds
        same = sum(a == b for a, b in zip(texts[1], texts[args.batch], strict=True))
        ratio = rates[args.batch] / rates[1]
        print(
            f"{what}: {rates[1]:.0f} tokens/s one at a time, {rates[args.batch]:.0f} in batches of"
            f" {args.batch}: {ratio:.1f}x (bound {MIN_SPEEDUP:g}); same text {same} of"
            f" {len(requests)}"
        )
        good &= ratio >= MIN_SPEEDUP and same == len(requests)
    return good


def preprocessed(args: Namespace, folder: Path) -> Dataset:
    """Stage 1 of videos joined from real footage."""
    (folder / "videos").mkdir()
    for number in range(args.videos):
        path = folder / "videos" / f"{number}.mp4"
        if number < DISTINCT:
            join(path, args.seconds, 1280, 720, 8, folder=args.footage, seed=number)
        else:
            os.link(folder / "videos" / f"{number % DISTINCT}.mp4", path)
    flags = ["--shot_detector", "adaptive", "--embedder", "color", "--data_root", str(folder)]
    command = [sys.executable, "preprocess.py", "bench", "2", "--video_dir", str(folder / "videos")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*command, *flags], cwd=REPOSITORY, check=True, **quiet)  # type: ignore[call-overload]
    return Dataset("bench", folder / "bench")


def seconds_of(work: Callable[[], Iterable[object]]) -> float:
    """How long it takes to go through what `work` gives."""
    start = time.perf_counter()
    for _ in work():
        pass
    return time.perf_counter() - start


def overlap(args: Namespace, captioner: HuggingFaceCaptioner) -> bool:
    """Print the ratio for stage 2's wall time; whether it is within the bound."""
    captioner.batch = args.stage2_batch
    captioner.model = replace(captioner.model, max_new_tokens=args.stage2_tokens)
    with tempfile.TemporaryDirectory() as name:
        dataset = preprocessed(args, Path(name))
        step = RawCaptionsStep(dataset, captioner)
        step.threads = 1
        records: list[Record] = [
            record for record in dataset.videos().read() if not record.get("filtered")
        ]
        wanted: list[tuple[str, ...]] = [()] * len(records)
        sampling = captioner.decoding

        def decoding() -> Iterable[object]:
            return map_ahead(step._requests, records, 1, ahead=2)

        requests = [request for record in records for request in step._requests(record)]
        answered(captioner, requests[:2], sampling)
        print(f"stage 2 on {len(records)} videos, {len(requests)} clips:")
        ratios = []
        for _ in range(args.rounds):
            decode = seconds_of(decoding)
            model = seconds_of(lambda: captioner.generate(iter(requests), sampling))
            both = seconds_of(lambda: step.process_batch(records, wanted))
            ratios.append(both / max(decode, model))
            print(
                f"  decoding alone {decode:.1f} s, the model alone {model:.1f} s, stage 2"
                f" {both:.1f} s: {ratios[-1]:.2f} of the larger"
            )
    ratio = sorted(ratios)[len(ratios) // 2]
    print(f"stage 2 over the larger of both: {ratio:.2f} (bound {MAX_OVERLAP_RATIO})")
    return ratio <= MAX_OVERLAP_RATIO


def main() -> None:
    """Measure both, and compare with the bounds."""
    parser = script_parser(__doc__)
    parser.add_argument("--checkpoint", help="folder or id (default: a tiny Qwen2-VL, built here)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda:N (default: %(default)s)")
    parser.add_argument("--requests", type=positive, default=128, help="of each kind (default 128)")
    parser.add_argument("--batch", type=positive, default=32, help="together (default 32)")
    parser.add_argument("--max_new_tokens", type=positive, default=64, help="(default 64)")
    parser.add_argument("--videos", type=positive, default=8, help="(default 8)")
    parser.add_argument("--seconds", type=float, default=16, help="of each video (default 16)")
    parser.add_argument("--stage2_batch", type=positive, default=16, help="(default 16)")
    parser.add_argument(
        "--stage2_tokens", type=positive, default=2048, help="an answer (default 2048)"
    )
    parser.add_argument("--rounds", type=positive, default=3, help="of stage 2 (default 3)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="folder of real footage")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.checkpoint or str(qwen2vl(Path(name, "tiny"), compact=True))
        captioner = open_captioner(folder)
        assert isinstance(captioner, HuggingFaceCaptioner)
        captioner.load(args.device, threads=1)
        captioner.ends = [-1]
        good = [batching(args, captioner), overlap(args, captioner)]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    run_script(main)
