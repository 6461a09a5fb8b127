"""The viewer on a million pairs: seconds and memory against their bounds.

    python -m benchmarks.viewer                     # 1,000,000 pairs, 4 GB of scratch
    python -m benchmarks.viewer --pairs 100000

Made up here (seeded): 12 pairs a video, each response a sentence a clip of its order, words drawn
from 20,000 as a language draws them (Zipf); with init, videos and clip captions. Measured: the
index from nothing, after 1,000 more videos have come in parts, and after these have been merged
into new files; then, in a fresh process, the first page of the viewer as Streamlit runs it, and
filters and searches; in another one, the list of pairs as files to download. Memory is what all
processes hold at a moment, at most.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from tools.cli import positive, script_parser
from tools.pairs.perturbation import configs, equivalence, select
from tools.store.dataset import REPOSITORY
from tools.store.jsonl import dumps

MODEL = "made_up"
WORDS = 20_000
SENTENCE_WORDS = (12, 24)
# For a million pairs.
INDEX_SECONDS, PAGE_SECONDS, QUERY_SECONDS, DOWNLOAD_SECONDS, MEMORY_MB = 60, 2, 1, 120, 1024
NEW_VIDEOS = 1000


class World:
    """Made-up videos, by number."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        # Frequent words are short.
        self._words = [
            "".join(rng.choices(syllables, k=1 + sum(rank >= end for end in (20, 300, 3000))))
            for rank in range(WORDS)
        ]
        self._chances = 1 / np.arange(1, WORDS + 1)
        self._chances /= self._chances.sum()
        self._seed = seed

    def word(self, rank: int) -> str:
        """The word of a rank in frequency, counted from 0."""
        return self._words[rank]

    def records(self, number: int) -> dict[str, dict[str, Any]]:
        """File below the dataset's folder -> its record of one video of 8 to 14 clips."""
        rng = np.random.default_rng((self._seed, number))
        clips = int(rng.integers(8, 15))
        counts = rng.integers(*SENTENCE_WORDS, clips)
        words = rng.choice(WORDS, int(counts.sum()), p=self._chances)
        ends = np.cumsum(counts)
        captions = [
            " ".join(self._words[word] for word in words[end - count : end]).capitalize() + "."
            for count, end in zip(counts, ends, strict=True)
        ]
        video_id = f"made_up_{number:012x}"
        frames = [[48 * clip + 12, 48 * clip + 30] for clip in range(clips)]
        cuts = [[clip, 48 * clip, 48 * clip + 47] for clip in range(clips)]
        video = {
            "video_id": video_id,
            "video_path": f"/nowhere/{number:012x}.mp4",
            "video_name": f"{number:012x}.mp4",
            "filtered": False,
        }
        groups = {
            "fps": 24.0,
            "raw_cuts": cuts,
            "cut_times": [[2.0 * clip, 2.0 * clip + 2] for clip in range(clips)],
            "filtered_cuts": cuts,
            "clip_similarity": rng.random((clips, clips)).round(4).tolist(),
            "groups": [[clip] for clip in range(clips)],
            "merged_groups": [[clip, [clip]] for clip in range(clips)],
            "frame_indices": frames,
        }
        found: dict[str, dict[str, Any]] = {
            "anno/init.jsonl": video,
            "anno/videos.jsonl": video | groups,
            f"anno/clip_captions_{MODEL}.jsonl": video
            | groups
            | {"raw_clip_captions": captions, "clip_captions": captions},
        }
        chosen = {config.name: select(config, clips, self._seed, video_id) for config in configs()}
        same = equivalence({name: one.indices for name, one in chosen.items()})
        for name, selection in chosen.items():
            info = {
                "selected_indices": selection.indices,
                "block_size": selection.block_size,
                "finish_reason": "stop",
                "sampling": {"temperature": 0.7, "top_p": 0.001, "top_k": 1},
            }
            found[f"dpo-{MODEL}/iter_0/{name}.jsonl"] = {
                "video_id": video_id,
                "video_path": video["video_path"],
                "frame_indices": frames,
                "response": " ".join(captions[index] for index in selection.indices),
                "info": info | ({"same_as": same[name]} if same[name] != name else {}),
            }
        return found


