"""Stage 4: responses -> preference pairs, or their chosen sides, as trainers read them, streamed.

Only the responses of one video, and the next row of each file, are in memory at a time. Beside each
output stands its funnel, which says what the output was made of.
"""

import heapq
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby, repeat
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from tools.errors import UserError
from tools.pairs.checks import check_output
from tools.pairs.formats import Row, row_writer
from tools.pairs.funnel import Cell, lengths, tokens
from tools.pairs.judgements import REJECT, UNSURE, Pair, latest, read
from tools.pairs.perturbation import CLEAN, equivalence
from tools.pairs.rules import Side, drop_reason, read_side
from tools.pairs.settings import Conversion, Output
from tools.pairs.swift_rows import estimated_tokens
from tools.store.dataset import Dataset
from tools.store.files import write_json
from tools.store.jsonl import Record, Table
from tools.store.locks import sole_writer

_GENERATOR = random.Random()


class NoPairLeft(UserError):
    """An output would have no pair to train on: the rules dropped all, or all are held out."""

    def __init__(self, where: str, own: Sequence[Cell], cells: list[Cell]) -> None:
        """
        Args:
            where: " in FILE", or nothing where one file is written.
            own, cells: the funnel's rows: those of that file, and all.
        """
        dropped = sum((cell.dropped for cell in own), Counter[str]())
        reasons = [f"{number} {reason}" for reason, number in dropped.most_common()]
        held_out = sum(cell.kept_val for cell in own)
        super().__init__(
            f"no pair is left{where}, so nothing was written; dropped:"
            f" {', '.join(reasons) or 'none'}{f'; held out by --val: {held_out}' * bool(held_out)}"
        )
        self.cells = cells


def convert(plan: Conversion, outputs: Sequence[Output]) -> list[Cell]:
    """Write all outputs in one pass over the responses; returns the funnel's rows, in their order.

    Nothing is replaced before everything is written.

    Raises:
        NoPairLeft: nothing is written.
        UserError: an output may not be written, or another run is writing it.
        CorruptLine: a line of the responses is not a record.
        StorageError: the disk refuses.
    """
    cells = {name: Cell(config.noise, config.magnitude) for name, config in plan.configs.items()}
    held_out_files: dict[Any, bool] = {}
    with ExitStack() as stack:
        # The validation file of an earlier run is out of date where this run trains on all videos.
        stale: set[Path] = set()
        for output in outputs:
            stack.enter_context(sole_writer(output.path))
            stale |= check_output(plan, output) - set(output.files(plan.val))
        checks = _checked(plan, outputs[0].path.parent) if plan.check_videos else {}
        stills = _written_stills(plan, outputs, checks) if plan.format == "trl" else None
        # (magnitude, whether the video is held out) -> what writes its pairs
        writers: dict[tuple[int, int], Callable[[Row], None]] = {}
        for output in outputs:
            for held_out, file in enumerate(output.files(plan.val)):
                write = stack.enter_context(row_writer(file, plan.format, not plan.sft))
                writers |= {(ratio, held_out): write for ratio in output.ratios}
        seconds = 0.2 if sys.stderr.isatty() else 10
        with tqdm(desc="convert", unit="video", mininterval=seconds, dynamic_ncols=True) as bar:
            for shard in plan.datasets:
                dataset = replace(shard)  # a copy: where its videos are is soon forgotten
                judged = _judged(plan, dataset)
                for video_id, rows in _by_video(plan.tables(dataset)):
                    path = _mapped(dataset.video_path(next(iter(rows.values()))), plan.video_root)
                    fault = _video_fault(path, checks)
                    held_out = _draw(plan, video_id, "val").random() < plan.val
                    if plan.val and fault != "video_gone":
                        # Datasets may share a file: what holds of its first video holds of all.
                        held_out = held_out_files.setdefault(_file_of(path), held_out)
                    images = () if stills is None else stills(video_id)
                    source = Source(dataset.name, video_id, path, images)
                    for cell, row in _pairs(plan, cells, source, rows, judged, fault):
                        writers[cell.magnitude, held_out](row)
                        cell.kept_val += held_out
                    bar.update()
            converted = [cell for cell in cells.values() if cell.magnitude in plan.ratios]
            for output in outputs:
                own = [cell for cell in converted if cell.magnitude in output.ratios]
                if not any(cell.kept - cell.kept_val for cell in own):
                    where = f" in {output.path.name}" if len(outputs) > 1 else ""
                    raise NoPairLeft(where, own, converted)
        for file in stale:
            file.unlink(missing_ok=True)
        # The funnels first: an output without one would count as another program's.
        for output in outputs:
            own = [cell for cell in cells.values() if cell.magnitude in output.ratios]
            write_json(output.funnel_path, _funnel(plan, output, own))
    return converted


def _funnel(plan: Conversion, output: Output, cells: list[Cell]) -> dict[str, Any]:
    shards = plan.shards()
    return {
        "model": plan.model,
        "iter": plan.iteration,
        "datasets": plan.names(),
        **({"shards": shards} if shards else {}),
        "ratios": list(output.ratios),
        "seed": plan.seed,
        "flags": plan.flags(),
        "funnel": [cell.counts() for cell in cells],
        "characters": lengths(cells),
        "estimated_tokens": tokens(cells),
    }


