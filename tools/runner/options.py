"""How to run steps: the arguments of every script that does."""

from dataclasses import MISSING, dataclass
from pathlib import Path

from tools.cli import DATA_ROOT_FLAG, positive, setting
from tools.store.dataset import DATA_ROOT


@dataclass(frozen=True)
class Options:
    """See the help of each field."""

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
        "process only the first N videos in the order of their ids (default: all)",
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
    data_root: Path = setting(DATA_ROOT, **DATA_ROOT_FLAG)