def write(world: World, root: Path, numbers: range, suffix: str = "", mode: str = "wb") -> None:
    """Write videos to the files of a dataset; `suffix` names a part."""
    files: dict[str, Any] = {}
    for number in numbers:
        for name, record in world.records(number).items():
            if name not in files:
                path = root / (name + suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                files[name] = open(path, mode)  # noqa: SIM115 (closed below)
            files[name].write(dumps(record) + b"\n")
    for file in files.values():
        file.close()


class Memory:
    """The resident size of this process's children and theirs, sampled."""

    def __init__(self) -> None:
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, sum(map(_resident, _descendants(os.getpid()))))


def _descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        found += children + [deeper for child in children for deeper in _descendants(child)]
    return found


def _resident(pid: int) -> int:
    """Bytes of a process that are in memory, what it shares with others divided among them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


# What is asked of the viewer: name -> filters. Words of every frequency are among the texts.
QUESTIONS: dict[str, dict[str, Any]] = {
    "all": {},
    "noise, magnitude, sorted by ratio": {
        "noises": ["drop", "shuffle"],
        "magnitudes": [2, 4],
        "sort": "highest ratio",
    },
    "kept, ratio, sorted by likeness": {
        "outcome": "kept",
        "ratio": [0.9, 1.1],
        "sort": "most alike",
    },
    "a bar of shots": {"between": ["shots", 8, 10]},
    "a bar of lengths, at random": {"between": ["rejected_length", 500, 900], "sort": "random"},
    "search: a frequent word": {"text": "WORD_10"},
    "search: a rare word": {"text": "WORD_5000"},
    "search: two words": {"text": "WORD_3 WORD_12"},
    "search: nothing has it": {"text": "quixotic xylophone"},
}

# The start of either process of its own.
OPENED = """
import json, sys, time
from pathlib import Path
from tools.store.dataset import REPOSITORY, open_dataset
from visualize.index.index import DatasetIndex
from visualize.index.view import Filters, View

root, questions = Path(sys.argv[1]), json.loads(sys.argv[2])


def now():  # seconds, and CPU seconds of this process
    return time.perf_counter(), time.process_time()


def since(start):
    return [end - begin for begin, end in zip(start, now())]


def view_of(root):
    index = DatasetIndex(open_dataset("made_up", root))
    return View(index, index.state())

"""
# The first page as Streamlit runs it, then the questions.
PROBE = """
from streamlit.testing.v1 import AppTest

sys.argv = ["app.py", "--data_root", str(root)]
page = AppTest.from_file(str(REPOSITORY / "visualize" / "app.py"), default_timeout=120)

start = now()
page.run()
first = since(start)
assert not page.exception, page.exception
html = " ".join(one.proto.body for one in page.get("html"))
assert "1 of " in html, html[-500:]
start = now()
next(one for one in page.button if one.label == "Next").click()
page.run()
step = since(start)
view = view_of(root)
answers = {}
for name, words in questions.items():
    filters = {key: tuple(v) if isinstance(v, list) else v for key, v in words.items()}
    start = now()
    ids = view.select(Filters(**filters))
    view.pairs(ids[:50])
    answers[name] = [*since(start), len(ids)]
for field in (["chosen_length", "rejected_length"], ["ratio"]):
    start = now()
    view.histogram(field)
    answers["histogram: " + ", ".join(field)] = [*since(start), 0]
print(json.dumps({"first": first, "step": step, "answers": answers}))
"""
# The list of all pairs as the two kinds of files, the one with texts as long as it may be.
DOWNLOADS = """
from visualize.parts.export import JSONL_PAIRS, as_csv, as_jsonl

view = view_of(root)
ids = view.select(Filters())
found = {}
for make, some in ((as_csv, ids), (as_jsonl, ids[:JSONL_PAIRS])):
    start = now()
    size = len(make(view, some, {}))
    found[make.__name__] = [*since(start), f"{len(some):,} pairs, {size / 2**20:.0f} MB"]
