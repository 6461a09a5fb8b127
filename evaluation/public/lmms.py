"""lmms-eval in an environment of its own: its classes that show videos to models, and a run of it.

Run were: version 0.7.3 on a CPU, with tiny random checkpoints of Qwen2-VL, Qwen2.5-VL, Qwen3-VL,
LLaVA-OneVision and InternVL, on a task of our own; the frames shown were those asked for. Not run
were: a GPU, real weights, the public benchmarks' data.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tools.errors import UserError
from tools.store.dataset import REPOSITORY

LAUNCHER = Path(__file__).with_name("launcher.py")
ENVIRONMENT = ".venv-lmms-eval"
INSTALL = (
    f"python3 -m venv {ENVIRONMENT} && {ENVIRONMENT}/bin/pip install -r requirements-lmms-eval.txt"
)
PYTHON_VARIABLE = "LMMS_EVAL_PYTHON"
MIN_PIXELS = 3136  # of a frame, as training has it (VIDEO_MIN_PIXELS)

_YAML = yaml.safe_load(Path(__file__).with_name("lmms.yaml").read_text())


@dataclass(frozen=True)
class LmmsClass:
    """A class of lmms-eval that shows videos to a family of models; see lmms.yaml."""

    name: str
    frames: str
    fps: bool = True
    fps_argument: str | None = None
    pixels: bool = True
    resizes: bool = False
    force_simple: bool = False


BENCHMARKS: dict[str, dict[str, Any]] = _YAML["benchmarks"]
CLASSES = {model_type: LmmsClass(**entry) for model_type, entry in _YAML["classes"].items()}


@dataclass(frozen=True)
class Seen:
    """How videos are shown."""

    frames: int  # of a video, at most
    fps: float | None  # frames taken a second; None: `frames` of every video, evenly spaced
    max_pixels: int | None  # of a frame, at most; None: as the family's processor always does

    def __str__(self) -> str:
        rate = f", {self.fps:g} a second" if self.fps else ", evenly spaced"
        pixels = f", of at most {self.max_pixels:,} pixels" if self.max_pixels else ""
        return f"at most {self.frames} frames{rate}{pixels}"


def open_lmms(python: str | None) -> tuple[str, dict[str, str]]:
    """The Python that lmms-eval is installed for, and the versions of what runs the models there:
    that of --python, else of LMMS_EVAL_PYTHON, else of .venv-lmms-eval in the repository, else this
    one.

    Raises:
        UserError: it is not installed there.
    """
    own = REPOSITORY / ENVIRONMENT / "bin" / "python"
    python = python or os.environ.get(PYTHON_VARIABLE)
    python = python or str(own if own.exists() else sys.executable)
    versions = ask(python, "versions")
    if "lmms-eval" not in versions:
        raise UserError(
            f"lmms-eval is not installed for {python}: {INSTALL}; or name the Python of another"
            f" environment as --python or in {PYTHON_VARIABLE}"
        )
    return python, versions


def run(
    python: str,
    kind: LmmsClass,
    checkpoint: Path,
    tasks: Sequence[str],
    seen: Seen,
    device: str,
    **settings: Any,
) -> dict[str, Any]:
    """Run some of lmms-eval's tasks.

    Args:
        device: cpu, or cuda:<index>.
        settings: `limit`, questions of a task; `include_path`, a folder of one's own tasks;
            `gen_kwargs`, what replaces a task's own, as text. Each may be None.

    Returns:
        {"results": {task: {"<metric>,<filter>": value, "<metric>_stderr,<filter>": ...}}, "sizes":
        {task: {"original", "effective"}}, "samples": {task: [{"doc_id", "target", "filtered_resps",
        metric: what lmms-eval keeps of a question, ...}]}}

    Raises:
        UserError: it failed.
    """
    arguments = {
        "pretrained": checkpoint,
        "device": device,
        "device_map": device,
        "batch_size": 1,  # Its Qwen classes cut only the first video of a batch to its frames.
        kind.frames: seen.frames,
    }
    if kind.fps_argument:
        arguments[kind.fps_argument] = seen.fps
    if seen.max_pixels:
        arguments["max_pixels"] = seen.max_pixels
        arguments["min_pixels"] = min(MIN_PIXELS, seen.max_pixels)
    return ask(
        python,
        "evaluate",
        model=kind.name,
        model_args=arguments,
        force_simple=kind.force_simple,
        tasks=tasks,
        fps=seen.fps,
        frames=seen.frames,
        **settings,
    )


def ask(python: str, command: str, **arguments: Any) -> Any:
    """What the launcher answers in another environment. Whatever else it prints, lmms-eval's bars
    and the traceback of a failure among it, goes to standard error.

    Raises:
        UserError: lmms-eval failed, or there is no such Python.
    """
    # -P: neither this folder nor the working directory may hide a library (`evaluate` is one).
    line = [python, "-P", str(LAUNCHER), json.dumps({command: arguments}, default=str)]
    pipe = subprocess.PIPE  # The one to its standard input ends it when this process is gone.
    try:
        with subprocess.Popen(line, stdin=pipe, stdout=pipe, env=environment()) as process:
            assert process.stdout is not None
            text = process.stdout.read()
    except OSError as error:
        raise UserError(f"{python}: no Python that runs ({error.strerror})") from None
    try:
        answer = json.loads(text)
    except ValueError:
        raise UserError(
            f"{python}: lmms-eval ended without an answer, with code {process.returncode}"
        ) from None
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["answer"]


def environment() -> dict[str, str]:
    """This process's variables, without what would lead another Python to this one's modules."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return {
        "HF_HOME": os.path.expanduser(f"{cache}/huggingface"),  # Some tasks insist on it.
        "FORCE_QWENVL_VIDEO_READER": "decord",
        "LOGURU_LEVEL": "WARNING",  # lmms-eval logs a line for each task that it has.
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    }
