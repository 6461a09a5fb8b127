"""Ten million videos in 256 shards: CPU seconds of tools.status, memory of stage 4.

    python -m benchmarks.shards                         # 5 GB of scratch
    python -m benchmarks.shards --full 2 --videos 1000000

8 of the shards are full: a record of each video in every table of stages 1 to 3, made up (seeded).
The tables of the others hold one record, and beside it the counts that a run leaves when a step has
finished, which is all that status reads of any of them. Stage 4 converts the full shards. Exit code
1 where a bound is missed.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.convert import MODEL, rows
from tools.cli import positive, script_parser
from tools.pairs.perturbation import configs
from tools.runner.counts import Counts, remember
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Record, Table, dumps

DIGITS = 2
SHARDS = 16**DIGITS
CHAIN = (
    *("init", "scene", "filter_scene", "similarity", "group", "filter_group", "extract_frame"),
    *("videos", f"raw_clip_captions_{MODEL}", f"clip_captions_{MODEL}"),
)
MOST_SECONDS, MOST_MB = 5.0, 500.0
RESPONSES_MADE = 200  # videos whose texts are made up; the others repeat them


def fill(shard: Dataset, videos: int, written: int, video: Path, made: list[list[bytes]]) -> None:
    """Write the tables of a shard, and the counts of finished steps.

    Args:
        videos: how many videos the counts tell of.
        written: how many of them have records.
        made: the 13 responses to some videos, each but for its video_id.
    """
    ids = [f"{shard.name}_{shard.shard}{number:010x}" for number in range(written)]
    table_of = {name: shard.table(name) for name in CHAIN}
    for table in table_of.values():
        record: Record = {"video_path": str(video), "video_name": video.name, "filtered": False}
        write(table, ids, [dumps(record)])
    steps = [(table_of[a], table_of[b]) for a, b in zip(CHAIN, (*CHAIN[1:],), strict=False)]
    steps.insert(0, (table_of["init"], table_of["init"]))
    for position, config in enumerate(configs()):
        table = shard.responses(MODEL, config.name)
        write(table, ids, [of_video[position] for of_video in made])
        steps.append((table_of[CHAIN[-1]], table))
    for reads, table in steps:
        remember(reads, table, Counts(videos))


def write(table: Table, ids: list[str], lines: list[bytes]) -> None:
    """Write a merged table, whose records repeat the lines under other ids."""
    table.path.parent.mkdir(parents=True, exist_ok=True)
    with open(table.path, "wb") as file:
        for number, video_id in enumerate(ids):
            line = lines[number % len(lines)]
            file.write(b'{"video_id":"%s",%s\n' % (video_id.encode(), line[1:]))


def main() -> None:
    """Make the data set, ask for its status, convert its full shards."""
    parser = script_parser(__doc__)
    parser.add_argument("--videos", type=positive, default=10_000_000, help="default: 10000000")
    parser.add_argument("--full", type=positive, default=8, help="full shards (default: 8)")
    parser.add_argument("--scratch", type=Path, help="folder to work in (default: the system's)")
    args = parser.parse_args()
    each = args.videos // SHARDS
    with tempfile.TemporaryDirectory(prefix="shards-", dir=args.scratch) as name:
        root = Path(name)
        dataset = Dataset("huge", root / "data" / "huge")
        video = root / "video.mp4"
        video.touch()
        dataset.note(shard_digits=DIGITS, ids="huge", video_dir=str(root))
        made = []
        for number in range(RESPONSES_MADE):
            responses = rows(0, number, video)
            for _, row in responses:
                del row["video_id"]
            made.append([dumps(row) for _, row in responses])
        random.Random(0).shuffle(made)
        for number in range(SHARDS):
            shard = Dataset("huge", dataset.root / "shards" / f"{number:02x}", f"{number:02x}")
            fill(shard, each, each if number < args.full else 1, video, made)
        here = ["--data_root", str(root / "data")]

        start, cpu = time.perf_counter(), children()
        command = [sys.executable, "-m", "tools.status", "huge", "--json", *here]
        status = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=REPOSITORY)
        seconds, used = time.perf_counter() - start, children() - cpu
        done = {step["step"]: step["done"] for step in json.loads(status.stdout)["steps"]}
        assert done["finalize"] == SHARDS * each, done
        print(f"status of {SHARDS * each:,} videos in {SHARDS} shards:")
        print(f"  {used:.1f} CPU seconds (bound {MOST_SECONDS:g}), {seconds:.1f} s by the clock")

        output = root / "pairs.json"
        command = [sys.executable, str(REPOSITORY / "convert_to_swift.py"), MODEL]
        command += ["16", "8", "4", "2", "--dataset", "huge", "--output", str(output)]
        command += ["--shards", f"00-{args.full - 1:02x}", *here]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, code, usage = os.wait4(process.pid, 0)
        assert code == 0
        funnel = json.loads(output.with_name("pairs.funnel.json").read_text())["funnel"]
        kept, peak = sum(row["kept"] for row in funnel), usage.ru_maxrss / 1024
        print(f"stage 4 of {args.full} full shards: {each * args.full:,} videos, {kept:,} pairs")
        seconds = usage.ru_utime + usage.ru_stime
        print(f"  {seconds:.0f} CPU seconds, {peak:.0f} MB (bound {MOST_MB:g})")
    sys.exit(1 if used > MOST_SECONDS or peak > MOST_MB else 0)


def children() -> float:
    """CPU seconds of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
