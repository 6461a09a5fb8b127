"""What the pages ask about a dataset: which pairs, in which order, how many, and single records.

All of it is asked of the index's Parquet files, so that a million pairs cost no memory; a selection
of pairs is an array of their ids.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa

from tools.errors import UserError
from tools.pairs.judgements import Judgement, Pair, latest, latest_by_judge
from tools.pairs.perturbation import CLEAN
from tools.store.dataset import Dataset
from tools.store.jsonl import Record, line_at
from visualize.index.index import DatasetIndex, IndexState
from visualize.index.places import Source
from visualize.index.tables import connect, files

# Orders in which to look at pairs, in words -> in SQL.
SORTS = {
    "video": "id",
    "most alike": "similarity desc nulls last, id",
    "least alike": "similarity nulls last, id",
    "highest ratio": "ratio desc nulls last, id",
    "lowest ratio": "ratio nulls last, id",
    "random": "dice, id",
}
# What a bar of a histogram can ask for, of pairs and of videos: key -> (words, SQL of a number).
PAIR_FIELDS = {
    "chosen_length": ("length of chosen, characters", "chosen_length"),
    "rejected_length": ("length of rejected, characters", "rejected_length"),
    "ratio": ("chosen / rejected", "ratio"),
    "similarity": ("similarity of the two texts", "similarity"),
}
VIDEO_FIELDS = {
    "shots": ("shots of the video", "shots"),
    "clip_seconds": ("length of a clip, seconds", "unnest(clip_seconds)"),
}
FIELDS = PAIR_FIELDS | VIDEO_FIELDS
# More than any length or ratio: the end of an outermost bar.
BEYOND = 1e12
PAIR = pa.schema(
    {"model": pa.string(), "iteration": pa.int32(), "config": pa.string(), "video_id": pa.string()}
)
# Conditions that must all hold: SQL -> the values of its question marks.
Conditions = dict[str, Sequence[Any]]
KEPT, DUPLICATE = "kept", "duplicate"
UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Filters:
    """Which pairs; an empty value asks for nothing.

    Attributes:
        runs: (model, iteration) pairs.
        outcome: KEPT, DUPLICATE or one of `tools.pairs.rules.REASONS`: the outcome of convert.
        text: stands in the chosen or the rejected text, upper and lower case alike.
        ratio: least and most of chosen / rejected length.
        between: (key of FIELDS, least, less than this).
        video_id: of one video alone.
        verdict: of the pair's latest judgement, or UNJUDGED.
        not_by: a judge who has not judged the pair yet.
    """

    runs: tuple[tuple[str, int], ...] = ()
    noises: tuple[str, ...] = ()
    magnitudes: tuple[int, ...] = ()
    outcome: str = ""
    text: str = ""
    ratio: tuple[float, float] | None = None
    between: tuple[str, float, float] | None = None
    video_id: str = ""
    verdict: str = ""
    not_by: str = ""
    sort: str = "video"


class View:
    """One state of a dataset's index, open for questions; threads may share it."""

    def __init__(self, index: DatasetIndex, state: IndexState) -> None:
        self.dataset: Dataset = index.dataset
        self.state = state
        self._pairs, self._videos, self._failures, self._places = (
            files([index.folder / state.file(name)])
            for name in ("pairs", "videos", "failures", "places")
        )
        self._known = files([index.folder / name for name in state.known])
        self._database = connect()
        self._lock = threading.Lock()

    def _ask(self, query: str, values: Sequence[Any] = (), **tables: pa.Table) -> pa.Table:
        with self._lock, self._database.cursor() as cursor:
            for name, table in tables.items():
                cursor.register(name, table)
            try:
                return cursor.execute(query, list(values)).to_arrow_table()
            except duckdb.IOException:
                raise UserError(
                    "the viewer's index is gone, perhaps because somebody emptied its cache: reload"
                    " the page in a moment, and the viewer makes it again"
                ) from None

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return self._ask(query, values).to_pylist()

    def notes(self) -> list[str]:
        """One line about each file that has lines that are no records."""
        return [
            f"{name}: {number} lines are no records and are left out; {first}"
            for name, (number, first) in self.state.bad.items()
        ]

    def runs(self) -> list[tuple[str, int, int]]:
        """(model, iteration, number of pairs)."""
        query = f"select model, iteration, count(*) n from {self._pairs} group by all order by all"
        return [tuple(row.values()) for row in self._rows(query)]

    def kinds(self) -> list[dict[str, Any]]:
        """Of the pairs of each run, noise and magnitude: how many were `made`, convert would keep
        and are duplicates among these, and `dropped`, reason -> how many."""
        rows = self._rows(
            "select model, iteration, noise, magnitude, count(*)::int made,"
            " count_if(reason = '')::int kept, count_if(duplicate)::int duplicates,"
            f" histogram(reason) filter (reason != '') dropped from {self._pairs}"
            " group by all order by model, iteration, noise, magnitude desc"
        )
        return [{**row, "dropped": dict(row["dropped"] or [])} for row in rows]

    def select(self, filters: Filters, judgements: Sequence[Judgement] = ()) -> np.ndarray:
        """The ids of the pairs that pass, in order, (n,) int32."""
        conditions = self._conditions(filters)
        tables, joins = {}, ""
        if text := filters.text.strip().lower():
            query = f"select key from {self._known} where contains(text, ?)"
            tables["hits"] = self._ask(query, [text])
            conditions["(key in (from hits) or chosen_key in (from hits))"] = []
        if filters.not_by:
            by_judge = latest_by_judge(judgements)
            tables["mine"] = _table(pair for name, pair in by_judge if name == filters.not_by)
            joins += " anti join mine using (model, iteration, config, video_id)"
        if filters.verdict:
            verdicts = {pair: last.verdict for pair, last in latest(judgements).items()}
            tables["judged"] = _table(
                pair for pair in verdicts if filters.verdict in (UNJUDGED, verdicts[pair])
            )
            how = "anti" if filters.verdict == UNJUDGED else "semi"
            joins += f" {how} join judged using (model, iteration, config, video_id)"
        where, values = _where(conditions)
        query = f"select id from {self._pairs}{joins} {where} order by {SORTS[filters.sort]}"
        return self._ask(query, values, **tables)["id"].to_numpy()

    def _conditions(self, filters: Filters) -> Conditions:
        conditions: Conditions = {}
        if filters.runs:
            runs = [f"{model} {iteration}" for model, iteration in filters.runs]
            conditions["list_contains(?, model || ' ' || iteration)"] = [runs]
        if filters.noises:
            conditions["list_contains(?, noise)"] = [list(filters.noises)]
        if filters.magnitudes:
            conditions["list_contains(?, magnitude)"] = [list(filters.magnitudes)]
        if filters.outcome == DUPLICATE:
            conditions["duplicate"] = []
        elif filters.outcome:
            conditions["reason = ?"] = ["" if filters.outcome == KEPT else filters.outcome]
        if filters.video_id:
            conditions["video_id = ?"] = [filters.video_id]
        if filters.ratio:
            conditions["ratio between ? and ?"] = filters.ratio
        if filters.between:
            field, *bounds = filters.between
            test = f"{FIELDS[field][1]} >= ? and {FIELDS[field][1]} < ?"
            if field in VIDEO_FIELDS:
                rows = f"select video_id, {FIELDS[field][1]} as x from {self._videos}"
                test = f"video_id in (select video_id from ({rows}) where x >= ? and x < ?)"
            conditions[test] = bounds
        return conditions

    def pairs(self, ids: Iterable[int]) -> list[dict[str, Any]]:
        """Rows of the table of pairs with the videos' names, in the order of the ids."""
        wanted = [int(number) for number in ids]
        if not wanted:
            return []
        rows = self._rows(
            f"select p.*, coalesce(v.name, p.video_id) as name from {self._pairs} p"
            f" left join (select video_id, name from {self._videos}) v using (video_id)"
            f" where id in ({', '.join(map(str, wanted))})"
        )
        by_id = {row["id"]: row for row in rows}
        return [by_id[number] for number in wanted]

    def find(self, pair: Pair) -> int | None:
        """The id of a pair; None if there is none."""
        rows = self._rows(
            f"select id from {self._pairs}"
            " where model = ? and iteration = ? and config = ? and video_id = ?",
            pair,
        )
        return rows[0]["id"] if rows else None

    def _records(
        self, video_ids: Iterable[str], wanted: Callable[[Source], bool]
    ) -> Iterator[Record]:
        """Yield these videos' records in the tables that are wanted, as they stand in their files
        now: those of the last table first, each file from its start to its end.

        Raises:
            UserError: a file has changed since it was indexed.
        """
        survey = self.state.survey
        numbers = [str(number) for number, source in enumerate(survey.sources) if wanted(source)]
        rows = self._rows(
            f"select video_id, file, start, size from {self._places}"
            f" where source in ({', '.join(numbers) or -1})"
            " and video_id in (select unnest(?::varchar[])) order by source desc, file, start",
            [list(video_ids)],
        )
        names = list(survey.files)
        for video_id, number, start, size in (row.values() for row in rows):
            try:
                line = line_at(self.dataset.root / names[number], start, size)
                record: Record = orjson.loads(line)
            except (FileNotFoundError, orjson.JSONDecodeError):
                record = {}
            if record.get("video_id") != video_id:
                raise UserError(
                    f"{names[number]} is being written again at this moment: reload the page soon"
                )
            yield record

    def _record(self, video_id: str, wanted: Callable[[Source], bool]) -> Record | None:
        """The record of the last table that is wanted and has one of that video, if any has."""
        return next(self._records([video_id], wanted), None)

    def responses(
        self, model: str, iteration: int, config: str, video_ids: Iterable[str]
    ) -> Iterator[Record]:
        """Yield the rows of stage 3 of one configuration, of those videos that have one."""
        run = model, iteration, config
        return self._records(video_ids, lambda s: (s.model, s.iteration, s.config) == run)

    def response(self, pair: Pair, *, chosen: bool) -> Record | None:
        """The row of one side of a pair."""
        config = CLEAN.name if chosen else pair.config
        return next(self.responses(pair.model, pair.iteration, config, [pair.video_id]), None)

    def video(self, video_id: str) -> Record | None:
        """What stage 1 knows of a video: the record of the last table that has it."""
        return self._record(video_id, lambda source: not source.model)

    def captions(self, model: str, video_id: str) -> list[str]:
        """The clip captions by a model; empty if there are none."""
        record = self._record(video_id, lambda s: s.model == model and not s.config)
        return record.get("clip_captions") or [] if record else []

    def videos(
        self, status: str = "", reason: str = "", text: str = "", video_id: str = ""
    ) -> list[dict[str, Any]]:
        """(video_id, name, status, step, reason, shots) of the videos that pass, by name; a
        thousand at most."""
        wanted = {"status": status, "reason": reason, "video_id": video_id}
        conditions: Conditions = {f"{name} = ?": [value] for name, value in wanted.items() if value}
        if text := text.strip().lower():
            test = "(contains(lower(name), ?) or contains(lower(video_id), ?))"
            conditions[test] = [text, text]
        where, values = _where(conditions)
        return self._rows(
            f"select * exclude (clip_seconds) from {self._videos} {where} order by name limit 1000",
            values,
        )

    def statuses(self) -> list[dict[str, Any]]:
        """How many videos have which status, for which reason."""
        return self._rows(
            f"select status, step, reason, count(*)::int as videos from {self._videos}"
            " group by all order by status, videos desc"
        )

    def failures(self, video_id: str) -> list[dict[str, Any]]:
        """(list, step, error) of a video's failures, in all steps."""
        return self._rows(f"select * from {self._failures} where video_id = ?", [video_id])

    def histogram(self, fields: Sequence[str], bins: int = 24) -> pa.Table:
        """(field, noise, magnitude, low, high, n, least, most) of PAIR_FIELDS of the pairs that
        convert keeps, in the same bins; the outermost hold what lies beyond the middle 99 %, so a
        bar's pairs have at least `least` and less than `most`."""
        rows = " union all ".join(
            f"select '{field}' as field, noise, magnitude, {PAIR_FIELDS[field][1]} as x"
            f" from {self._pairs} where reason = ''"
            for field in fields
        )
        return self._bars(rows, "field, noise, magnitude", bins, fields[0].endswith("length"))

    def video_histogram(self, field: str, bins: int = 24) -> pa.Table:
        """(field, low, high, n, least, most) of one of VIDEO_FIELDS of all videos; n are videos or
        clips."""
        rows = (
            f"select '{field}' as field, {VIDEO_FIELDS[field][1]} as x from {self._videos}"
            f" where {field} is not null"
        )
        return self._bars(rows, "field", bins, field == "shots")

    def _bars(self, rows: str, groups: str, bins: int, whole: bool) -> pa.Table:
        bounds = self._rows(
            "select quantile_disc(x, 0.005)::double as low,"
            f" quantile_disc(x, 0.995)::double as high from ({rows})"
        )[0]
        low, high = bounds["low"] or 0.0, bounds["high"] or 0.0
        width = _nice((high - low) / bins, whole)
        low = np.floor(low / width) * width
        last = max(0, int((high - low) // width))
        return self._ask(
            f"select {groups}, ? + bin * ? as low, ? + (bin + 1) * ? as high, count(*)::int as n,"
            f" if(bin = 0, 0, low) as least, if(bin = {last}, {BEYOND}, high) as most"
            f" from (select {groups}, least(greatest(floor((x - ?) / ?), 0), ?)::int as bin"
            f" from ({rows})) group by {groups}, bin order by all",
            [low, width, low, width, low, width, last],
        )


def _where(conditions: Conditions) -> tuple[str, list[Any]]:
    """The where clause, and the values of its question marks."""
    values = [value for values in conditions.values() for value in values]
    return f"where {' and '.join(['true', *conditions])}", values


def _table(pairs: Iterable[Pair]) -> pa.Table:
    return pa.Table.from_pylist([pair._asdict() for pair in pairs], PAIR)


def _nice(width: float, whole: bool) -> float:
    """The next round number: 1, 2 or 5 times a power of ten."""
    if width <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(width))
    step = next(float(power * k) for k in (1, 2, 5, 10) if power * k >= width * 0.999)
    return max(1.0, step) if whole else step
