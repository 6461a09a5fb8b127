"""Damaged inputs, and whether each of them is accounted for.

    python -m benchmarks.fuzz                          # 2,000 inputs
    python -m benchmarks.fuzz --inputs 100 --seed 3

Three fifths are small videos in eight containers and codecs, whose bytes are flipped, cut, zeroed,
repeated, spliced with another's, whose headers are swapped or whose boxes are enlarged: stage 1
runs on all of them, and each must end as kept, filtered or failed, within the time limit; then the
reader that training uses must read each or say what is wrong with it. The others are tables of
stage 1 and answers of a model server, damaged likewise: each is read, or refused with its place and
cause. The program also prints the largest memory of a worker. Exit code 1 where an input is
missing, something hangs or a bound is missed. Linux only.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np

from inference.engines.server_format import read_answer
from tools.cli import positive, script_parser
from tools.shots.steps import STEPS
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.files import CorruptLine
from tools.store.jsonl import Table
from tools.text.answers import clean_response, parse_clip_caption
from tools.text.faults import answer_fault
from tools.video.checks import check_videos

MAX_MEMORY_MB = 1000
VIDEO_TIMEOUT = 20  # seconds a video
READ_TIMEOUT = 10  # seconds a table or an answer
# File name, encoder, its options, those of the container.
SEEDS: tuple[tuple[str, str, dict[str, str], dict[str, str]], ...] = (
    ("h264.mp4", "libx264", {"preset": "ultrafast"}, {}),
    ("front.m4v", "libx264", {"preset": "veryfast", "bf": "2"}, {"movflags": "faststart"}),
    ("hevc.mkv", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, {}),
    ("vp9.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, {}),
    ("av1.mp4", "libsvtav1", {"preset": "12", "crf": "40"}, {}),
    ("mpeg4.avi", "mpeg4", {"q:v": "6"}, {}),
    ("mpeg2.ts", "mpeg2video", {"q:v": "6"}, {}),
    ("mjpeg.mov", "mjpeg", {"q:v": "8", "strict": "unofficial"}, {}),
)
SHOTS, SHOT_FRAMES, RATE, SIZE = 5, 10, 10, (96, 64)
BOXES = (b"moov", b"trak", b"mdia", b"stbl", b"stsz", b"stts", b"stco", b"mdat", b"tkhd")
ANSWER = (
    b'{"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content":'
    b' "**Caption:** The red disc \\u201cdrifts\\u201d to the left.\\n\\nVideo clip 2 shows a'
    b' star."}, "finish_reason": "stop"}], "usage": {"total_tokens": 21}}'
)


def film() -> Iterator[np.ndarray]:
    """Shots of one colour each, over which a bar moves."""
    rng = np.random.default_rng(0)
    for _ in range(SHOTS):
        colours = rng.integers(0, 256, (2, 3), np.uint8)
        for moment in range(SHOT_FRAMES):
            image = np.full((SIZE[1], SIZE[0], 3), colours[0])
            image[:, 8 * moment : 8 * moment + 12] = colours[1]
            yield image


def make_seeds(folder: Path) -> dict[str, bytes]:
    """File name -> content of the videos that are damaged."""
    contents = {}
    for name, codec, options, muxer in SEEDS:
        with av.open(str(folder / name), "w", container_options=muxer) as container:
            stream: Any = container.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height = SIZE
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.thread_count = 1
            for image in film():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
        contents[name] = (folder / name).read_bytes()
        (folder / name).unlink()
    # As root, SVT-AV1 makes the thread that calls it a real-time one, and so all that it starts.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return contents


def flip(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Change some bits."""
    for _ in range(draw.choice((1, 4, 32, 256))):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Keep the beginning, or the end."""
    place = draw.randrange(len(data))
    del data[slice(place, None) if draw.random() < 0.7 else slice(place)]


def zero(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Overwrite a stretch with zeros."""
    start = draw.randrange(len(data))
    end = min(len(data), start + draw.randrange(1, 4096))
    data[start:end] = bytes(end - start)


