"""What a GPU needs for a model of 7B: captions, preference training, and flow to choose frames.

    python -m benchmarks.gpu            # an NVIDIA GPU and 20 GB of disk in TMPDIR
    python -m benchmarks.gpu --tiny     # tiny models on the CPU, whose times say nothing

Weights are random, in the shape of Qwen2.5-VL-7B-Instruct: only their time and memory count.

captions   Clip captions through the toolkit's own engine, of two key frames of 720p, every other
           one after the clip before it: tokens a second in batches over one request at a time.
           Every answer is --max_new_tokens long. With vLLM where that is installed.
training   Steps of DPO with LoRA by train_scripts/dpo.sh, with its settings but DeepSpeed; pairs
           about 32 s of 720p, at a quarter of the paper's visual tokens and at all of them.
flow       Optical flow of 128 frames by RAFT and the grounding bridge, over the answerer's vision
           tower (ViT-g/14) on all of the frames; and flow by DIS on one CPU thread.

A part that cannot be run says why in its line; after --minutes nothing more is begun.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import av
import cv2
import numpy as np
import orjson
import torch
import transformers
from transformers import AutoModelForImageTextToText, GenerationConfig, Qwen2_5_VLConfig
from transformers.utils import is_flash_attn_2_available

from benchmarks.captioners import answered, clip_requests
from benchmarks.grounding import FRAMES, WHOLE, bridge_seconds, flow_seconds, tower
from inference.captioner import Sampling
from inference.models import open_captioner
from inference.tiny.checkpoints import build
from tools.cli import amount, positive, run_script, script_parser
from tools.errors import UserError
from tools.features.flow import MIN_SIDES, PAIRS_AT_ONCE, RAFT_WEIGHTS, SIDES
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, write_json

# Of Qwen2.5-VL-7B-Instruct's config.json, what differs from the defaults of transformers' class.
TEXT = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "max_window_layers": 28,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}
VISION = {"hidden_size": 1280, "tokens_per_second": 2}
FRAME_SIZE = {"shortest_edge": 3136, "longest_edge": 12845056}  # of its processor, pixels
PICTURE = (720, 1280, 3)
TINY_PICTURE = (112, 196, 3)
VIDEO_SECONDS = 32
VIDEO_RATE = 2  # frames a second
PIXELS = (2_250_000, 9_000_000)  # VIDEO_TOTAL_PIXELS: a quarter of the paper's, and the paper's
TINY_PIXELS = 50_000
PAIRS_A_STEP = 2
STEPS = 5  # the first one warms up
ANSWER = "A man opens the door. Then he walks through the yellow kitchen and takes a cup."

Row = tuple[str, str]
"""What was measured, and the numbers."""


def large_checkpoint(folder: Path, device: str) -> Path:
    """Write a checkpoint of the 7B shape, 16.6 GB of bfloat16, with the tiny one's tokenizer."""
    build("qwen25vl", folder)
    (folder / "model.safetensors").unlink()
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        write_json(folder / name, {**read_json(folder / name), "size": FRAME_SIZE})
    config = Qwen2_5_VLConfig(text_config=TEXT, vision_config=VISION)
    with torch.device(device):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.generation_config = GenerationConfig.from_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def captions(args: Namespace, checkpoint: Path, folder: Path) -> Iterator[Row]:
    """Tokens a second of clip captions, by each engine that is here."""
    shape = TINY_PICTURE if args.tiny else PICTURE
    one_by_one, together = clip_requests(args.alone, shape), clip_requests(args.requests, shape)
    sampling = Sampling.greedy(args.max_new_tokens)

    def rate(captioner: Any, requests: list[Any]) -> float:
        answered(captioner, requests[:2], Sampling.greedy(2))
        return len(requests) * sampling.max_new_tokens / answered(captioner, requests, sampling)[2]

    captioner: Any = open_captioner(str(checkpoint), batch=1)
    captioner.load(args.device, threads=args.threads)
    captioner.ends = [-1]
    alone = rate(captioner, one_by_one)
    captioner.batch = args.batch
    batched = rate(captioner, together)
    yield (
        f"clip captions, tokens/s in batches of {captioner.batch} over one at a time",
        f"{batched:.0f} / {alone:.0f} = {batched / alone:.1f}",
    )
    del captioner
    if find_spec("vllm") is None:
        yield "the same, vLLM", "not measured: vLLM is not installed here (requirements-vllm.txt)"
        return
    torch.cuda.empty_cache()
    captioner = open_captioner(str(checkpoint), engine="vllm")
    captioner.load(args.device, threads=args.threads)
    served = rate(captioner, together)
    yield "the same, batches over vLLM", f"{batched:.0f} / {served:.0f} = {batched / served:.2f}"


