"""Build and train toyvl, the tiny video LLM of the demo and of the reproduction.

    python -m reproduction.toyvl --seed 0 --out inference/toyvl

A real Qwen2-VL checkpoint of 0.85 million parameters, from nothing: it renders stories, learns to
caption clips, to join captions, to describe whole videos and to answer questions about them, and is
measured on stories that it has not seen. `inference/toyvl` is what this command left with
--workers 1; the number of processes and the torch release shape the last digits of the weights.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import orjson

from reproduction.toyvl import TRAINED
from tools.cli import new_folder, positive, run_script, script_parser, whole
from tools.store.dataset import REPOSITORY
from toyworld.make import make_world

# Folder: how many stories are rendered into it, and their seed, to which 100 * the run's own comes.
STORIES = {"seen": (320, 31), "unseen": (24, 32)}
EVENTS = 16  # a story


def main(argv: Sequence[str] | None = None) -> None:
    """Render, train, measure."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--seed",
        type=whole,
        default=0,
        help="of weights, stories and lessons (default: %(default)s)",
    )
    parser.add_argument("--out", type=new_folder, required=True, help="the checkpoint's folder")
    parser.add_argument(
        "--steps", type=positive, default=2000, help="optimizer steps (default: %(default)s)"
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
    args = parser.parse_args(argv)
    # Imported here: slow, and --help needs none of it.
    import torch.multiprocessing

    from reproduction.toyvl.train import measure, train

    start = time.monotonic()
    folder = args.stories or REPOSITORY / "exp" / f"toyvl_stories_{args.seed}"
    for name, (videos, seed) in STORIES.items():
        if not (folder / name / "truth.jsonl").is_file():
            make_world(videos, 100 * args.seed + seed, folder / name, args.workers, [EVENTS])
    with tempfile.TemporaryDirectory() as meeting:
        store = Path(meeting, "store")
        words = (args.workers, args.seed, args.steps, folder / "seen", args.out, store)
        torch.multiprocessing.spawn(train, words, nprocs=args.workers)  # type: ignore[no-untyped-call]
    minutes = (time.monotonic() - start) / 60
    shares = measure(args.out, folder / "unseen")
    report = {
        "command": f"python -m reproduction.toyvl --seed {args.seed} --steps {args.steps}"
        f" --workers {args.workers}",
        "torch": torch.__version__,
        "minutes": round(minutes, 1),
        **shares,
    }
    (args.out / TRAINED).write_bytes(orjson.dumps(report) + b"\n")
    print(f"{args.out}: {minutes:.1f} minutes")
    print(f"clip captions right: {shares['clips']:.1%} of unseen renders")
    print(f"lists of 8 captions joined in order: {shares['lists_of_8']:.1%}")
    print(f"questions answered right: {shares['questions']:.1%}")


if __name__ == "__main__":
    run_script(main)
