"""The GPUs of this machine, and the one device of a script that runs no steps."""

import argparse
import subprocess
import sys
from pathlib import Path

from tools.errors import UserError


def has_gpu_driver() -> bool:
    """Whether the kernel drives a GPU here, whatever torch can do with it."""
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def count_gpus() -> int:
    """How many GPUs torch can use, counted in a process of its own: importing torch costs seconds
    and memory."""
    if not has_gpu_driver():
        return 0
    question = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    return int(answer.stdout or 0)


def add_device_flag(parser: argparse.ArgumentParser) -> None:
    """Add --device, for `device_of`."""
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default="auto",
        help="where the model computes (default auto: a GPU if torch can use one, else the CPU)",
    )


def device_of(device: str) -> str:
    """The one device to compute on, as a captioner takes it; a UserError where there is no GPU for
    cuda."""
    gpus = count_gpus() if device != "cpu" else 0
    if device == "cuda" and not gpus:
        raise UserError("--device cuda: no GPU that torch can use is here; use --device cpu")
    return "cuda:0" if gpus else "cpu"
