"""What 32 answers in flight bring over one at a time, at a judge that answers after 200 ms.

    python -m benchmarks.judge
    python -m benchmarks.judge --answers 6400 --in_flight 64

The judge's server runs in a process of its own and does nothing but wait; 32 in flight can bring 32
times as many verdicts a second at most. What is measured is all that evaluate_model.py judge does
once the judge is ready: requests, reading of the verdicts, and the file that keeps them. Exit code
1 where 32 in flight bring less than 20 times the verdicts. Wants an idle machine: look at the load.
"""

import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from benchmarks.server import serve
from qa.judge.asking import Content, open_judge
from qa.judge.command import judge_runs
from qa.judge.report import Run
from qa.records import Question
from tools.cli import positive, script_parser
from tools.text.judging import JudgePrompt

BOUND = 20.0
ONE_BY_ONE = 10  # answers; each takes what the server waits and little more
VERDICT = '{"pred": "yes", "score": 4}'


def verdicts_a_second(url: str, in_flight: int, answers: int) -> float:
    """How fast a judge gives verdicts on so many different answers."""
    questions = [
        Question(f"q{number}", "made_up", "val", f"What does person {number} do in the video?")
        for number in range(answers)
    ]
    contents = [Content(q.question, "ride a bicycle", "Riding a bike.") for q in questions]
    judge = open_judge(
        f"toy@{url}", JudgePrompt(), concurrency=in_flight, max_new_tokens=128, device="cpu"
    )
    with tempfile.TemporaryDirectory(prefix="judge-") as folder, redirect_stdout(StringIO()):
        start = time.perf_counter()
        rows, _ = judge_runs(judge, questions, [Run(Path(folder) / "mine.jsonl", contents)])
        seconds = time.perf_counter() - start
    assert len(rows) == answers
    return answers / seconds


def main() -> None:
    """Start the server, ask it both ways, compare."""
    parser = script_parser(__doc__)
    parser.add_argument("--in_flight", type=positive, default=32, help="default: 32")
    parser.add_argument("--delay", type=float, default=0.2, help="seconds (default: 0.2)")
    parser.add_argument("--answers", type=positive, default=1920, help="default: 1920")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs, args.delay, VERDICT), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    single = verdicts_a_second(url, 1, ONE_BY_ONE)
    many = verdicts_a_second(url, args.in_flight, args.answers)
    server.kill()
    print(f"{args.answers} answers, {args.delay * 1000:.0f} ms each, load {os.getloadavg()[0]:.1f}")
    print(f"one at a time: {single:.2f} verdicts/s; {args.in_flight} in flight: {many:.1f}")
    print(f"ratio: {many / single:.1f} (bound {BOUND:.0f})")
    sys.exit(0 if many / single >= BOUND else 1)


if __name__ == "__main__":
    main()
