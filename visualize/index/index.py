"""The index of a dataset: what a viewer asks about a million pairs, in Parquet files.

    python -m visualize.index mine       # make it before anybody opens the viewer

One segment a JSONL file (`visualize.index.segments`), and from them the tables of
`visualize.index.summary`.
Files are never changed once written; `index.json` names those that count and is replaced when all
are there, so that any number of viewers can read while one is renewing. All of it lies in this
user's cache: the data may be read-only.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

import pyarrow.parquet as pq

from tools.cli import add_data_root, add_dataset, run_script, script_parser
from tools.errors import UserError
from tools.pairs.perturbation import CLEAN, Config
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import disk_errors_in_one_line, read_json, write_json
from tools.store.jsonl import FailureList, Table
from tools.store.locks import locked
from visualize.cache import cache_folder, digest
from visualize.index.segments import Job, Made, chosen_lines, write_segment
from visualize.index.summary import SUMMARIES, Part, summarise

# Goes up when the segments or the summaries come to hold something else.
INDEX_VERSION = 1
# Bytes of new lines from which on the work is shared among processes.
POOL_BYTES = 50_000_000
# Each process holds the responses to the clean order.
MAX_WORKERS = 2
# The tables of stage 1, and those of them that say something about a video that no other does.
STAGE_ONE = (
    *("init", "scene", "filter_scene", "similarity", "group", "filter_group", "extract_frame"),
    "videos",
)
VIDEO_TABLES = ("init", "scene", "filter_scene", "filter_group", "videos")


@dataclass(frozen=True)
class Source:
    """A table that is indexed: of a run's responses, with its config, or of annotations."""

    table: Table
    model: str = ""
    iteration: int = 0
    config: Config | None = None

    def files(self) -> list[Path]:
        """The files behind it, the merged one first."""
        return [path for path in (self.table.path, *self.table.parts()) if path.exists()]

    @property
    def is_perturbed(self) -> bool:
        """Whether it holds rejected sides."""
        return self.config not in (None, CLEAN)


def sources(dataset: Dataset) -> Iterator[Source]:
    """The tables that are indexed; configs that are none of the method's are passed over."""
    for name in VIDEO_TABLES:
        yield Source(dataset.videos() if name == "videos" else dataset.table(name))
    for model in dataset.caption_models():
        yield Source(dataset.table(f"clip_captions_{model}"), model)
    for model, iteration in dataset.response_runs():
        for name in dataset.response_configs(model, iteration):
            try:
                config = Config.parse(name)
            except UserError:
                continue
            yield Source(dataset.responses(model, name, iteration), model, iteration, config)


@dataclass
class Segment:
    """What index.json knows of one JSONL file.

    Attributes:
        table: the file's table, as a path relative to the dataset's folder.
        model, iteration, config: of responses, whose and which; config is "" of annotations.
        identity: the file's inode, size and time of change when it was read.
        consumed: up to which byte it has been read; less than its size if its end is torn.
        rows, bad, first_bad: see `visualize.index.segments.Made`.
        file: the segment's name.
    """

    table: str
    model: str
    iteration: int
    config: str
    identity: list[int]
    consumed: int
    rows: int
    bad: int
    first_bad: str
    file: str


@dataclass
class State:
    """index.json.

    Attributes:
        segments: by the JSONL file's path, relative to the dataset's folder, those of a table in
            the order in which its files count.
        failures: the identities of the lists of failures.
        spare: the segments of the generation before, which somebody may still be reading.
    """

    version: int = INDEX_VERSION
    generation: int = 0
    segments: dict[str, Segment] = field(default_factory=dict)
    failures: dict[str, list[int]] = field(default_factory=dict)
    spare: list[str] = field(default_factory=list)


@dataclass
class Survey:
    """What is there now.

    Attributes:
        files: path relative to the dataset's folder -> its source and identity, in the order in
            which a table's files count.
        failures: as in `State`.
    """

    files: dict[str, tuple[Source, list[int]]]
    failures: dict[str, list[int]]

    def changed(self, state: State) -> list[str]:
        """The files that an index knows nothing or something else about."""
        known = state.segments
        return [
            name
            for name, (_, identity) in self.files.items()
            if name not in known or known[name].identity != identity
        ]

    def is_fresh(self, state: State) -> bool:
        """Whether an index says what is there now."""
        gone = state.segments.keys() - self.files.keys()
        return not gone and not self.changed(state) and self.failures == state.failures


