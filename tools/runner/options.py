"""How a script was asked to run its steps: the flags of every script that runs steps."""

from dataclasses import dataclass

from tools.cli import positive, setting


@dataclass(frozen=True)
class Options:
    """How to run steps; `world_size` is the number of worker processes."""

    world_size: int = 1
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
