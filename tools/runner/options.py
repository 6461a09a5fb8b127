"""How to run steps: the arguments of every script that does."""

import re
from argparse import ArgumentTypeError
from dataclasses import MISSING, dataclass
from pathlib import Path

from tools.cli import DATA_ROOT_FLAG, amount, positive, setting
from tools.errors import UserError
from tools.store.dataset import DATA_ROOT


def ray_cluster(text: str) -> str:
    """An argparse type: auto, local, or host:port."""
    if text in ("auto", "local") or re.fullmatch(r"[^/\s]+:\d{1,5}", text):
        return text
    raise ArgumentTypeError(f"{text!r} is not auto, local or host:port")


@dataclass(frozen=True)
class Options:
    """See the help of each field.

    Raises:
        UserError: a flag needs another one.
    """

    world_size: int = setting(
        MISSING,
        "number of worker processes; worker r computes on GPU r modulo the number of GPUs, or on"
        " the CPU",
        type=positive,
    )
    device: str = setting(
        "auto",
        "where models compute (default auto: on GPUs if torch can use one, else on the CPU)",
        choices=["auto", "cpu", "cuda"],
        group="running",
    )
    threads: int = setting(
        1,
        "CPU threads a worker may use (default 1: use world_size to fill the machine)",
        type=positive,
    )
    limit: int | None = setting(
        None,
        "process only the first N videos in the order of their ids, of each shard where there are"
        " shards (default: all)",
        type=positive,
    )
    retry_failed: bool = setting(
        False,
        "try the videos that failed in earlier runs again (default: leave them failed, except those"
        " whose worker died)",
    )
    redo: str | None = setting(
        None,
        "delete the output of STEP and of all later steps, then run (default: keep what is done)",
        metavar="STEP",
    )
    ray: str | None = setting(
        None,
        "run the workers on a Ray cluster: auto (the one that this machine belongs to), the address"
        " host:port of its head, or local (start one on this machine for this run, to try it);"
        " docs/cluster.md (default: processes of this machine)",
        type=ray_cluster,
        metavar="CLUSTER",
    )
    gpus_per_worker: float | None = setting(
        None,
        "with --ray, GPUs that are set aside for a worker where models compute on GPUs: a share,"
        " such as 0.5, or a whole number (default 1)",
        type=amount,
        metavar="X",
    )
    data_root: Path = setting(DATA_ROOT, **DATA_ROOT_FLAG)

    def __post_init__(self) -> None:
        share = self.gpus_per_worker
        if share and not self.ray:
            raise UserError("--gpus_per_worker is for --ray: here, worker r computes on GPU r")
        if share and share > 1 and share % 1:
            raise UserError(f"--gpus_per_worker {share:g}: give a share below 1 or a whole number")