def training(args: Namespace, checkpoint: Path, folder: Path) -> Iterator[Row]:
    """Seconds a step of DPO and the memory that it takes, at each number of visual tokens."""
    path = f"{os.environ['PATH']}:{Path(sys.executable).parent}"
    if shutil.which("swift", path=path) is None:
        raise UserError("swift is not installed here (requirements.txt)")
    video = folder / "video.mp4"
    write_video(video, TINY_PICTURE if args.tiny else PICTURE)
    user = {"role": "user", "content": "<video>Describe the video in detail."}
    row = {
        "messages": [user, {"role": "assistant", "content": ANSWER}],
        "rejected_response": " ".join(reversed(ANSWER.split())),
        "videos": [str(video)],
    }
    rows = folder / "rows.json"
    write_json(rows, [row] * PAIRS_A_STEP * args.steps)
    attention = "flash_attn" if is_flash_attn_2_available() else "sdpa"
    for pixels in (TINY_PIXELS,) if args.tiny else PIXELS:
        output = folder / str(pixels)
        settings = {
            "PATH": path,
            "MODEL": str(checkpoint),
            "MODEL_TYPE": "qwen2_5_vl",
            "ROWS": str(rows),
            "OUTPUT_DIR": str(output),
            "VIDEO_TOTAL_PIXELS": str(pixels),
            "GLOBAL_BATCH": str(PAIRS_A_STEP),
            "DEEPSPEED": "",
            "ATTN_IMPL": attention,
            "LOGGING_STEPS": "1",
            "REPORT_TO": "none",
            **({"DEVICE": "cpu"} if args.tiny else {"WORKERS": "2"}),
        }
        ended = subprocess.run(
            ["bash", str(REPOSITORY / "train_scripts" / "dpo.sh")],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        what = f"DPO, s a step of {PAIRS_A_STEP} pairs, {pixels} pixels a video, {attention}"
        if ended.returncode:
            yield what, f"not measured: {ended.stdout.strip().splitlines()[-1]}"
            continue
        seconds, memory = read_steps(next(output.glob("v0-*")) / "logging.jsonl")
        yield what, f"{seconds:.2f}, peak {memory:.1f} GiB"


def read_steps(log: Path) -> tuple[float, float]:
    """(seconds a step after the first, GiB that were reserved at most) out of swift's log."""
    entries = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    steps = [entry for entry in entries if "loss" in entry]
    # swift logs the mean over all steps so far.
    spent = [number * entry["train_speed(s/it)"] for number, entry in enumerate(steps, start=1)]
    memory = max(entry.get("memory(GiB)", 0) for entry in steps)
    return (spent[-1] - spent[0]) / (len(steps) - 1), memory


def write_video(path: Path, shape: Sequence[int]) -> None:
    """VIDEO_SECONDS of a texture that moves."""
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=VIDEO_RATE)
        stream.height, stream.width, stream.pix_fmt = *shape[:2], "yuv420p"
        for number in range(VIDEO_SECONDS * VIDEO_RATE):
            image: Any = np.roll(texture, (3 * number, 2 * number), (1, 0))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@torch.inference_mode()
