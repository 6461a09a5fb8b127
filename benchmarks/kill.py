"""SIGKILLs at random moments, and whether the files of stages 1 to 4 come out as if none had been.

    python -m benchmarks.kill                          # 200 kills on three short videos
    python -m benchmarks.kill --kills 20 --videos DIR

The pipeline runs on a few videos, again and again from an empty folder. For each kill a stage is
drawn, and a moment over the length of that stage's unbroken run; it hits the script or one of its
workers, and a script that is killed is started again with the next world_size of 1, 2, 3. At the
end of each run through the stages every finished file must be byte for byte that of an unbroken
run. Linux only.
"""

import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.footage import FOOTAGE, join
from tools.cli import positive, script_parser
from tools.store.dataset import REPOSITORY

KILLS_A_LIFE = 10
WORLD_SIZES = (1, 2, 3)
DATASET = "mine"
STAGES = {
    "preprocess.py": (
        *("init", "scene", "filter_scene", "similarity", "group", "filter_group"),
        *("extract_frame", "finalize"),
    ),
    "generate_meta_data.py": ("raw_captions", "captions"),
    "generate_dpo_data.py": ("responses",),
    "convert_to_swift.py": ("convert",),
}
WITHOUT_WORKERS = ("convert_to_swift.py",)
# Three workers in a row that were killed while they started end a run, as they should.
GAVE_UP = ("times in a row while it was starting", "died before one record was finished")
# What a worker prints whose script was killed while it started: it comes from Python's own code,
# before any of ours runs.
ORPHANED = re.compile(
    r"Traceback \(most recent call last\):\n"
    r"(?:  File \"(?:<string>|[^\"\n]*/multiprocessing/spawn\.py)\", .*\n(?:    .*\n)*)+"
    r"(?:EOFError|_pickle\.UnpicklingError): .*\n"
)


@dataclass(frozen=True)
class Kill:
    """One SIGKILL: what it hit (script or worker), and during which step of which stage."""

    stage: str
    step: str
    target: str


class PipelineError(Exception):
    """A script ended otherwise than it should have; the text is what it said."""


def command(stage: str, world_size: int, videos: Path, root: Path) -> list[str]:
    """The command line of a stage."""
    flags = {
        "preprocess.py": (
            *(DATASET, world_size, "--video_dir", videos),
            *("--shot_detector", "adaptive", "--embedder", "color"),
        ),
        "generate_meta_data.py": (world_size, "--dataset", DATASET, "--model", "dryrun"),
        "generate_dpo_data.py": (DATASET, world_size, "--model", "dryrun"),
        "convert_to_swift.py": (
            *("dryrun", 16, 8, 4, 2, "--dataset", DATASET, "--output", root / "pairs.json"),
        ),
    }[stage]
    words = [sys.executable, REPOSITORY / stage, *flags, "--data_root", root]
    return [str(word) for word in words]


def finished_files(root: Path) -> dict[str, bytes]:
    """Path in `root` -> content of the tables of stages 1 to 3, their lists and the SWIFT file."""
    tables = [*root.glob(f"{DATASET}/**/*.jsonl*"), *root.glob("pairs*.json")]
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(tables)}


def unbroken_run(videos: Path, root: Path) -> tuple[dict[str, bytes], dict[str, float]]:
    """The finished files of a run that nobody disturbs, and how many seconds each stage ran."""
    life = Life(videos, root, iter([2, 2, 2, 2]), {}, random.Random(0))
    life.run()
    return finished_files(root), life.ran


