"""Reading questions: seconds for files of two benchmarks' sizes, all videos there.

    python -m benchmarks.questions                      # about 20 seconds, 200 MB of scratch

Made up here (seeded): NExT-QA's val (5,000 rows of 570 videos, a csv file) and MSRVTT-QA as one
file (243,000 rows of 10,000 videos, JSON), their questions as long as the published ones. The
videos are empty files: rows without times need no header. Each is read by `python -m qa.read` in a
process of its own, whose start counts; CPU seconds beside the seconds show how busy the machine is.
"""

import csv
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from tools.cli import script_parser
from tools.store.dataset import REPOSITORY

WORDS = ("a", "the", "man", "woman", "dog", "red", "car", "ball", "holds", "looks", "at", "after")
COLUMNS = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")
# Benchmark -> (rows, videos, the most seconds).
SIZES = {"nextqa": (5_000, 570, 2.0), "msrvttqa": (243_000, 10_000, 30.0)}


def sentence(rng: random.Random, words: int) -> str:
    """So many words."""
    return " ".join(rng.choices(WORDS, k=words))


def make_nextqa(folder: Path, rng: random.Random, rows: int, videos: int) -> Path:
    """NExT-QA's csv file."""
    names = [f"{rng.randrange(10**10):010}" for _ in range(videos)]
    for name in names:
        path = folder / "videos" / name[:4] / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    file = folder / "val.csv"
    with open(file, "w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([*COLUMNS, *(f"a{i}" for i in range(5))])
        for number in range(rows):
            options = [f"{sentence(rng, 3)} {i}" for i in range(5)]
            row = [names[number % videos], 900, 640, 480, sentence(rng, 11), rng.randrange(5)]
            writer.writerow([*row, number // videos, rng.choice(["CW", "TN", "DL"]), *options])
    return file


def make_msrvttqa(folder: Path, rng: random.Random, rows: int, videos: int) -> Path:
    """MSRVTT-QA's JSON file."""
    (folder / "videos").mkdir()
    for number in range(videos):
        (folder / "videos" / f"video{number}.mp4").touch()
    file = folder / "all_qa.json"
    file.write_bytes(
        orjson.dumps(
            [
                {
                    "category_id": number % 20,
                    "video_id": number % videos,
                    "id": number,
                    "answer": rng.choice(WORDS),
                    "question": sentence(rng, 8),
                }
                for number in range(rows)
            ]
        )
    )
    return file


def seconds_to_read(benchmark: str, folder: Path, file: Path, rows: int) -> tuple[float, float]:
    """Seconds and CPU seconds of `python -m qa.read`; it must keep every row."""
    command = [sys.executable, "-m", "qa.read", benchmark, "--file", str(file)]
    command += ["--video_dir", str(folder / "videos"), "--dataset", benchmark, "--split", "val"]
    command += ["--data_root", str(folder / "data")]
    before, start = cpu_seconds(), time.perf_counter()
    process = subprocess.run(command, check=True, cwd=REPOSITORY, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    assert f"{rows:,} questions kept" in process.stdout, process.stdout
    return seconds, cpu_seconds() - before


def cpu_seconds() -> float:
    """CPU seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Make the files, read them, print the seconds."""
    parser = script_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the texts (default: %(default)s)")
    args = parser.parse_args()
    missed = False
    for benchmark, (rows, videos, bound) in SIZES.items():
        make = make_nextqa if benchmark == "nextqa" else make_msrvttqa
        with tempfile.TemporaryDirectory(prefix="questions-") as name:
            folder = Path(name)
            file = make(folder, random.Random(args.seed), rows, videos)
            seconds, cpu = seconds_to_read(benchmark, folder, file, rows)
        print(
            f"{benchmark}: {rows:,} rows of {videos:,} videos in {seconds:.2f} s (bound {bound:g}),"
            f" {cpu:.2f} CPU seconds"
        )
        missed = missed or seconds > bound
    sys.exit(missed)


if __name__ == "__main__":
    main()
