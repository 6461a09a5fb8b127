"""Where the lines of a table are in its files: to read some of them, and to merge all of them."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from tools.errors import UserError
from tools.store.files import replace_atomically

BLOCK_LINES = 256  # that are read at once to be merged
# Of lines that a merge holds in memory until it is their turn; more go to a scratch file, sorted.
WAITING_BYTES = 1 << 25
# A place is one integer, the number of a file and a byte offset in it: of a million records that
# is 30 MB, where a tuple of both takes 130.
OFFSET_BITS = 48


@dataclass
class Index:
    """What a table holds; a record that is there twice counts once."""

    files: list[Path] = field(default_factory=list)
    # video_id -> (position of its file in `files`) << OFFSET_BITS | byte offset of its line, rising
    # from each record to the next
    places: dict[str, int] = field(default_factory=dict)
    # video_id -> reason, of the records that the method rejected
    filtered: dict[str, str] = field(default_factory=dict)
    # Whether the merged file alone holds everything once, sorted by video_id.
    in_order: bool = True

    def __contains__(self, video_id: object) -> bool:
        return video_id in self.places

    def __len__(self) -> int:
        return len(self.places)

    def kept(self) -> list[str]:
        """The ids that the next step takes, sorted."""
        return sorted(self.places.keys() - self.filtered.keys())

    def lines(self, video_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (video_id, line with its newline) for the given ids, in the given order.

        Raises:
            UserError: another run has merged the table since this index was made.
        """
        files: dict[int, IO[bytes]] = {}
        after = -1  # the place after the line that was read last
        with ExitStack() as stack:
            for video_id in video_ids:
                place = self.places[video_id]
                if place != after:
                    number, offset = divmod(place, 1 << OFFSET_BITS)
                    if number not in files:
                        files[number] = stack.enter_context(open(self.files[number], "rb"))
                    file = files[number]
                    file.seek(offset)
                line = file.readline()
                after = place + len(line)
                if video_id.encode() not in line:
                    raise UserError(
                        f"{file.name} has changed while it was being read: run the same"
                        " command again"
                    )
                yield video_id, line if line.endswith(b"\n") else line + b"\n"

    def write(self, path: Path, video_ids: Collection[str]) -> None:
        """Write the lines of the given ids to a file, sorted by video_id, atomically.

        Each file is read from its start to its end, since a network disk takes a millisecond for a
        seek. Runs hand records out in the order of their ids, so that few lines have to wait for
        their turn; of a table in any other order, WAITING_BYTES at a time are sorted into scratch
        files, and these are merged.
        """
        order = sorted(video_ids)
        in_files: dict[int, list[str]] = defaultdict(list)
        for video_id, place in self.places.items():
            if video_id in video_ids:
                in_files[place >> OFFSET_BITS].append(video_id)
        lines = merge(*map(self.lines, in_files.values()), key=itemgetter(0))
        waiting: list[tuple[str, bytes]] = []
        runs: list[Iterable[tuple[str, bytes]]] = []
        turn = 0
        with replace_atomically(path) as out:
            # Twice as many each time that none has its turn: so a line is sorted a few times only.
            while block := list(islice(lines, BLOCK_LINES + len(waiting))):
                waiting = sorted(waiting + block)
                # From the first line that is missing on, no other is where `order` has it.
                ready = bisect_left(
                    range(len(waiting)), True, key=lambda n: waiting[n][0] != order[turn + n]
                )
                out.write(b"".join(line for _, line in waiting[:ready]))
                waiting, turn = waiting[ready:], turn + ready
                if sum(len(line) for _, line in waiting) > WAITING_BYTES:
                    runs.append(_scratch_run(waiting, path.parent))
                    waiting = []
            out.writelines(line for _, line in merge(waiting, *runs, key=itemgetter(0)))


def _scratch_run(lines: list[tuple[str, bytes]], folder: Path) -> Iterable[tuple[str, bytes]]:
    """Put sorted lines into a scratch file, which goes with the result: (video_id, line)."""
    scratch = TemporaryFile(dir=folder)  # noqa: SIM115
    scratch.writelines(line for _, line in lines)
    scratch.seek(0)
    return zip([video_id for video_id, _ in lines], scratch, strict=True)
