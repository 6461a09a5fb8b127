"""What this machine trains with: ms-swift and its packages, GPUs or the CPU, processes."""

import subprocess
from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from importlib.metadata import distributions
from typing import Any

from tools.cli import positive
from tools.errors import UserError

PACKAGES = (
    "ms-swift transformers torch trl peft deepspeed flash-attn qwen-vl-utils decord torchcodec"
)


def number(settings: Mapping[str, str], name: str, read: Callable[[str], Any] = positive) -> Any:
    """A setting that is a number, read as a type of tools.cli; raises UserError if it is not."""
    try:
        return read(settings[name])
    except ArgumentTypeError as error:
        raise UserError(f"{name}: {error}") from None


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a training depends on, where they are installed."""
    return {
        name: package.version for name in PACKAGES.split() for package in distributions(name=name)
    }


def tuner_flag(versions: Mapping[str, str], ld_alpha: str | None) -> str:
    """What this version of swift calls the flag for LoRA; raises UserError if swift is missing, is
    too old or too new, or cannot read videos."""
    swift = versions.get("ms-swift")
    if not swift:
        raise UserError(
            "swift is not installed: pip install -r requirements.txt, or put its folder on PATH"
        )
    version = tuple(map(int, swift.split(".")[:2]))
    if not (3, 7) <= version < (5, 0):
        raise UserError(
            f"ms-swift {swift} is not supported: install 3.7 or later, or 4"
            " (pip install -r requirements.txt)"
        )
    if ld_alpha and version < (3, 8):
        raise UserError(f"LD_ALPHA needs ms-swift 3.8 or later, here is {swift}")
    if "decord" not in versions and "torchcodec" not in versions:
        raise UserError("swift has no reader of videos: pip install decord")
    return "--train_type" if version < (4, 0) else "--tuner_type"


def visible_gpus(environment: Mapping[str, str]) -> int:
    """How many GPUs swift would see."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, encoding="utf-8").stdout
    except FileNotFoundError:
        return 0
    installed = sum(line.startswith("GPU") for line in listed.splitlines())
    if "CUDA_VISIBLE_DEVICES" not in environment:
        return installed
    names = environment["CUDA_VISIBLE_DEVICES"].split(",")
    return min(installed, sum(name.strip() not in ("", "-1") for name in names))


def choose_devices(env: dict[str, str], versions: Mapping[str, str], dry_run: bool) -> list[str]:
    """Add to the environment what its DEVICE needs; returns what there is to say about it. Raises
    UserError if DEVICE is wrong, there is no GPU, or NPROC_PER_NODE is not their number."""
    if env["DEVICE"] == "cpu":
        return ["training on the CPU, without DeepSpeed and flash-attention"]
    if env["DEVICE"] != "cuda":
        raise UserError(f"DEVICE={env['DEVICE']}: auto, cuda or cpu")
    if dry_run and "DRY_RUN_GPUS" in env:  # another machine is meant
        env["NPROC_PER_NODE"] = str(number(env, "DRY_RUN_GPUS"))
        gpus = 0
    else:
        gpus = visible_gpus(env)
    processes = env.setdefault("NPROC_PER_NODE", str(gpus or 1))
    if not gpus and not dry_run:
        raise UserError("no GPU is visible: DEVICE=cpu trains without one")
    if not gpus:
        return [
            f"commands of a machine with {processes} GPUs (DRY_RUN_GPUS names another number),"
            " DeepSpeed and flash-attention"
        ]
    if processes != str(gpus):
        raise UserError(
            f"NPROC_PER_NODE={processes}, and {gpus} GPUs are visible: one process trains on each"
            " GPU; name the GPUs to use in CUDA_VISIBLE_DEVICES"
        )
    remarks = []
    if "deepspeed" not in versions and "DEEPSPEED" not in env:
        env["DEEPSPEED"] = ""
        remarks.append("DeepSpeed is not installed: training without ZeRO-2")
    if "flash-attn" not in versions and "ATTN_IMPL" not in env:
        env["ATTN_IMPL"] = "sdpa"
        remarks.append("flash-attn is not installed: attention by PyTorch (sdpa)")
    return remarks
