"""What several test files share: small real videos, and the scripts as a user starts them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import pytest

from tests.in_process import call_main
from tests.warm_workers import warm_workers
from tools.store.dataset import Dataset
from tools.store.locks import locked

REPOSITORY = Path(__file__).resolve().parent.parent
# For torch here and in all that tests start: tests run one a core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# These take longest. They begin first, so that all processes of `make test` end at about one time.
LONGEST = (
    "grounding/test_train.py",
    "visualize/test_viewer.py",
    "training/test_training.py",
    "shots/test_transnet.py",
    "prealignment/test_train.py",
)

# Places that look unlike one another: colours (R, G, B) of the upper left, the lower right and of
# a disc, and the disc's place and radius as shares of the frame's height.
PLACES = {
    "beach": ((60, 140, 240), (250, 220, 130), (255, 255, 250), (0.3, 1.3, 0.15)),
    "forest": ((10, 60, 20), (40, 140, 50), (90, 50, 20), (0.6, 0.3, 0.25)),
    "night": ((5, 5, 30), (20, 10, 60), (240, 240, 200), (0.25, 0.35, 0.12)),
    "fire": ((120, 10, 0), (250, 120, 10), (255, 240, 60), (0.7, 0.8, 0.3)),
    "snow": ((235, 240, 250), (200, 215, 235), (150, 20, 40), (0.5, 0.5, 0.2)),
    "party": ((150, 20, 160), (250, 60, 200), (20, 240, 240), (0.4, 1.0, 0.3)),
}
ONE_SECOND_EACH = tuple((place, 12) for place in PLACES)
CODE_BITS = 12


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return LONGEST.index(name) if name in LONGEST else len(LONGEST)

    items.sort(key=place)


@lru_cache(256)
def picture(place: str, size: tuple[int, int], moment: int) -> np.ndarray:
    """A place at a moment of its shot, (height, width, 3) uint8 RGB: the disc drifts slowly.

    Copy it before you draw on it: who wants it next gets the same array.
    """
    width, height = size
    first, last, disc, (top, left, radius) = PLACES[place]
    down, right = np.mgrid[0:height, 0:width] / height
    mix = ((down + right) / (1 + width / height))[..., None]
    image = np.array(first) * (1 - mix) + np.array(last) * mix
    left = (left + 0.01 * moment) % (width / height)
    image[np.hypot(down - top, right - left) < radius] = disc
    image = image.astype(np.uint8)
    image.setflags(write=False)
    return image


def stamp(image: np.ndarray, number: int) -> np.ndarray:
    """Write a number below 4096 into the lowest eighth of a frame, in black and white blocks."""
    height, width = image.shape[:2]
    rows = slice(height - max(height // 8, 1), height)
    for bit in range(CODE_BITS):
        columns = slice(bit * width // CODE_BITS, (bit + 1) * width // CODE_BITS)
        image[rows, columns] = 255 * (number >> bit & 1)
    return image


def stamped_number(image: np.ndarray) -> int:
    """The number that `stamp` wrote into a frame."""
    height, width = image.shape[:2]
    row = image[height - max(height // 8, 1) // 2 - 1].mean(axis=-1)
    centres = [(2 * bit + 1) * width // (2 * CODE_BITS) for bit in range(CODE_BITS)]
    return sum(int(row[centre] > 127) << bit for bit, centre in enumerate(centres))


def film(shots: Sequence[tuple[str, int]], size: tuple[int, int]) -> Iterable[np.ndarray]:
    """The frames of (place, number of frames) shots, each stamped with its index."""
    index = 0
    for place, frames in shots:
        for moment in range(frames):
            yield stamp(picture(place, size, moment).copy(), index)
            index += 1


def write_video(
    path: Path,
    shots: Sequence[tuple[str, int]] = ONE_SECOND_EACH,
    size: tuple[int, int] = (96, 64),
    rate: int = 12,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
    frames: Iterable[np.ndarray] | None = None,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Write a small video; its container is the extension's.

    Args:
        shots: (place of PLACES, number of frames) each; every frame is stamped with its index.
        size: (width, height) in pixels.
        rate: frames a second.
        pts: time stamps in units of `time_base`; None: evenly spaced, from 0.
        time_base: seconds a unit; None: 1 / rate.
        options, muxer: options of the encoder and of the container.
        frames: (height, width, 3) uint8 RGB each, instead of `shots`.
        pixel_aspect: width of a pixel over its height.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if codec == "libx264":
        options = {"preset": "ultrafast", "crf": "12", **(options or {})}
    with av.open(f"file:{path}", "w", container_options=muxer or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.thread_count = 1
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        base = time_base or Fraction(1, rate)
        stream.codec_context.time_base = base
        for index, image in enumerate(frames if frames is not None else film(shots, size)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = (index if pts is None else pts[index]), base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if codec == "libsvtav1":
        # As root, SVT-AV1 makes the thread that calls it a real-time one, and so all that this
        # thread starts later: two busy workers would then stop the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


@pytest.fixture(scope="session", autouse=True)
def workers_start_soon() -> Iterator[None]:
    """Workers come from a process that has imported their libraries; but those of tests/runner."""
    with warm_workers():
        yield


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """`write_video`."""
    return write_video


@pytest.fixture(scope="session")
def read_stamp() -> Callable[[np.ndarray], int]:
    """`stamped_number`: which frame of `make_video` a picture is."""
    return stamped_number


@pytest.fixture(scope="session", name="picture")
def picture_of_a_place() -> Callable[..., np.ndarray]:
    """`picture`."""
    return picture


@pytest.fixture(scope="session")
def tiny_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 3 videos of 6, 5 and 4 shots, a second each, that pass every filter of stage 1
    with `--shot_detector adaptive --embedder color`; read it, or copy it first."""
    folder = tmp_path_factory.mktemp("tiny_videos")
    places = list(PLACES)
    for number, name in enumerate(("one.mp4", "three.mp4", "two.mkv")):
        shots = [(place, 12) for place in (places[number:] + places[:number])[: 6 - number]]
        write_video(folder / name, shots)
    return folder


