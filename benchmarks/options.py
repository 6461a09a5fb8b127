"""Options of a question from one prefix over one forward pass an option: CPU seconds, and whether
they choose the same.

    python -m benchmarks.options            # 200 questions, 5 options, 1,024 video tokens

The model is a tiny Qwen2-VL with random weights, on one thread. Both sides take the same requests
through the same batches; an option's forward pass puts the video through the processor again. The
network's own seconds are shown too.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from inference.captioner import Request
from inference.engines.huggingface import HuggingFaceCaptioner
from inference.likelihood import log_likelihoods, option_likelihoods
from inference.models import open_captioner
from inference.tiny.checkpoints import qwen2vl
from inference.tiny.tokenizer import WORDS
from tools.cli import positive, script_parser
from tools.text.prompts import video_messages

MIN_RATIO = 3.0
FRAMES, TOKENS = 64, 1024  # two frames of 224 x 112 pixels are 32 visual tokens
WORDS_AN_OPTION = (2, 9)


def questions(count: int, options: int, seed: int) -> list[tuple[Request, list[str]]]:
    """Questions about videos of random colours, each with options of random words."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        frames = np.repeat(rng.integers(0, 256, (FRAMES, 4, 8, 3), np.uint8), 28, axis=1)
        frames = np.repeat(frames, 28, axis=2)
        messages = video_messages(list(frames), f"What happens in video {number}?", 2.0)
        lengths = rng.integers(*WORDS_AN_OPTION, options)
        made.append((Request(messages, 0), [" ".join(rng.choice(WORDS, n)) for n in lengths]))
    return made


def one_prefix(captioner: HuggingFaceCaptioner, asked: list[Any]) -> list[list[float]]:
    """log p of each question's options, nats, from one prefix."""
    values: dict[int, Any] = dict(option_likelihoods(captioner, asked))
    return [[value.total for value in values[place]] for place in range(len(asked))]


def one_forward_an_option(captioner: HuggingFaceCaptioner, asked: list[Any]) -> list[list[float]]:
    """The same, each option from a forward pass of its own."""
    rows = [(request, option) for request, options in asked for option in options]
    values: dict[int, Any] = dict(log_likelihoods(captioner, rows))
    totals = iter([values[place].total for place in range(len(rows))])
    return [[next(totals) for _ in options] for _, options in asked]


def measured(
    captioner: HuggingFaceCaptioner, ask: Callable[..., list[list[float]]], asked: list[Any]
) -> tuple[list[list[float]], float, float]:
    """log p, CPU seconds of everything, CPU seconds of the network."""
    network, began = 0.0, 0.0

    def before(*_: Any) -> None:
        nonlocal began
        began = time.thread_time()

    def after(*_: Any) -> None:
        nonlocal network
        network += time.thread_time() - began

    hooks = [
        captioner.network.register_forward_pre_hook(before),
        captioner.network.register_forward_hook(after),
    ]
    start = time.process_time()
    values = ask(captioner, asked)
    seconds = time.process_time() - start
    for hook in hooks:
        hook.remove()
    return values, seconds, network


def main() -> None:
    """Measure both, print the ratios, and exit with 1 where the bound is missed."""
    parser = script_parser(__doc__)
    parser.add_argument("--questions", type=positive, default=200, help="how many (default 200)")
    parser.add_argument("--options", type=positive, default=5, help="of each (default 5)")
    parser.add_argument("--batch", type=positive, default=1, help="requests together (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of videos and options (default 0)")
    args = parser.parse_args()
    asked = questions(args.questions, args.options, args.seed)
    with tempfile.TemporaryDirectory(prefix="options-") as name:
        captioner = open_captioner(str(qwen2vl(Path(name) / "tinyvl", compact=True)))
        assert isinstance(captioner, HuggingFaceCaptioner)
        captioner.load("cpu", 1)
        captioner.batch = args.batch
        tokens = captioner.inputs([asked[0][0]])["input_ids"]
        video = int((tokens == captioner.network.config.video_token_id).sum())
        ours, seconds, network = measured(captioner, one_prefix, asked)
        captioner.batch = args.batch
        theirs, whole_seconds, whole_network = measured(captioner, one_forward_an_option, asked)
    same = sum(np.argmax(a) == np.argmax(b) for a, b in zip(ours, theirs, strict=True))
    apart = np.abs(np.subtract(ours, theirs)).max()
    ratio = whole_seconds / seconds
    print(f"{args.questions} questions, {args.options} options, {video} video tokens")
    print(f"one forward an option: {whole_seconds:.1f} CPU s, the network {whole_network:.1f}")
    print(f"one prefix: {seconds:.1f} CPU s, the network {network:.1f}")
    print(f"ratio: {ratio:.2f} (bound {MIN_RATIO}); the network {whole_network / network:.2f}")
    print(f"same choice: {same} of {args.questions}; log p differ by at most {apart:.1e}")
    sys.exit(0 if ratio >= MIN_RATIO and same == args.questions and video >= 1000 else 1)


if __name__ == "__main__":
    main()
