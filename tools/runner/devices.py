"""The GPUs of this machine."""

import subprocess
import sys
from pathlib import Path


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
