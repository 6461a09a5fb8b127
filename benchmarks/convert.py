"""Stage 4 on a million responses: seconds and peak memory against a floor.

    python -m benchmarks.convert                        # 1,000,000 responses, 2.6 GB of scratch
    python -m benchmarks.convert --responses 130000 --parts
    python -m benchmarks.convert --format parquet

Made up here (seeded): 13 responses a video, 500 to 1300 characters each, as stage 3 writes them.
The floor parses every line and writes every response once, in one process on the same files;
its ratio compares CPU seconds, which a busy machine disturbs least.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import orjson

from tools.cli import positive, script_parser
from tools.pairs.formats import SUFFIXES
from tools.pairs.perturbation import Config, configs, equivalence, select
from tools.pairs.settings import Output
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Record, dumps
from tools.video.stills import stills_of

MODEL = "made_up"
SUBJECTS = ["A woman in a red coat", "Two children", "The cook", "A cyclist", "An old dog"]
ACTIONS = ["walks along", "stops beside", "turns towards", "leans over", "slowly circles"]
PLACES = ["a wooden table", "the river bank", "a market stall", "the open door", "a parked van"]
ENDINGS = ["while the light grows warmer", "and then looks back", "as people pass behind"]


def sentences(rng: random.Random, clips: int) -> list[str]:
    """A sentence a clip, about 90 characters each."""
    choose = rng.choice
    return [
        f"{choose(SUBJECTS)} {choose(ACTIONS)} {choose(PLACES)} {choose(ENDINGS)}, number {clip}."
        for clip in range(clips)
    ]


def rows(seed: int, number: int, video: Path) -> list[tuple[Config, Record]]:
    """The 13 responses to one video of 8 to 14 clips."""
    video_id = f"made_up_{number:012x}"
    rng = random.Random(f"{seed}/{video_id}")
    clips = sentences(rng, rng.randint(8, 14))
    padding = " ".join(sentences(rng, 6))
    sampling = {"temperature": 0.7, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.05}
    selections = {config: select(config, len(clips), seed, video_id) for config in configs()}
    same = equivalence({config.name: s.indices for config, s in selections.items()})
    found = []
    for config, selection in selections.items():
        told = " ".join(clips[index] for index in selection.indices)
        info = {
            "selected_indices": selection.indices,
            "block_size": selection.block_size,
            "finish_reason": "stop",
            "sampling": {**sampling, "max_new_tokens": 8192},
        }
        if same[config.name] != config.name:
            info["same_as"] = same[config.name]
        row = {
            "video_id": video_id,
            "video_path": str(video),
            "frame_indices": [[48 * clip + 12, 48 * clip + 30] for clip in range(len(clips))],
            "response": told if len(told) > 500 else f"{told} {padding}"[:600],
            "info": info,
        }
        found.append((config, row))
    return found


def make(folder: Path, responses: int, seed: int, parts: bool, stills: Path | None) -> list[Path]:
    """Write a dataset of about that many responses; returns its files.

    Args:
        parts: two unsorted parts a file, as two workers leave them, instead of one sorted file.
        stills: where a picture of each video is to be, as an earlier run has left it; None: none.
    """
    dataset = Dataset("made_up", folder / "data" / "made_up")
    dataset.anno.mkdir(parents=True)
    videos = folder / "videos"
    videos.mkdir()
    numbers = list(range(max(1, responses // len(configs()))))
    if parts:
        random.Random(seed).shuffle(numbers)
    tables = {config: dataset.responses(MODEL, config.name) for config in configs()}
    tables[configs()[0]].path.parent.mkdir(parents=True)
    paths = {
        config: [table.part(0, 2), table.part(1, 2)] if parts else [table.path]
        for config, table in tables.items()
    }
    every = [path for own in paths.values() for path in own]
    with ExitStack() as stack:
        files = {path: stack.enter_context(open(path, "wb")) for path in every}
        for number in numbers:
            video = videos / f"{number:012x}.mp4"
            video.touch()
            if stills:
                [still] = stills_of(stills, f"made_up_{number:012x}", 1)
                still.parent.mkdir(parents=True)
                still.touch()
            for config, row in rows(seed, number, video):
                own = paths[config]
                files[own[number % len(own)]].write(dumps(row) + b"\n")
    return every


# For a million responses.
MAX_SECONDS, MAX_MB = 60, 500


def floor(paths: list[Path], out: Path) -> float:
    """CPU seconds to parse all lines and to write all responses, and nothing else."""
    start = time.process_time()
    with open(out, "wb") as target:
        for path in paths:
            with open(path, "rb") as file:
                for line in file:
                    target.write(orjson.dumps(orjson.loads(line)["response"]) + b"\n")
    return time.process_time() - start


def main() -> None:
    """Make the responses, convert them, print the numbers."""
    parser = script_parser(__doc__)
    parser.add_argument("--responses", type=positive, default=1_000_000, help="how many")
    parser.add_argument("--parts", action="store_true", help="unsorted parts, not sorted files")
    parser.add_argument("--seed", type=int, default=0, help="of the texts (default: %(default)s)")
    parser.add_argument("--format", choices=list(SUFFIXES), default="swift", help="what is written")
    parser.add_argument("flags", nargs="*", help="further flags of convert_to_swift.py, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="convert-") as name:
        folder = Path(name)
        output = Output(folder / f"out{SUFFIXES[args.format]}", [])
        stills = output.frames_folder if args.format == "trl" else None
        paths = make(folder, args.responses, args.seed, args.parts, stills)
        size = sum(path.stat().st_size for path in paths) / 1e6
        least = floor(paths, folder / "floor.txt")
        command = [sys.executable, str(REPOSITORY / "convert_to_swift.py"), MODEL]
        command += ["16", "8", "4", "2", "--dataset", "made_up", "--output", str(output.path)]
        command += ["--format", args.format, "--frames", "1", *args.flags]
        command += ["--data_root", str(folder / "data")]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        funnel = json.loads(output.funnel_path.read_text())["funnel"]
    made, kept = (sum(row[what] for row in funnel) for what in ("made", "kept"))
    print(f"{args.responses} responses, {size:.0f} MB: {made} pairs, {kept} kept")
    cpu = used.ru_utime + used.ru_stime
    print(f"convert: {seconds:.1f} s (bound {MAX_SECONDS}), {cpu:.1f} CPU seconds")
    print(f"peak memory: {used.ru_maxrss / 1024:.0f} MB (bound {MAX_MB})")
    peak = used.ru_maxrss / 1024
    print(f"floor, parsing and writing alone: {least:.1f} CPU seconds; ratio {cpu / least:.1f}")
    sys.exit(1 if seconds > MAX_SECONDS or peak > MAX_MB else 0)


if __name__ == "__main__":
    main()
