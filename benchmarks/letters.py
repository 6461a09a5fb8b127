"""What it costs to score the letters of multiple-choice questions in one forward.

    python -m benchmarks.letters

A Llama of random weights reads questions with five options about ten vectors of a video. It scores
the five letters in one forward up to the letter, and, as the released code of TOPA does, by a
forward for each letter, whose answer's tokens are summed. Prints the ratio of the medians of their
CPU seconds, on one thread, and in how many questions both choose the same letter; behind the
letter the second way also counts ")" and the end. Exit code 1 where the ratio is below the bound.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from qa.options import LETTERS
from tools.cli import positive, script_parser

WIDTH, FRAMES, OPTIONS = 768, 10, 5


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU seconds of one call."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = script_parser(__doc__)
    parser.add_argument("--questions", type=positive, default=16, help="of a call (default: 16)")
    parser.add_argument("--repeat", type=positive, default=3, help="calls of each (default: 3)")
    parser.add_argument("--min_ratio", type=float, default=3.0, help="bound (default: 3)")
    args = parser.parse_args()

    import torch

    from inference.tiny import llama
    from inference.tiny.tokenizer import WORDS
    from prealignment.model.config import AlignmentConfig
    from prealignment.model.layouts import Sample, lay_out
    from prealignment.scores.options import letter_scores, log_p
    from prealignment.weights.alignments import Settings, open_aligned

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        sizes: dict[str, Any] = {
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 8,
        }
        folder = llama.build(Path(name), initializer_range=0.1, **sizes)
        aligned = open_aligned(Settings(str(folder), AlignmentConfig(WIDTH), "text"))
    asked = []
    for _ in range(args.questions):
        texts = [" ".join(rng.choice(WORDS, count)) for count in (8, *[5] * OPTIONS)]
        vectors = rng.normal(size=(FRAMES, WIDTH)).astype(np.float32)
        asked.append((Sample("choice", None, texts[0], tuple(texts[1:])), vectors))

    def in_one() -> list[int]:
        return [int(np.argmax(v)) for v in letter_scores(aligned, asked, args.questions)]

    def one_each() -> list[tuple[int, int]]:
        """The choice by all learned tokens, and by the letter alone."""
        chosen = []
        for sample, vectors in asked:
            rows = [
                lay_out(aligned.tokenizer, replace(sample, answer=letter), FRAMES)
                for letter in LETTERS[:OPTIONS]
            ]
            longest = len(rows[0].learned) + 1
            values = log_p(aligned, rows, [vectors] * OPTIONS, longest)
            learned = torch.tensor([row.ids[row.learned.start :] for row in rows])
            tokens = values[:, :-1].gather(2, learned[..., None])[..., 0]
            chosen.append((int(tokens.sum(1).argmax()), int(tokens[:, -3].argmax())))
        return chosen

    letters, forwards = in_one(), one_each()
    times = [[cpu_seconds(work) for work in (in_one, one_each)] for _ in range(args.repeat)]
    one, five = (median(column) for column in zip(*times, strict=True))
    same = [
        np.mean([a == pair[n] for a, pair in zip(letters, forwards, strict=True)]) for n in (0, 1)
    ]
    print(f"{args.questions} questions, CPU s: one forward {one:.2f}, a forward each {five:.2f}")
    print(f"the same option by the letter {same[1]:.2f}, by all that is learned {same[0]:.2f}")
    print(f"ratio {five / one:.2f} (at least {args.min_ratio})")
    return int(five / one < args.min_ratio or same[1] < 1)


if __name__ == "__main__":
    sys.exit(main())
