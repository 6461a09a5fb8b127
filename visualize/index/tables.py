"""The tables that answer the pages, from where lines lie and what is known of them.

`pairs`: one row a pair, ordered by run, video and config; its place is its `id`. `videos`: one row
a video and what became of it in stage 1. `failures`: the lists of failures of all steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import duckdb
import pyarrow as pa

from tools.pairs.perturbation import CLEAN, FINEST, NOISES, Config
from tools.store.jsonl import FailureList
from visualize.index.facts import KNOWN
from visualize.index.places import Source

# What DuckDB may hold in memory, and its threads.
MEMORY_LIMIT, THREADS = "400MB", 2
# A search reads all texts: it takes half the time if they are stored as they are.
AS_IT_IS = "format parquet, compression uncompressed, row_group_size 8192"


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory, to ask questions to Parquet files."""
    return duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "threads": THREADS})


def quoted(value: object) -> str:
    """A text as SQL spells it."""
    return "'" + str(value).replace("'", "''") + "'"


def files(paths: Iterable[Path]) -> str:
    """Parquet files as SQL spells them."""
    return f"read_parquet([{', '.join(quoted(path) for path in paths)}])"


def open_lines(
    database: duckdb.DuckDBPyConnection, sources: Sequence[Source], places: Path
) -> None:
    """Make the view `lines`: each line's table, place and key, and for a rejected response the
    place and key of the chosen one.

    A key is what a row of KNOWN is known by: 64 bits of a hash of the table's name, video_id, and
    the checksums of the line and of its chosen line.
    """
    rows = []
    for number, source in enumerate(sources):
        config = Config.parse(source.config or CLEAN.name)
        # Among which configs convert looks for duplicates: drops that choose clips in another way
        # never come with these, and the finest level only where asked for.
        rivals = f"{config.by_similarity} {config.by_group} {config.magnitude == FINEST}"
        rows.append(
            {
                "source": number,
                **asdict(source),
                "step": Path(source.table).stem,
                "noise": config.noise if source.config else None,
                "magnitude": config.magnitude,
                "kind": NOISES.index(config.noise),
                "rivals": rivals,
            }
        )
    database.register("sources", pa.Table.from_pylist(rows))
    key = "md5_number_lower(concat_ws('/', {0}.table, {0}.video_id, {1}))"
    database.execute(f"""
        create temp view placed as
            select * from {files([places])} join sources using (source);
        create temp view chosen as
            select model, iteration, video_id, file, start, size, checksum,
                   {key.format("placed", "checksum")} as key
            from placed where config = {quoted(CLEAN.name)};
        create temp view lines as
            select p.*, c.file as chosen_file, c.start as chosen_start,
                   c.size as chosen_size, c.key as chosen_key,
                   {key.format("p", "p.checksum, c.checksum")} as key
            from placed p left join chosen c
                on if(p.kind > 0, p.model, null) = c.model and p.iteration = c.iteration
                   and p.video_id = c.video_id
    """)


def open_known(database: duckdb.DuckDBPyConnection, known: Sequence[Path]) -> None:
    """Make the view `known`, all that is known of any line."""
    database.register("nothing", KNOWN.empty_table())
    database.execute(
        f"create or replace temp view known as from {files(known) if known else 'nothing'}"
    )


# Lines of which nothing is known yet, those with the same chosen response together: `noise` is null
# of a table that holds no responses, the last three where there is no chosen response.
TODO = """
    select key, model, noise, file, start, size, chosen_file, chosen_start, chosen_size
    from lines anti join known using (key)
    order by kind > 0, model, iteration, video_id, source
"""

# As convert counts duplicates: of good pairs with the same order the hardest one is the first.
PAIRS = """
    select (row_number() over (order by model, iteration, video_id, magnitude desc, kind,
                                        config) - 1)::int as id,
           model, iteration, config, noise, magnitude, video_id, key, chosen_key, reason,
           chosen_length, rejected_length, similarity, clips, clips_used,
           (reason = '' and same_order is not null and row_number() over (
               partition by model, iteration, video_id, rivals, same_order, reason = ''
               order by magnitude, kind, config) > 1) as duplicate,
           chosen_length / greatest(rejected_length, 1) as ratio,
           md5_number_lower(video_id || config) as dice
    from lines join known using (key) where kind > 0
    order by id
"""

# finalize is the reference's name for videos. A failure counts while no later table holds the
# video.
VIDEOS = """
    with last as (
        select video_id, arg_max(name, source) as name, bool_or(filtered) as filtered,
               arg_max(reason, source) filter (reason is not null) as reason,
               arg_max(step, source) as step, max(shots) as shots,
               any_value(clip_seconds) as clip_seconds,
               bool_or(step in ('videos', 'finalize')) as kept
        from lines join known using (key) where model = '' group by video_id),
    mishap as (
        select video_id, any_value(step) as step, any_value(error) as error from failed
        where list not like '%captions_%' and list not like 'caption_%' group by video_id)
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

SUMMARIES = {"pairs": PAIRS, "videos": VIDEOS, "failures": "from failed"}


def summarise(
    database: duckdb.DuckDBPyConnection, failures: Iterable[FailureList], out: Mapping[str, Path]
) -> None:
    """Write the tables of SUMMARIES.

    Raises:
        CorruptLine: a list of failures holds a line that is no record.
    """
    rows = [
        {"list": log.path.name, **{key: row.get(key) for key in ("video_id", "step", "error")}}
        for log in failures
        for row in log.read().values()
    ]
    schema = pa.schema([(name, pa.string()) for name in ("list", "video_id", "step", "error")])
    database.register("failed", pa.Table.from_pylist(rows, schema=schema))
    for name, query in SUMMARIES.items():
        database.execute(
            f"copy ({query}) to {quoted(out[name])}"
            " (format parquet, compression lz4_raw, row_group_size 32768)"
        )