def repeat(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Put a stretch in once more, elsewhere."""
    start = draw.randrange(len(data))
    part = data[start : start + draw.randrange(1, 4096)]
    place = draw.randrange(len(data))
    data[place:place] = part


def splice(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Put another file in the place of the rest."""
    data[draw.randrange(len(data)) :] = other[draw.randrange(len(other)) :]


def swap_header(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Take the beginning of another file."""
    length = draw.choice((4, 16, 64, 512, 2048))
    data[:length] = other[:length]


def enlarge(data: bytearray, draw: random.Random, other: bytes) -> None:
    """Give a box of an MP4 file, or any four bytes, another size or count."""
    places = [place for box in BOXES if (place := data.find(box)) >= 4]
    place = draw.choice(places or [draw.randrange(4, len(data))])
    place += draw.choice((-4, 4, 8, 12))  # its size, flags, first fields
    value = draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, draw.randrange(1 << 32)))
    data[place : place + 4] = value.to_bytes(4, "big")


MUTATIONS = (flip, cut, zero, repeat, splice, swap_header, enlarge)


def damaged(contents: Sequence[bytes], draw: random.Random) -> tuple[int, bytes]:
    """(number of the content, its bytes after one to three mutations)."""
    number = draw.randrange(len(contents))
    data = bytearray(contents[number])
    for _ in range(draw.choice((1, 1, 2, 3))):
        if len(data) > 8:
            draw.choice(MUTATIONS)(data, draw, draw.choice(contents))
    return number, bytes(data)


def peak_memory(parents: set[int], stop: threading.Event, peaks: list[int]) -> None:
    """Note the largest resident set, kB, of the processes that these processes started."""
    while not stop.wait(0.05):
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
                below = int(fields["PPid"]) in parents
                peaks.append(int(fields["VmHWM"].split()[0]) if below else 0)
            except (OSError, ValueError, KeyError):  # it has just ended
                continue


def fuzz_videos(inputs: int, draw: random.Random, work: Path) -> tuple[Counter[str], int]:
    """How damaged videos end in stage 1, and the largest memory of a worker, MB."""
    folder = work / "videos"
    folder.mkdir()
    seeds = make_seeds(folder)
    names = list(seeds)
    for index in range(inputs):
        number, data = damaged(list(seeds.values()), draw)
        (folder / f"{index:05d}-{names[number]}").write_bytes(data)
    command = [
        *(sys.executable, "preprocess.py", "fuzz", "2", "--video_dir", folder),
        *("--data_root", work / "data", "--shot_detector", "adaptive", "--embedder", "color"),
        *("--min_shots", 2, "--min_clips", 2, "--video_timeout", VIDEO_TIMEOUT, "--device", "cpu"),
    ]
    with (work / "log").open("wb") as log:
        script = subprocess.Popen(list(map(str, command)), cwd=REPOSITORY, stdout=log, stderr=log)
        peaks, stop = [0], threading.Event()
        parents = {script.pid, os.getpid()}
        watch = threading.Thread(target=peak_memory, args=(parents, stop, peaks), daemon=True)
        watch.start()
        try:
            script.wait(timeout=60 + VIDEO_TIMEOUT * inputs)
        except subprocess.TimeoutExpired:
            script.kill()
            sys.exit("preprocess.py hangs")
        checks = check_videos(map(str, folder.iterdir()), work)
        stop.set()
        watch.join()
    said = (work / "log").read_text(errors="replace")
    if script.returncode or "Traceback" in said:
        sys.exit(f"preprocess.py ended with {script.returncode}:\n{said[-3000:]}")
    counts = endings(Dataset("fuzz", work / "data" / "fuzz"), inputs)
    counts["read by training"] = sum("width" in check for check in checks.values())
    counts["unaccounted"] += sum(not check.keys() & {"width", "error"} for check in checks.values())
    return counts, max(peaks) // 1000


def endings(dataset: Dataset, inputs: int) -> Counter[str]:
    """How many of the videos ended in which way."""
    ended = {record["video_id"]: "kept" for record in dataset.videos().read()}
    for step in STEPS:
        table = dataset.table(step.target or step.name)
        for record in table.read():
            if record["filtered"]:
                ended[record["video_id"]] = f"filtered: {record['filter_reason']}"
        for video_id, failure in table.failed.read().items():
            ended[video_id] = f"failed: {failure['error'].removeprefix('VideoError: ')}"
    counts = Counter(ending.split(":")[0] for ending in ended.values())
    counts["unaccounted"] = inputs - len(ended)
    counts["timed out"] = sum("timed out" in ending for ending in ended.values())
    counts["worker died"] = sum("worker died" in ending for ending in ended.values())
    return counts


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise TimeoutError where the block takes longer."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz_reader(
    inputs: int, draw: random.Random, contents: Sequence[bytes], read: Callable[[bytes], object]
) -> Counter[str]:
    """How often damaged contents are read, refused, or neither."""
    counts: Counter[str] = Counter()
    for _ in range(inputs):
        _, data = damaged(contents, draw)
        try:
            with time_limit(READ_TIMEOUT):
                read(data)
            counts["read"] += 1
        except (CorruptLine, ValueError) as error:
            counts["refused" if str(error) else "unaccounted"] += 1
        except Exception as error:
            print(f"{type(error).__name__}: {error} at {data[:200]!r}")
            counts["unaccounted"] += 1
    return counts


def read_text(damage: bytes) -> None:
    """Read what a server sends as stages 2 and 3 do: damaged text in a whole reply, which must be
    read, and a damaged reply."""
    text = damage.decode(errors="surrogateescape")
    whole = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    try:
        read_reply(whole)
    except ValueError as error:
        raise AssertionError(f"a whole reply is refused: {error}") from error
    read_reply(damage)


def read_reply(reply: bytes) -> None:
    """Read a reply and what is in its text."""
    answer = read_answer(reply)
    kept = parse_clip_caption(answer.text)
    clean_response(answer.text, "mimo")
    answer_fault(answer.text, kept, answer.finish_reason)


def tables(dataset: Dataset) -> list[bytes]:
    """Tables of stage 1 that hold something, and their lists of failures."""
    found = [path for path in sorted(dataset.anno.glob("*.jsonl")) if path.stat().st_size]
    return [path.read_bytes()[:20_000] for path in found]


def main() -> None:
    """Damage, run, count."""
    parser = script_parser(__doc__)
    parser.add_argument("--inputs", type=positive, default=2000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args()
    draw = random.Random(args.seed)
    began = time.monotonic()
    videos = args.inputs * 3 // 5
    readers = args.inputs - videos
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        counts, memory = fuzz_videos(videos, draw, work)
        table = Table(work / "table.jsonl")

        def read_table(data: bytes) -> None:
            table.path.write_bytes(data)
            list(table.read())
            table.index()

        contents = tables(Dataset("fuzz", work / "data" / "fuzz"))
        results = {
            "videos": counts,
            "tables": fuzz_reader(readers // 2, draw, contents, read_table),
            "answers": fuzz_reader(readers - readers // 2, draw, [ANSWER], read_text),
        }
    lost = sum(result["unaccounted"] for result in results.values())
    for name, result in results.items():
        print(f"{name:8}", ", ".join(f"{count} {what}" for what, count in result.items()))
    print(f"{args.inputs - lost} of {args.inputs} inputs are accounted for")
    print(f"a worker took {memory} MB at most (bound: {MAX_MEMORY_MB})")
    print(f"{time.monotonic() - began:.0f} s")
    if lost or memory > MAX_MEMORY_MB or counts["worker died"]:
        sys.exit(1)


if __name__ == "__main__":
    os.chdir(REPOSITORY)
    main()