print(json.dumps(found))
"""


def run(command: list[str], cache: Path) -> tuple[float, float, int, str]:
    """(seconds, CPU seconds, peak memory in bytes, output) of a command."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(REPOSITORY)}
    before = os.times()
    start = time.perf_counter()
    with Memory() as memory:
        done = subprocess.run(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, check=True)
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return time.perf_counter() - start, cpu, memory.peak, done.stdout.decode()


def main() -> None:
    """Make the data set, measure, print."""
    parser = script_parser(__doc__)
    parser.add_argument("--pairs", type=positive, default=1_000_000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the texts (default: %(default)s)")
    args = parser.parse_args()
    videos = -(-args.pairs // (len(configs()) - 1))
    world = World(args.seed)
    rows: list[tuple[str, float, float, float, str]] = []
    with tempfile.TemporaryDirectory(prefix="viewer-") as name:
        root, cache = Path(name) / "data" / "made_up", Path(name) / "cache"
        write(world, root, range(videos))
        size = sum(path.stat().st_size for path in root.rglob("*.jsonl"))
        print(f"{videos * (len(configs()) - 1)} pairs of {videos} videos, {size / 1e9:.1f} GB")
        index = [sys.executable, "-m", "visualize.index", "made_up", "--data_root", root.parent]
        command = [str(word) for word in index]
        seconds, cpu, peak, _ = run(command, cache)
        rows.append(("index from nothing", seconds, cpu, INDEX_SECONDS, ""))
        write(world, root, range(videos, videos + NEW_VIDEOS), ".0-1")
        seconds, cpu, more, _ = run(command, cache)
        rows.append(("index, 1,000 videos more, in parts", seconds, cpu, INDEX_SECONDS, ""))
        _merge(root)
        seconds, cpu, most, _ = run(command, cache)
        rows.append(("index, after these were merged", seconds, cpu, INDEX_SECONDS, ""))
        named = re.sub(r"WORD_(\d+)", lambda m: world.word(int(m[1])), json.dumps(QUESTIONS))
        words = [str(root.parent), named]
        _, _, page, out = run([sys.executable, "-c", OPENED + PROBE, *words], cache)
        found = json.loads(out.splitlines()[-1])
        _, _, download, out = run([sys.executable, "-c", OPENED + DOWNLOADS, *words], cache)
        downloads = json.loads(out.splitlines()[-1])
    rows.append(("first page", *found["first"], PAGE_SECONDS, ""))
    rows.append(("the next pair", *found["step"], PAGE_SECONDS, ""))
    for question, (seconds, cpu, pairs) in found["answers"].items():
        rows.append((question, seconds, cpu, QUERY_SECONDS, f"{pairs:,} pairs" if pairs else ""))
    for name, (seconds, cpu, note) in downloads.items():
        rows.append((f"download {name}", seconds, cpu, DOWNLOAD_SECONDS, note))
    for what, seconds, cpu, bound, note in rows:
        print(f"{what:38} {seconds:7.2f} s (bound {bound}), {cpu:7.2f} s of CPU  {note}")
    peaks = {"index": max(peak, more, most), "viewer": page, "download": download}
    for what, used in peaks.items():
        print(f"memory, {what:28} {used / 2**20:7.0f} MB (bound {MEMORY_MB})")
    late = any(seconds > bound for _, seconds, _, bound, _ in rows)
    sys.exit(1 if late or max(peaks.values()) > MEMORY_MB * 2**20 else 0)


def _merge(root: Path) -> None:
    """What a run does when nothing is left: each table's parts become one sorted file."""
    for part in root.rglob("*.jsonl.0-1"):
        path = part.with_suffix("")
        # The new videos' ids come last, so that the file stays sorted; it is a new file.
        stand_in = path.with_name(f".{path.name}")
        with open(stand_in, "wb") as out:
            for source in (path, part):
                with open(source, "rb") as file:
                    shutil.copyfileobj(file, out, 1 << 20)
        stand_in.replace(path)
        part.unlink()


if __name__ == "__main__":
    main()