def flow(args: Namespace, checkpoint: Path, folder: Path) -> Iterator[Row]:
    """Seconds of the frames' flow, and of bridge and tower."""

    def middle(work: Callable[[], object]) -> float:
        work()  # what is set up once
        return median(wall_seconds(work, args.device) for _ in range(args.repeat))

    number_format = torch.float32 if args.tiny else torch.bfloat16
    with torch.device(args.device):
        model: Any = tower(1 if args.tiny else WHOLE)
    model = model.to(number_format)
    side, count = model.config.image_size, 1 if args.tiny else FRAMES
    pictures = torch.randn(count, 3, side, side, device=args.device, dtype=number_format)
    whole = middle(partial(model, pictures))
    bridge = bridge_seconds(middle, args.device)
    yield f"ViT-g/14 on {count} frames, s / the bridge, s", f"{whole:.3f} / {bridge:.4f}"
    for name in ("dis", *RAFT_WEIGHTS):
        device = "cpu" if name == "dis" else args.device
        pairs, size = (1, MIN_SIDES[name]) if args.tiny else (PAIRS_AT_ONCE, SIDES[name])
        seconds = flow_seconds(name, middle, folder, pairs, size, device)
        where = "one CPU thread" if device == "cpu" else "the GPU"
        yield (
            f"flow by {name} on {where}, s / flow and bridge over the tower",
            f"{seconds:.3f} / {(seconds + bridge) / whole:.3f}",
        )


def wall_seconds(work: Callable[[], object], device: str) -> float:
    """The seconds of one call, until the device has done it."""
    begin = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def begun_before(deadline: float, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows whose measurement begins before a time of `time.monotonic`."""
    while time.monotonic() < deadline:
        if (row := next(rows, None)) is None:
            return
        yield row
    yield "what may be left of this part", "not measured: --minutes are over"


PARTS = {"captions": captions, "training": training, "flow": flow}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print, part by part."""
    parser = script_parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="(all)")
    parser.add_argument("--tiny", action="store_true", help="tiny models, on the CPU")
    parser.add_argument("--alone", type=positive, default=8, help="requests one at a time (8)")
    parser.add_argument("--requests", type=positive, default=120, help="in batches (120)")
    parser.add_argument("--batch", type=positive, default=32, help="requests together (32)")
    parser.add_argument("--max_new_tokens", type=positive, default=128, help="of a caption (128)")
    parser.add_argument("--steps", type=positive, default=STEPS, help=f"of training ({STEPS})")
    parser.add_argument("--repeat", type=positive, default=5, help="calls of flow (5)")
    parser.add_argument("--threads", type=positive, default=2, help="of the CPU (2)")
    parser.add_argument(
        "--minutes", type=amount, default=8.0, help="after which nothing is begun (8)"
    )
    args = parser.parse_args(argv)
    if args.steps < 2:
        parser.error("--steps must be 2 or more: the first one only warms up")
    args.device = "cpu" if args.tiny else "cuda:0"
    if not args.tiny and not torch.cuda.is_available():
        raise UserError("there is no GPU that torch can use; --tiny runs tiny models on the CPU")
    name = "tiny models on the CPU" if args.tiny else torch.cuda.get_device_name()
    print(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}", flush=True)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = folder / "checkpoint"
        if {"captions", "training"} & set(args.parts):
            begin = time.perf_counter()
            if args.tiny:
                build("qwen25vl", checkpoint)
            else:
                large_checkpoint(checkpoint, args.device)
                torch.cuda.empty_cache()  # swift needs the memory
            print(f"{'the checkpoint, s':76} {time.perf_counter() - begin:.0f}", flush=True)
        for part in args.parts:
            begin = time.perf_counter()
            try:
                rows = PARTS[part](args, checkpoint, folder)
                for what, numbers in begun_before(deadline, rows):
                    print(f"{what:76} {numbers}", flush=True)
            except (UserError, torch.OutOfMemoryError) as error:
                print(f"{part:76} not measured: {str(error).splitlines()[0]}", flush=True)
            print(f"{part + ', all of it, s':76} {time.perf_counter() - begin:.0f}", flush=True)
            if not args.tiny:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    run_script(main)