def _by_video(tables: Mapping[str, Table]) -> Iterator[tuple[str, dict[str, Record]]]:
    """Yield (video_id, table's name -> its record of that video), sorted by video_id."""

    def video_id(row: tuple[str, Record]) -> str:
        return row[1]["video_id"]

    streams = [zip(repeat(name), table.sorted_records()) for name, table in tables.items()]
    for video, rows in groupby(heapq.merge(*streams, key=video_id), key=video_id):
        yield video, dict(rows)


def _judged(plan: Conversion, dataset: Dataset) -> dict[Pair, str]:
    """Why judged pairs are dropped: pair -> reason."""
    if not plan.judgements:
        return {}
    reasons = {REJECT: "judged_reject"} | ({UNSURE: "judged_unsure"} if plan.drop_unsure else {})
    verdicts = ((pair, judgement.verdict) for pair, judgement in latest(read(dataset)).items())
    return {pair: reasons[verdict] for pair, verdict in verdicts if verdict in reasons}


class Source(NamedTuple):
    """A video that pairs are about."""

    dataset: str
    video_id: str
    path: str
    images: tuple[str, ...]


def _pairs(
    plan: Conversion,
    cells: dict[str, Cell],
    source: Source,
    rows: dict[str, Record],
    judged: Mapping[Pair, str],
    fault: str | None,
) -> Iterator[tuple[Cell, Row]]:
    """Yield the good pairs of one video as rows of the output, and count all of them."""
    dataset, video_id, path, images = source
    is_written = False
    sides = {name: read_side(row, plan.model) for name, row in rows.items()}
    chosen = sides.pop(CLEAN.name, None)
    good: dict[str, Side] = {}
    for name, config in plan.configs.items():
        if name not in sides:
            continue
        reason = fault or drop_reason(config.noise, chosen, sides[name], plan.max_similarity)
        reason = reason or judged.get(Pair(plan.model, plan.iteration, name, video_id))
        cells[name].made += 1
        if reason:
            cells[name].dropped[reason] += 1
        else:
            good[name] = sides[name]

    hardest = equivalence({name: side.indices for name, side in good.items() if side.indices})
    for name, rejected in good.items():
        cell = cells[name]
        if cell.magnitude not in plan.ratios:
            continue
        if hardest.get(name, name) != name:
            cell.duplicate += 1
            if plan.distinct_levels:
                cell.dropped["duplicate"] += 1
                continue
        if plan.sft and is_written:
            cell.dropped["chosen_twice"] += 1
            continue
        assert chosen is not None
        is_written = True
        question = _draw(plan, video_id, name).choice(plan.questions)
        other, order = (None, "") if plan.sft else (rejected.text, name)
        length = estimated_tokens(question, chosen.text, other or "")
        cell.kept += 1
        cell.over_max_length += length > plan.max_length
        cell.sizes.extend((len(chosen.text), len(rejected.text), length))
        yield cell, Row(question, chosen.text, other, path, images, dataset, video_id, order)


def _draw(plan: Conversion, video_id: str, what: str) -> random.Random:
    """The generator of one draw, until the next one is asked for: building one seeds it twice."""
    _GENERATOR.seed(f"{plan.seed}/{video_id}/{what}")
    return _GENERATOR


def _mapped(video: Path, video_root: tuple[str, str] | None) -> str:
    """A video's path after --video_root; absolute, since training may start anywhere."""
    if video_root and video.is_relative_to(video_root[0]):
        video = Path(video_root[1], video.relative_to(video_root[0]))
    return str(video) if video.is_absolute() else os.path.abspath(video)


def _checked(plan: Conversion, folder: Path) -> dict[str, Record]:
    """What training's reader says of the videos of the datasets, by path; says how many it cannot
    read."""
    # It brings the decoder with it, which nothing else here needs.
    from tools.video.checks import check_videos

    paths = [
        _mapped(dataset.video_path(record), plan.video_root)
        for dataset in plan.datasets
        for record in plan.tables(dataset)[CLEAN.name].read()
    ]
    checks = check_videos([path for path in paths if os.path.exists(path)], folder)
    broken = {path: check["error"] for path, check in checks.items() if "error" in check}
    if broken:
        path, error = next(iter(broken.items()))
        print(
            f"{len(broken)} of {len(checks)} videos cannot be read by training, such as {path}"
            f" ({error}): their pairs are left out; {folder / 'video_checks.jsonl'} lists them"
        )
    return checks


def _written_stills(
    plan: Conversion, outputs: Sequence[Output], checks: dict[str, Record]
) -> Callable[[str], tuple[str, ...]]:
    """Write the pictures of the videos, and put those that cannot be read into `checks`; returns
    what gives the pictures of a video."""
    from tools.video.stills import stills_of, write_stills

    folder = outputs[0].frames_folder
    videos = {
        record["video_id"]: _mapped(dataset.video_path(record), plan.video_root)
        for dataset in plan.datasets
        for record in plan.tables(dataset)[CLEAN.name].read()
    }
    readable = (
        (key, path, plan.frames)
        for key, path in videos.items()
        if _video_fault(path, checks) is None
    )
    for path, error in write_stills(readable, folder).items():
        checks[path] = {"error": error}
    return lambda key: tuple(map(str, stills_of(folder, key, plan.frames)))


def _file_of(path: str) -> tuple[int, int]:
    """What says that two paths lead to one file."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def _video_fault(path: str, checks: Mapping[str, Record]) -> str | None:
    if not os.path.exists(path):
        return "video_gone"
    return "video_broken" if "error" in checks.get(path, {}) else None