@contextmanager
def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all test processes share; one process at a time is inside the block."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with locked(folder / "lock"):
        yield folder


@pytest.fixture(scope="session")
def shot_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XDG_CACHE_HOME that holds TransNetV2 for the CPU, made once for all test processes."""
    from tools.shots import transnet

    with (
        shared_folder(tmp_path_factory, "shot_networks") as home,
        patch.dict(os.environ, XDG_CACHE_HOME=str(home)),
    ):
        transnet.prepare()
    return home


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(family, compact) -> the folder of a tiny checkpoint, made once for all test processes; read
    it, or copy it first."""
    from inference.tiny.checkpoints import build

    @lru_cache(None)
    def folder_of(family: str, compact: bool = True) -> Path:
        with shared_folder(tmp_path_factory, "tiny") as shared:
            folder = shared / ("compact" if compact else "full") / family
            return folder if folder.exists() else build(family, folder, compact=compact)

    return folder_of


@pytest.fixture(scope="session")
def warm_swift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program `swift` that has been started already, once for all test processes
    (reproduction/warm_swift.py). It takes a Python file in place of a subcommand too."""
    from reproduction.warm_swift import start

    pytest_runs = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    with shared_folder(tmp_path_factory, "warm_swift") as folder:
        if not (folder / "bin" / "swift").exists():
            own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            own |= {"HF_HOME": str(folder), "MODELSCOPE_CACHE": str(folder)}
            # Without these, half of a training's time goes into fresh memory for the logits of
            # 150,000 words.
            own |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
            start(folder, pytest_runs, {**os.environ, **own})
    return folder / "bin"


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of six toy videos of seed 0, one of them with a variable frame rate and one with
    blank shots, in half the width and half the height; made once for all test processes."""
    from toyworld import plan
    from toyworld.make import make_world

    small = [[kind, w // 4 * 2, h // 4 * 2, rate] for kind, w, h, rate in plan.SCHEDULE]
    with (
        shared_folder(tmp_path_factory, "toy_world") as folder,
        patch.object(plan, "SCHEDULE", small),
    ):
        if not (folder / "world" / "truth.jsonl").exists():
            make_world(6, 0, folder / "world", workers=1)
    return folder / "world"


@pytest.fixture(scope="session")
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a script of the repository, or `-m module`, to its end.

    `run_script("preprocess.py", "mine", 1, ..., env={...}, cwd=...)` calls `main(argv)` in this
    process, since to start Python and import what a script needs takes longer than most runs here.
    `fresh=True`, or any keyword argument of `subprocess.run`, starts it as a user does: for what
    happens at import, for signals and for limits of a process. So does `-c`, with code.
    """

    def run(
        *words: object,
        fresh: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = ".",
        **kwargs: Any,
    ) -> subprocess.CompletedProcess[str]:
        command = [str(word) for word in words]
        if not (fresh or kwargs or command[0] == "-c"):
            return call_main(command, env or {}, cwd)
        if not command[0].startswith("-"):
            command[0] = str(REPOSITORY / command[0])
        # Without the editable install that `make setup` does, `-m` needs to be told the place.
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})}
        text = {"encoding": "utf-8", "errors": "backslashreplace"}
        kwargs = {"timeout": 300, **text, **kwargs}
        command = [sys.executable, *command]
        return subprocess.run(command, capture_output=True, env=env, cwd=cwd, **kwargs)

    return run


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The viewer's cache, away from the data and from the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """A dataset `mine` without a record."""
    root = tmp_path / "data" / "mine"
    (root / "anno").mkdir(parents=True)
    return Dataset("mine", root)
