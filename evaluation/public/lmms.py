"""lmms-eval as a program of another environment: what it knows, its command line, what it leaves.

Run were: version 0.7.3 on a CPU, with tiny random checkpoints of Qwen2-VL, Qwen2.5-VL, Qwen3-VL,
LLaVA-OneVision and InternVL, on a task of our own; the frames shown were those asked for. Not run
were: a GPU, real weights, the public benchmarks' data. lmms-eval leaves with code 0 whatever
happens; only a whole results file says that it went well.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from inference.checkpoints import own_video_size
from tools.errors import UserError
from tools.store.dataset import REPOSITORY

LAUNCHER = Path(__file__).with_name("launcher.py")
ENVIRONMENT = ".venv-lmms-eval"
INSTALL = (
    f"python3 -m venv {ENVIRONMENT} && {ENVIRONMENT}/bin/pip install -r requirements-lmms-eval.txt"
)
PYTHON_VARIABLE = "LMMS_EVAL_PYTHON"
MIN_PIXELS = 3136  # of a frame, as training has it (VIDEO_MIN_PIXELS)
PROCESSOR_PIXELS = (128 * 28 * 28, 768 * 28 * 28)  # transformers' Qwen2VLVideoProcessor, unasked
# lmms-eval takes its model's arguments as one text, in which these mean something.
MEANT = re.compile(r"""[,'"\[\]{}]""")


@dataclass(frozen=True)
class LmmsClass:
    """A class of lmms-eval that shows videos to a family of models.

    Attributes:
        name: lmms-eval's name of it.
        frames: its argument for the most frames of a video.
        fps: whether frames a second can be asked for.
        fps_argument: its argument for them; None: qwen-vl-utils is told.
        pixels: whether pixels of a frame can be asked for, as max_pixels and min_pixels.
        resizes: whether the checkpoint's own processor resizes frames once more.
        flags: what it needs besides.
    """

    name: str
    frames: str
    fps: bool = True
    fps_argument: str | None = None
    pixels: bool = True
    resizes: bool = False
    flags: tuple[str, ...] = ()


# By the model_type in a checkpoint's config.json. The other families of models.yaml find no class
# that shows videos: the general one, "huggingface", fails on a request without pictures.
CLASSES = {
    "qwen2_vl": LmmsClass("qwen2_vl", "max_num_frames", resizes=True),
    "qwen2_5_vl": LmmsClass("qwen2_5_vl", "max_num_frames", fps_argument="fps", resizes=True),
    "qwen3_vl": LmmsClass("qwen3_vl", "max_num_frames", fps_argument="fps"),
    # Its newer, chat-style form takes every frame of a video.
    "llava_onevision": LmmsClass(
        "llava_hf", "max_frames_num", fps=False, pixels=False, flags=("--force_simple",)
    ),
    "internvl": LmmsClass("internvl_hf", "num_frames", fps=False, pixels=False),
}


@dataclass(frozen=True)
class Seen:
    """How videos are shown.

    Attributes:
        frames: of a video, at most.
        fps: frames taken a second; None: `frames` of every video, evenly spaced.
        max_pixels: of a frame, at most; None: as many as the family's processor always takes.
    """

    frames: int
    fps: float | None
    max_pixels: int | None


@dataclass(frozen=True)
class Lmms:
    """An lmms-eval that is there.

    Attributes:
        python: the program of its environment.
        versions: of it and of the libraries that run the models.
    """

    python: str
    versions: dict[str, str]

    def tasks(self, include_path: Path | None = None) -> list[str]:
        """The names of all its tasks, groups and tags, and those of a folder of one's own.

        Raises:
            UserError: it does not say.
        """
        include = [f"--include-path={include_path}"] if include_path else []
        said = _ask(self.python, "tasks", "list", *include)
        names = re.findall(r"^  (\S+)$", said.stdout, flags=re.MULTILINE)
        if not names:
            raise UserError(f"{self.python}: lmms-eval lists no tasks: {last_line(said.stderr)}")
        return names


def frame_pixels(checkpoint: Path) -> tuple[int, int]:
    """The fewest and the most pixels of a frame in a checkpoint's own processor, which has the last
    word: what lmms-eval asks for is not heard where the checkpoint says a `size`."""
    own = own_video_size(str(checkpoint))
    least, most = (own.get(edge) for edge in ("shortest_edge", "longest_edge"))
    return least or PROCESSOR_PIXELS[0], most or PROCESSOR_PIXELS[1]


def open_lmms(asked: str | None) -> Lmms:
    """The lmms-eval of an environment: that of --python, else of the variable LMMS_EVAL_PYTHON,
    else of .venv-lmms-eval in the repository, else of this one.

    Raises:
        UserError: it is not installed there.
    """
    own = REPOSITORY / ENVIRONMENT / "bin" / "python"
    python = asked or os.environ.get(PYTHON_VARIABLE) or str(own if own.exists() else "")
    python = python or sys.executable
    try:
        said = _ask(python, "version")
    except OSError as error:
        raise UserError(f"{python}: no Python that runs ({error.strerror})") from None
    versions = dict(re.findall(r"^([a-z][\w-]*?) *(\d\S*)$", said.stdout, flags=re.MULTILINE))
    if "lmms-eval" in versions:
        return Lmms(python, versions)
    if said.returncode == 0 or "No module named lmms_eval" in said.stderr:
        raise UserError(
            f"lmms-eval is not installed for {python}: {INSTALL}; or name the Python of another"
            f" environment as --python or in {PYTHON_VARIABLE}"
        )
    raise UserError(f"{python}: lmms-eval does not start: {last_line(said.stderr)}")


def command(
    lmms: Lmms,
    kind: LmmsClass,
    checkpoint: Path,
    tasks: Sequence[str],
    seen: Seen,
    folder: Path,
    *,
    device: str,
    limit: int | None = None,
    include_path: Path | None = None,
    max_new_tokens: int | None = None,
) -> list[str]:
    """The command line that runs some of lmms-eval's tasks and leaves its files in `folder`.

    Args:
        device: cpu, or cuda:<index>.
        limit: questions of a task; None: all.
        max_new_tokens: longest answer; None: the task's own.
    """
    arguments: dict[str, object] = {
        "pretrained": checkpoint,
        "device_map": device,
        kind.frames: seen.frames,
    }
    if kind.fps_argument:
        arguments[kind.fps_argument] = seen.fps
    if seen.max_pixels:
        arguments["max_pixels"] = seen.max_pixels
        arguments["min_pixels"] = min(MIN_PIXELS, seen.max_pixels)
    flags = {
        "--model": kind.name,
        "--model_args": ",".join(f"{name}={value}" for name, value in arguments.items()),
        "--tasks": ",".join(tasks),
        "--device": device,
        "--batch_size": 1,  # Its Qwen classes cut only the first video of a batch to its frames.
        "--output_path": folder,
        "--include_path": include_path,
        "--limit": limit,
        "--gen_kwargs": max_new_tokens and f"max_new_tokens={max_new_tokens}",
    }
    given = [str(word) for flag in flags.items() if flag[1] is not None for word in flag]
    # -P: neither this folder nor the working directory may hide a library (`evaluate` is one).
    return [lmms.python, "-P", str(LAUNCHER), *given, "--log_samples", *kind.flags]


def run(line: Sequence[str], seen: Seen, folder: Path) -> dict[str, Any]:
    """Run a command line in `folder`, emptied first; what lmms-eval printed is log.txt in it.

    Returns:
        See `read_results`.

    Raises:
        UserError: it ended without a whole results file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = _environment() | {
        "FPS": str(seen.fps or ""),
        "FPS_MAX_FRAMES": str(seen.frames),
        "PYTHONUNBUFFERED": "1",
    }
    log = folder / "log.txt"
    pipe = subprocess.PIPE
    with (
        open(log, "wb") as file,
        subprocess.Popen(
            line, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, cwd=folder, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        try:
            while piece := process.stdout.read1():  # type: ignore[attr-defined]
                file.write(piece)
                show_progress(piece)
        finally:
            if process.poll() is None:
                process.terminate()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    found = read_results(folder)
    if found is None:
        raise UserError(f"{why(log.read_text(errors='replace'))} ({log} has all of it)")
    return found


def read_results(folder: Path) -> dict[str, Any] | None:
    """What a run left in its folder; None where that is not there or not whole.

    Returns:
        {"results": {task: {"<metric>,<filter>": value, "<metric>_stderr,<filter>": ...}}, "sizes":
        {task: {"original", "effective"}}, "samples": {task: [{"doc_id", "target", metric: what
        lmms-eval keeps of a question, ...}]}}
    """
    try:
        (path,) = folder.rglob("*_results.json")
        document = orjson.loads(path.read_bytes())
        sizes = document["n-samples"]
        samples = {}
        for task in sizes:
            beside = path.with_name(path.name.replace("_results.json", f"_samples_{task}.jsonl"))
            samples[task] = [orjson.loads(line) for line in beside.read_bytes().splitlines()]
            if len(samples[task]) < sizes[task]["effective"]:
                return None
        return {"results": document["results"], "sizes": sizes, "samples": samples}
    except (ValueError, KeyError, OSError):  # No file or several; half of one; another's.
        return None


def why(log: str) -> str:
    """The one line of a log that says why lmms-eval failed."""
    if "Error during evaluation: " not in log:
        return last_line(log)
    # Above that line is a traceback. Its last one may say only that it was tried several times.
    raised = re.findall(r"^[\w.]+(?:Error|Exception): .*", log, flags=re.MULTILINE)
    said = [line for line in raised if "RetryError" not in line]
    return (said or raised or [last_line(log)])[-1]


def last_line(text: str) -> str:
    """The last line that is not blank, without colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d+m", "", text).splitlines()]
    return next((line for line in reversed(lines) if line), "nothing was said")


def show_progress(piece: bytes) -> None:
    """Pass a bar of lmms-eval's on to a person who waits, and nothing else."""
    if sys.stderr.isatty():
        for bar in re.findall(rb"[^\r\n]*%\|[^\r\n]*", piece):
            print(f"\r{bar.decode(errors='replace')}", end="", file=sys.stderr, flush=True)


def _ask(python: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, "-P", "-m", "lmms_eval", *words],
        capture_output=True,
        text=True,
        errors="replace",
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """This process's, without what would lead another environment to this one's modules."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return {
        "HF_HOME": os.path.expanduser(f"{cache}/huggingface"),  # Some tasks insist on it.
        "FORCE_QWENVL_VIDEO_READER": "decord",
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    }
