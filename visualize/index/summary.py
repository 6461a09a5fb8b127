"""From the segments of a dataset to three tables that answer a viewer's questions at once.

`pairs`: one row a pair, ordered by run, video and config; its place is its `id`. `videos`: one row
a video and what became of it in stage 1. `failures`: the lists of failures of all steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tools.pairs.perturbation import CLEAN, NOISES, Config
from tools.store.jsonl import FailureList

SUMMARIES = ("pairs", "videos", "failures")
# What DuckDB may hold in memory, and its threads.
MEMORY_LIMIT, THREADS = "400MB", 2

PAIR_COLUMNS = (
    *("video_id", "reason", "chosen_length", "rejected_length", "similarity", "clips", "told"),
    "same_order",
)


@dataclass(frozen=True)
class Part:
    """A segment: of which file, of which table (paths relative to the dataset's folder), and, of
    responses, of which run and config."""

    segment: Path
    file: str
    table: str
    model: str
    iteration: int
    config: str

    @property
    def is_perturbed(self) -> bool:
        """Whether it holds rejected sides."""
        return self.config not in ("", CLEAN.name)


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, to ask questions to Parquet files."""
    return duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": THREADS})


def quoted(value: object) -> str:
    """A value as SQL spells it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        text = str(value).replace("'", "''")
        return f"'{text}'"
    return str(value)


def files(paths: Iterable[Path]) -> str:
    """Parquet files as SQL spells them."""
    return f"read_parquet([{', '.join(quoted(path) for path in paths)}])"


def summarise(
    parts: Sequence[Part], failures: Sequence[FailureList], out: Mapping[str, Path]
) -> None:
    """Write the tables of SUMMARIES.

    Raises:
        CorruptLine: a list of failures holds a line that is no record.
    """
    with connect() as database:
        tables = {"pairs": _pairs(parts), "failures": "select * from failed"}
        failed = _failures(failures)
        database.register("failed", failed)
        tables["videos"] = _videos(parts)
        for name in SUMMARIES:
            database.execute(
                f"copy ({tables[name]}) to {quoted(out[name])}"
                " (format parquet, compression lz4_raw, row_group_size 32768)"
            )


def _failures(lists: Sequence[FailureList]) -> pa.Table:
    rows = [
        {"list": one.path.name, **{key: row.get(key) for key in ("video_id", "step", "error")}}
        for one in lists
        for row in one.read().values()
    ]
    schema = pa.schema([(name, pa.string()) for name in ("list", "video_id", "step", "error")])
    return pa.Table.from_pylist(rows, schema=schema)


def once(parts: Sequence[Part], columns: str) -> str:
    """The records of one table: of those that several of its files hold, the first one's."""
    if len(parts) == 1:
        return f"select {columns} from {files([parts[0].segment])}"
    every = " union all ".join(
        f"select {columns}, {place} as place from {files([part.segment])}"
        for place, part in enumerate(parts)
    )
    return (
        f"select * exclude (place) from ({every})"
        " qualify row_number() over (partition by video_id order by place) = 1"
    )


def by_table(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts of each table."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.table, []).append(part)
    return found


def _pairs(parts: Sequence[Part]) -> str:
    columns = ", ".join(PAIR_COLUMNS)
    selects = []
    for group in by_table(part for part in parts if part.is_perturbed).values():
        one = group[0]
        config = Config.parse(one.config)
        selects.append(
            f"select {quoted(one.model)} as model, {one.iteration}::int as iteration,"
            f" {quoted(one.config)} as config, {quoted(config.noise)} as noise,"
            f" {config.magnitude}::int as magnitude, {NOISES.index(config.noise)} as kind, *"
            f" from ({once(group, columns)})"
        )
    if not selects:
        nothing = (
            "''::varchar as model, 0 as iteration, '' as config, '' as noise, 0 as magnitude,"
            " 0 as kind, '' as video_id, '' as reason, 0 as chosen_length, 0 as rejected_length,"
            " 0::float as similarity, 0 as clips, 0 as told, 0::bigint as same_order"
        )
        selects.append(f"select * from (select {nothing}) where false")
    # As convert counts duplicates: of good pairs with the same order the hardest one is the first.
    return f"""
        select (row_number() over (order by model, iteration, video_id, magnitude desc, kind,
                                            config) - 1)::int as id,
               * exclude (kind, same_order),
               (reason = '' and same_order <> 0 and row_number() over (
                   partition by model, iteration, video_id, same_order, reason = ''
                   order by magnitude, kind, config) > 1) as duplicate,
               chosen_length / greatest(rejected_length, 1) as ratio,
               md5_number_lower(video_id || config) as dice
        from ({" union all ".join(selects)})
        order by id
    """


def _videos(parts: Sequence[Part]) -> str:
    columns = "video_id, name, filtered, reason, shots, clip_seconds"
    # finalize is the reference's name for videos.
    kept = ("anno/videos.jsonl", "anno/finalize.jsonl")
    tables = by_table(part for part in parts if not part.config and not part.model)
    selects = [
        f"select *, {quoted(Path(table).stem)} as step, {place} as depth,"
        f" {table in kept} as kept from ({once(group, columns)})"
        for place, (table, group) in enumerate(tables.items())
    ]
    if not selects:
        return (
            "select ''::varchar as video_id, '' as name, '' as status, '' as step, '' as reason,"
            " 0 as shots, null::float[] as clip_seconds where false"
        )
    # A failure counts while no later table holds the video.
    return f"""
        with records as ({" union all ".join(selects)}),
        last as (
            select video_id, arg_max(name, depth) as name, bool_or(filtered) as filtered,
                   arg_max(reason, depth) filter (reason is not null) as reason,
                   arg_max(step, depth) as step, max(shots) as shots,
                   any_value(clip_seconds) as clip_seconds, bool_or(kept) as kept
            from records group by video_id),
        mishap as (select video_id, any_value(step) as step, any_value(error) as error
                   from failed where list not like '%captions_%' and list not like 'caption_%'
                   group by video_id)
        select l.video_id, coalesce(l.name, l.video_id) as name,
               case when l.kept and not l.filtered then 'kept' when l.filtered then 'filtered'
                    when m.error is not null then 'failed' else 'unfinished' end as status,
               case when m.error is not null and not l.kept and not l.filtered then m.step
                    else l.step end as step,
               case when l.filtered then l.reason when l.kept then null else m.error end as reason,
               l.shots, l.clip_seconds
        from last l left join mishap m using (video_id)
        order by name
    """