def survey(dataset: Dataset) -> Survey:
    """Look at the files of a dataset, without reading any."""
    files: dict[str, tuple[Source, list[int]]] = {}
    failures: dict[str, list[int]] = {}
    stage_one = [dataset.table(name) for name in STAGE_ONE]
    there = list(sources(dataset))
    for source in there:
        for path in source.files():
            if identity := _identity(path):
                files[str(path.relative_to(dataset.root))] = source, identity
    for table in [*stage_one, *(source.table for source in there)]:
        if identity := _identity(table.failed.path):
            failures[str(table.failed.path.relative_to(dataset.root))] = identity
    return Survey(files, failures)


def _identity(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:  # Never there, or merged away at this moment.
        return None
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns]


class DatasetIndex:
    """The index of one dataset, in this user's cache."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.folder = cache_folder() / f"{dataset.name}-{digest(dataset.root.resolve())}"

    def state(self) -> State | None:
        """What stands now; None where there is no index, a part of one, or one of another
        version."""
        found = read_json(self.folder / "index.json")
        if not found or found["version"] != INDEX_VERSION:
            return None
        segments = {name: Segment(**one) for name, one in found["segments"].items()}
        state = State(**{**found, "segments": segments})
        there = {path.name for path in self.folder.glob("*.parquet")}
        wanted = {one.file for one in segments.values()}
        wanted |= {self.summary(name, state).name for name in SUMMARIES}
        return state if wanted <= there else None

    def summary(self, name: str, state: State) -> Path:
        """One of `visualize.index.summary.SUMMARIES`."""
        return self.folder / f"{name}-{state.generation}.parquet"

    def is_fresh(self) -> bool:
        """Whether the index says what is there now."""
        state = self.state()
        return state is not None and survey(self.dataset).is_fresh(state)

    def bytes_left(self) -> int:
        """How many bytes the files hold that a renewal would look into."""
        now = survey(self.dataset)
        return sum(now.files[name][1][1] for name in now.changed(self.state() or State()))

    @property
    def share(self) -> float:
        """How much of a renewal under way is done, 0 to 1, in whatever process it is."""
        return read_json(self.folder / "progress.json") or 0.0

    def renew(self) -> State:
        """Bring the index up to date, and return what stands then.

        Raises:
            StorageError: the cache cannot be written to.
            CorruptLine: a list of failures holds a line that is no record.
        """
        with locked(self.folder / ".lock"), disk_errors_in_one_line(self.folder):
            known = self.state() or State()
            now = survey(self.dataset)
            if known.generation and now.is_fresh(known):
                return known
            renewal = _Renewal(self, known, now)
            renewal.run(lambda share: write_json(self.folder / "progress.json", share))
            state = renewal.state
            summarise(
                self.parts(state),
                [FailureList(self.dataset.root / name) for name in now.failures],
                {name: self.summary(name, state) for name in SUMMARIES},
            )
            write_json(self.folder / "index.json", asdict(state))
            (self.folder / "progress.json").unlink(missing_ok=True)
            self._sweep(state)
            return state

    def parts(self, state: State) -> list[Part]:
        """All segments, for questions."""
        return [
            Part(self.folder / one.file, name, one.table, one.model, one.iteration, one.config)
            for name, one in state.segments.items()
        ]

    def _sweep(self, state: State) -> None:
        """Remove what neither this index nor the one before it names."""
        named = {one.file for one in state.segments.values()} | set(state.spare)
        for generation in (state.generation, state.generation - 1):
            named |= {f"{name}-{generation}.parquet" for name in SUMMARIES}
        for path in self.folder.glob("*.parquet"):
            if path.name not in named:
                path.unlink(missing_ok=True)


class _Renewal:
    """One renewal of an index's segments."""

    def __init__(self, index: DatasetIndex, known: State, now: Survey) -> None:
        self._folder, self._root = index.folder, index.dataset.root
        self._known, self._now = known, now
        self.state = State(
            generation=known.generation + 1,
            failures=now.failures,
            spare=[one.file for one in known.segments.values()],
        )

    def run(self, progress: Callable[[float], None]) -> None:
        """Read what has changed."""
        changed = self._now.changed(self._known)
        self.state.segments = {
            name: one
            for name, one in self._known.segments.items()
            if name in self._now.files and name not in changed
        }
        # Responses to the clean order come first: the others are compared with them.
        first = [name for name in changed if not self._now.files[name][0].is_perturbed]
        total = sum(self._now.files[name][1][1] for name in changed) or 1
        done = 0
        for phase in (lambda: [self._job(name) for name in first], self._comparisons):
            for job, made in _work_off(phase()):
                name = self._name(job.path)
                source, identity = self._now.files[name]
                self.state.segments[name] = Segment(
                    table=self._name(source.table.path),
                    model=source.model,
                    iteration=source.iteration,
                    config=source.config.name if source.config else "",
                    identity=identity,
                    **asdict(made),
                    file=job.segment.name,
                )
                done += job.end - job.start
                # Summing up takes a few seconds more.
                progress(0.95 * min(1.0, done / total))
        self.state.segments = {name: self.state.segments[name] for name in self._now.files}

    def _comparisons(self) -> list[Job]:
        """The perturbed responses to read: what has changed, and what has been compared with other
        chosen responses than there are now."""
        jobs = []
        lines: dict[tuple[Path, ...], dict[str, int]] = {}
        for name, (source, _) in self._now.files.items():
            if not source.is_perturbed:
                continue
            chosen = self._chosen(source)
            before = self._known.segments.get(name)
            renewed = any(path.name not in self.state.spare for path in chosen)
            if renewed and before:
                now = lines.setdefault(chosen, chosen_lines(chosen))
                table = pq.read_table(
                    self._folder / before.file, columns=["video_id", "chosen_crc"]
                )
                pairs = zip(*table.to_pydict().values(), strict=True)
                renewed = any(now.get(video_id) != crc for video_id, crc in pairs)
            if name not in self.state.segments or renewed:
                jobs.append(self._job(name, chosen, again=renewed))
        return jobs

    def _chosen(self, source: Source) -> tuple[Path, ...]:
        """The segments of the responses to the clean order that belong to a run's others."""
        run = (source.model, source.iteration)
        return tuple(
            self._folder / self.state.segments[name].file
            for name, (other, _) in self._now.files.items()
            if other.config == CLEAN and (other.model, other.iteration) == run
        )

    def _job(self, name: str, chosen: tuple[Path, ...] = (), again: bool = False) -> Job:
        """The reading of a file, from its start if `again`."""
        source, (inode, size, _) = self._now.files[name]
        path = self._root / name
        merged = path == source.table.path
        before = self._known.segments.get(name)
        # A part only grows; a merged file is written anew.
        if merged or again or not (before and before.identity[0] == inode):
            before = None
        if before and before.consumed > size:
            before = None
        table = self._name(source.table.path)
        beside = [one.file for one in self._known.segments.values() if one.table == table]
        return Job(
            path=path,
            merged=merged,
            segment=self._folder / f"{digest(name)}-{self.state.generation}.parquet",
            start=before.consumed if before else 0,
            end=size,
            own=self._folder / before.file if before else None,
            known=() if before else tuple(self._folder / file for file in beside),
            model=source.model,
            config=source.config,
            chosen=chosen,
        )

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _work_off(jobs: list[Job]) -> Iterator[tuple[Job, Made]]:
    """Yield each job with what came of it, the largest first, in this process or in several."""
    jobs.sort(key=lambda job: job.start - job.end)
    if sum(job.end - job.start for job in jobs) < POOL_BYTES:
        yield from ((job, write_segment(job)) for job in jobs)
        return
    with ProcessPoolExecutor(MAX_WORKERS, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(write_segment, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


def main(argv: Sequence[str] | None = None) -> None:
    """Make or renew the index of one dataset."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_data_root(parser)
    args = parser.parse_args(argv)
    index = DatasetIndex(open_dataset(args.dataset, args.data_root))
    state = index.renew()
    rows = sum(one.rows for one in state.segments.values())
    print(f"{index.folder}: {rows} records of {len(state.segments)} files")


if __name__ == "__main__":
    run_script(main)
