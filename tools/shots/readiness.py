"""Which data sets, or shards of one, a later stage can read."""

from collections.abc import Callable, Sequence

from tools.errors import UserError
from tools.runner.counts import remembered
from tools.store.dataset import Dataset


def ready_shards(
    shards: Sequence[Dataset], is_ready: Callable[[Dataset], bool], lack: str, *, named: bool
) -> list[Dataset]:
    """Those that a stage can read, and those with no video for it; prints how many others there
    are.

    Args:
        shards: those of one dataset, or a dataset without shards.
        lack: what the others have not, after "have no".
        named: the user has named these shards.

    Raises:
        UserError: some that were named cannot be read yet.
    """
    ready = [shard for shard in shards if is_ready(shard) or keeps_no_video(shard)]
    lacking = [shard.shard for shard in shards if shard not in ready]
    if ready and lacking:
        line = f"{len(lacking)} shards of {ready[0].name} have no {lack}, such as {lacking[0]}"
        if named:
            raise UserError(f"{line}: leave them out of --shards, or finish them first")
        print(f"note: {line}")
    return ready


def keeps_no_video(dataset: Dataset) -> bool:
    """Whether stage 1 is done, and each video is filtered or has failed."""
    from tools.shots.settings import Settings
    from tools.shots.steps import STEPS  # takes long to import

    init = dataset.table("init")
    steps = [step(dataset, Settings()) for step in STEPS]
    tables = [(init, (init,)), *((step.reads, step.writes) for step in steps)]
    counts = [remembered(reads, writes) for reads, writes in tables]
    return any(known is not None and not known.done for known in counts)
