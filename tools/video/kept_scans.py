"""Which scans stay: of a million videos they take terabytes, and cost a scan each to make again."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.cli import setting
from tools.store.dataset import Dataset
from tools.store.jsonl import Table


@dataclass(frozen=True)
class KeptScans:
    """See the help of its field."""

    keep_scans: str = setting(
        "all",
        "which scans are left on disk, about 2 MB a minute of video: all; kept: only of the videos"
        " that are not filtered; none: only of those that have no captions yet (default: all)",
        choices=["all", "kept", "none"],
        group="disk",
    )

    def delete_others(
        self, dataset: Dataset, finished: Sequence[Table], captions: Table | None = None
    ) -> None:
        """Delete the scans that do not stay.

        Args:
            finished: the tables whose filtered videos need no scan any more.
            captions: the table whose videos have captions.
        """
        if self.keep_scans == "all":
            return
        done = [Table(table.filtered_path) for table in finished]
        if captions and self.keep_scans == "none":
            done.append(captions)
        for table in done:
            for record in table.read():
                dataset.scan_path(record["video_id"]).unlink(missing_ok=True)
