"""Running the scripts again on a finished dataset of 100,000 videos: seconds a step.

    python -m benchmarks.rerun                         # 9 GB of scratch in --scratch
    python -m benchmarks.rerun --records 10000

One video of 16 shots goes through stages 1 to 3 for real; its records, with captions and responses
as long as a real model's, are then written 100,000 times under other ids. The scripts run twice:
first every table of a step has to be read, since it has changed; then each is known to be finished.
The floor reads the same tables line by line with orjson and does nothing else. Exit code 1 where a
step that is known to be finished takes longer than 5 seconds.
"""

import hashlib
import itertools
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from benchmarks.footage import FOOTAGE, join
from tools.cli import positive, script_parser
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Record, Table, dumps

SHOTS = 16
BOUND = 5.0  # seconds a step
# Characters of a raw clip caption, of the caption in it and of a response: assumed, for a 7B model.
RAW_CAPTION, CAPTION, RESPONSE = 1200, 500, 1000
ID, NAME = "0" * 12, "v0000000.mp4"
SCRIPTS = {
    "preprocess.py": ("bench", 2, "--shot_detector", "adaptive", "--embedder", "color"),
    "generate_meta_data.py": (2, "--dataset", "bench", "--model", "dryrun"),
    "generate_dpo_data.py": ("bench", 2, "--model", "dryrun"),
}


def run(script: str, root: Path, *flags: object) -> list[tuple[str, float]]:
    """Run a script; (what begins each line that it prints, seconds since the line before)."""
    words = [sys.executable, REPOSITORY / script, *SCRIPTS[script], "--data_root", root, *flags]
    times = []
    before = time.perf_counter()
    with subprocess.Popen(
        [str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        for line in process.stdout or ():
            now = time.perf_counter()
            times.append((line.partition(":")[0], now - before))
            before = now
    if process.returncode:
        raise SystemExit(f"{script} failed")
    return times


def multiply(dataset: Dataset, tables: list[Table], videos: Path, count: int) -> None:
    """Write each table's one record `count` times under other ids, and as many empty videos."""
    for path in videos.iterdir():
        path.unlink()
    names = [f"v{number:07}.mp4" for number in range(count)]
    for name in names:
        (videos / name).touch()
    ids = {hashlib.sha1(name.encode()).hexdigest()[:12]: name for name in names}
    for table in tables:
        (record,) = table.read()
        known = str(record["video_id"]).removeprefix(f"{dataset.name}_")
        line = dumps(lengthened(record)).replace(known.encode(), ID.encode())
        line = line.replace(Path(record["video_path"]).name.encode(), NAME.encode()) + b"\n"
        with open(table.path, "wb") as file:
            for key in sorted(ids):
                own = line.replace(ID.encode(), key.encode())
                file.write(own.replace(NAME.encode(), ids[key].encode()))


def lengthened(record: Record) -> Record:
    """A record whose texts are as long as a real model's."""

    def stretch(text: str, length: int) -> str:
        return (f"{text} " * (length // len(text) + 1))[:length]

    record = dict(record)
    for field, length in (("raw_clip_captions", RAW_CAPTION), ("clip_captions", CAPTION)):
        if field in record:
            record[field] = [stretch(text, length) for text in record[field]]
    if "response" in record:
        record["response"] = stretch(record["response"], RESPONSE)
    return record


def floor(tables: list[Table]) -> tuple[float, int]:
    """(seconds, bytes) of reading tables line by line with orjson."""
    start, size = time.perf_counter(), 0
    for table in tables:
        with open(table.path, "rb", buffering=1 << 20) as file:
            for line in file:
                orjson.loads(line)
                size += len(line)
    return time.perf_counter() - start, size


def main() -> None:
    """Make the dataset, run the scripts again, print the seconds."""
    parser = script_parser(__doc__)
    parser.add_argument("--records", type=positive, default=100_000, help="default: 100000")
    parser.add_argument("--scratch", type=Path, help="folder to work in (default: the system's)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="what the video is made from")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        root = Path(name)
        dataset = Dataset("bench", root / "bench")
        videos = root / "videos"
        videos.mkdir()
        join(videos / "real.mp4", SHOTS * 2, 320, 180, SHOTS, folder=args.footage)
        run("preprocess.py", root, "--video_dir", videos)
        run("generate_meta_data.py", root)
        run("generate_dpo_data.py", root)
        chain = [
            *("init", "scene", "filter_scene", "similarity", "group", "filter_group"),
            *("extract_frame", "videos", "raw_clip_captions_dryrun", "clip_captions_dryrun"),
        ]
        tables = [dataset.table(name) for name in chain]
        responses = [
            dataset.responses("dryrun", config) for config in dataset.response_configs("dryrun", 0)
        ]
        multiply(dataset, [*tables, *responses], videos, args.records)

        # What each step reads when it is not known to be finished: its input and its output.
        reads = [[tables[0]], *([a, b] for a, b in itertools.pairwise(tables))]
        reads.append([tables[-1], *responses])
        print(f"{args.records} videos of {SHOTS} shots; seconds a step")
        print(
            f"{'step':14} {'finished':>10} {'read again':>10} {'floor':>6} {'ratio':>6} {'MB':>6}"
        )
        late = 0
        place = 0
        for script in SCRIPTS:
            changed, finished = run(script, root), run(script, root)
            for (step, slow), (same, fast) in zip(changed, finished, strict=True):
                assert step == same
                if step.startswith(("captions by", "responses by", "sampling")):
                    print(f"{script:24} starts in {fast:.2f}")
                    continue
                seconds, size = floor(reads[place])
                place += 1
                late += fast > BOUND
                print(
                    f"{step:14} {fast:10.2f} {slow:10.2f} {seconds:6.2f} {slow / seconds:6.2f}"
                    f" {size / 1e6:6.0f}",
                    flush=True,
                )
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