class Life:
    """One way of the pipeline from an empty folder to its end.

    Args:
        world_sizes: of each start of a script, in turn.
        moments: stage -> when to kill, seconds of its running, rising.
        rng: draws whom to kill.
    """

    def __init__(
        self,
        videos: Path,
        root: Path,
        world_sizes: Iterator[int],
        moments: dict[str, list[float]],
        rng: random.Random,
    ) -> None:
        self.videos = videos
        self.root = root
        self.world_sizes = world_sizes
        self.moments = moments
        self.rng = rng
        self.kills: list[Kill] = []
        self.ran = dict.fromkeys(STAGES, 0.0)

    def run(self) -> list[Kill]:
        """Run all stages to their end, whatever happens on the way; returns the kills.

        Raises:
            PipelineError: a script failed, or lost a record for good.
        """
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        # A record whose worker was killed twice is failed, until the next run of the script.
        while "worker died" in "".join([self._run_stage(stage) for stage in STAGES]):
            pass
        return self.kills

    def _run_stage(self, stage: str) -> str:
        """Start a script until it ends by itself; returns what it said then."""
        while True:
            said = self._start(stage)
            if said is not None:
                return said

    def _start(self, stage: str) -> str | None:
        """Run a script once; what it said, or None if it did not come to its end."""
        logs = [self.root / "stdout.txt", self.root / "stderr.txt"]
        words = command(stage, next(self.world_sizes), self.videos, self.root)
        with open(logs[0], "w") as out, open(logs[1], "w") as errors:
            process = subprocess.Popen(words, stdout=out, stderr=errors)
        begin = time.monotonic()
        moments = self.moments.get(stage, [])
        while True:
            ran = self.ran[stage] + time.monotonic() - begin
            patience = max(0.0, moments[0] - ran) if moments else None
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                break
            moments.pop(0)
            self._kill(stage, process, logs[0])
        self.ran[stage] += time.monotonic() - begin
        said = "".join(log.read_text() for log in logs)
        if process.returncode == -signal.SIGKILL:
            said = ORPHANED.sub("", said)
        gave_up = any(words in said for words in GAVE_UP)
        if "Traceback" in said or process.returncode not in (0, -signal.SIGKILL, 2 * gave_up):
            raise PipelineError(f"{stage} ended with {process.returncode}:\n{said}")
        return None if process.returncode else said

    def _kill(self, stage: str, script: subprocess.Popen[bytes], log: Path) -> None:
        """Kill the script or, where it has some, one of its workers as soon as there is one."""
        victim, target = script.pid, "script"
        if stage not in WITHOUT_WORKERS and self.rng.random() < 0.5:
            while not (workers := workers_of(script.pid)):
                if script.poll() is not None:
                    return
                time.sleep(0.01)
            victim, target = self.rng.choice(workers), "worker"
        finished = {line.partition(":")[0] for line in log.read_text().splitlines()}
        step = next((step for step in STAGES[stage] if step not in finished), "the end")
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            self.kills.append(Kill(stage, step, target))


def workers_of(script: int) -> list[int]:
    """The worker processes of a script, sorted by process id."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == script and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return sorted(found)


def survive(videos: Path, folder: Path, kills: int, seed: int) -> Iterator[tuple[list[Kill], int]]:
    """Live until there were so many kills; yields (kills, files compared) of each life.

    Raises:
        PipelineError: a script failed, or a file differs from that of an unbroken run.
    """
    rng = random.Random(seed)
    world_sizes = itertools.cycle(WORLD_SIZES)
    expected, lengths = unbroken_run(videos, folder / "unbroken")
    left = kills
    while left > 0:
        moments: dict[str, list[float]] = {stage: [] for stage in STAGES}
        for stage in rng.choices(list(STAGES), k=min(left, KILLS_A_LIFE)):
            moments[stage].append(rng.uniform(0, lengths[stage]))
            moments[stage].sort()
        hit = Life(videos, folder / "life", world_sizes, moments, rng).run()
        found = finished_files(folder / "life")
        differing = [
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        ]
        if differing:
            raise PipelineError(f"{', '.join(sorted(differing))} differ after {hit}")
        left -= len(hit)
        yield hit, len(found)


def short_videos(folder: Path, footage: Path) -> None:
    """Write three videos of 6, 5 and 4 shots of a second each."""
    folder.mkdir(parents=True)
    for number, shots in enumerate((6, 5, 4)):
        join(folder / f"{number}.mp4", shots, 96, 54, shots, folder=footage, seed=number)


def main() -> None:
    """Kill, compare and count."""
    parser = script_parser(__doc__)
    parser.add_argument("--kills", type=positive, default=200, help="how many (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="draws moments and victims (default 0)")
    parser.add_argument("--videos", type=Path, help="folder of videos (default: three short ones)")
    parser.add_argument("--footage", type=Path, default=FOOTAGE, help="what these are joined from")
    args = parser.parse_args()
    counts: Counter[Kill] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not args.videos:
            short_videos(folder / "videos", args.footage)
        videos = (args.videos or folder / "videos").absolute()
        start = time.monotonic()
        for life, (hit, files) in enumerate(survive(videos, folder, args.kills, args.seed), 1):
            counts.update(hit)
            print(
                f"life {life}: {len(hit)} kills, {files} files identical to those of an unbroken"
                f" run; {counts.total()} of {args.kills} kills in {time.monotonic() - start:.0f} s",
                flush=True,
            )
    print(f"\n{'stage':22} {'step':14} {'script':>6} {'worker':>6}")
    for stage, steps in STAGES.items():
        for step in (*steps, "the end"):
            script, worker = (counts[Kill(stage, step, target)] for target in ("script", "worker"))
            if script or worker:
                print(f"{stage:22} {step:14} {script:6} {worker:6}")


if __name__ == "__main__":
    main()
