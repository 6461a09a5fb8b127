"""Stage 4: responses -> preference pairs in ms-swift's DPO format, streamed.

Only the responses of one video, and the next row of each file, are in memory at a time. Beside each
output stands its funnel, which says what the output was made of.
"""

import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tools.errors import UserError
from tools.pairs.funnel import Cell, lengths, tokens
from tools.pairs.judgements import REJECT, UNSURE, Pair, latest, read
from tools.pairs.perturbation import CLEAN, FINEST, Config, configs, equivalence
from tools.pairs.rules import Clean, FindTag, Side, drop_reason, read_side
from tools.pairs.swift_rows import MAX_LENGTH, estimated_tokens, swift_row
from tools.runner.fingerprints import LIBRARIES, check_origin, differences
from tools.store.dataset import Dataset
from tools.store.files import json_array, read_json, write_json
from tools.store.jsonl import Record, Table, dumps
from tools.store.locks import sole_writer
from tools.video.decode import VideoError
from tools.video.frames import read_frames


@dataclass(frozen=True)
class Plan:
    """What to convert, and by which rules.

    Attributes:
        model, iteration: whose responses, of which round of self-generation.
        datasets: where they are, in the order in which their pairs are written.
        ratios: magnitudes, in the order in which a video's pairs are written.
        questions: the ways to ask for a description; each pair draws one.
        clean, find_tag: see `tools.pairs.rules`.
        by_similarity, by_group: which drops to read (`tools.pairs.perturbation.Config`).
        seed: of the questions and of the split.
        distinct_levels: of pairs of a video with equal order of clips, at whatever magnitude, keep
            only the hardest.
        max_similarity: see `tools.pairs.rules.drop_reason`.
        val: share of the videos whose pairs go to the validation file, 0 to 1.
        video_root: (old, new) beginning of the paths of videos.
        check_videos: decode the first frame of each video.
        judgements: drop the pairs that people have rejected (`tools.pairs.judgements`).
        drop_unsure: of those, drop the pairs that people were unsure about, too.
        max_length: tokens a row that training takes.
    """

    model: str
    iteration: int
    datasets: Sequence[Dataset]
    ratios: Sequence[int]
    questions: Sequence[str]
    clean: Clean
    find_tag: FindTag
    by_similarity: bool = False
    by_group: bool = False
    seed: int = 0
    distinct_levels: bool = False
    max_similarity: float | None = None
    val: float = 0.0
    video_root: tuple[str, str] | None = None
    check_videos: bool = False
    judgements: bool = False
    drop_unsure: bool = False
    max_length: int = MAX_LENGTH

    @cached_property
    def configs(self) -> dict[str, Config]:
        """name -> perturbed config: magnitudes in the order asked for, then drop, reverse,
        shuffle; behind them those not asked for, which tell what is a duplicate."""
        noisy = configs(self.by_similarity, self.by_group, FINEST in self.ratios)[1:]
        asked = [config for r in self.ratios for config in noisy if config.magnitude == r]
        return {config.name: config for config in [*asked, *noisy]}

    def asked(self, ratios: Sequence[int]) -> dict[str, Config]:
        """Those of `configs` that have some magnitudes."""
        return {name: config for name, config in self.configs.items() if config.magnitude in ratios}

    def tables(self, dataset: Dataset) -> dict[str, Table]:
        """name -> responses to CLEAN and to each of `configs`."""
        names = [CLEAN.name, *self.configs]
        return {name: dataset.responses(self.model, name, self.iteration) for name in names}

    def flags(self) -> dict[str, Any]:
        """The rules' parameters, as the funnel keeps them."""
        return {
            "by_similarity": self.by_similarity,
            "by_group": self.by_group,
            "distinct_levels": self.distinct_levels,
            "max_similarity": self.max_similarity,
            "val": self.val,
            "video_root": self.video_root,
            "check_videos": self.check_videos,
            "judgements": self.judgements,
            "drop_unsure": self.drop_unsure,
            "max_length": self.max_length,
        }


@dataclass(frozen=True)
class Output:
    """One JSON file of pairs of some magnitudes, and what stands beside it."""

    path: Path
    ratios: Sequence[int]

    @property
    def val_path(self) -> Path:
        """Where the pairs of the validation videos go."""
        return self.path.with_name(f"{self.path.stem}_val.json")

    @property
    def funnel_path(self) -> Path:
        """What the file was made of, and what became of every pair."""
        return self.path.with_name(f"{self.path.stem}.funnel.json")


def check_responses(plan: Plan) -> Iterator[str]:
    """Are the responses there? Yields a line for people about each thing that looks unfinished.

    Raises:
        UserError: a dataset has nothing by this model in this round, no responses to the clean
            order, or none at one of the magnitudes.
    """
    for dataset in plan.datasets:
        runs = dataset.response_runs()
        if (plan.model, plan.iteration) not in runs:
            there = ", ".join(f"{model} (iter {iteration})" for model, iteration in runs)
            raise UserError(
                f"{dataset.name} has no responses by {plan.model} (iter {plan.iteration}); there"
                f" are: {there or 'none yet: generate_dpo_data.py makes them'}"
            )
        names = set(dataset.response_configs(plan.model, plan.iteration))
        folder = dataset.responses(plan.model, CLEAN.name, plan.iteration).path.parent
        if CLEAN.name not in names:
            raise UserError(f"{folder} has no {CLEAN.name}.jsonl, the chosen side of every pair")
        for ratio in plan.ratios:
            wanted = set(plan.asked([ratio]))
            if not wanted & names:
                raise UserError(
                    f"{folder} has no responses at ratio {ratio}, such as {min(wanted)}.jsonl"
                )
            yield from (f"{folder} has no {name}.jsonl" for name in sorted(wanted - names))
        _check_one_run({name: t for name, t in plan.tables(dataset).items() if name in names})
        if any(table.parts() for table in plan.tables(dataset).values()):
            yield f"{folder} holds parts, as stage 3 leaves them while it is unfinished"
        if plan.judgements and not dataset.judgements.exists():
            yield f"nobody has judged pairs of {dataset.name}: no {dataset.judgements}"


def _check_one_run(tables: Mapping[str, Table]) -> None:
    """Were these made alike, and from what is there now?

    Raises:
        UserError: they were not.
    """
    clean = read_json(tables[CLEAN.name].meta_path)
    for table in tables.values():
        check_origin(table)
        made = read_json(table.meta_path)
        if not clean or not made:
            continue
        differing = differences(clean, made).keys() - LIBRARIES
        if differing or clean.get("input") != made.get("input"):
            raise UserError(
                f"{table.path} and {CLEAN.name}.jsonl beside it were not made alike"
                f" ({', '.join(sorted(differing)) or 'input'} differ): run generate_dpo_data.py"
                " --redo responses"
            )


def check_output(plan: Plan, output: Output) -> None:
    """May this output be written?

    Raises:
        UserError: a file is there that was made from other datasets, by another model, or by who
            knows what.
    """
    funnel = read_json(output.funnel_path)
    known = ([output.path] if funnel else []) + ([output.val_path] if _has_split(funnel) else [])
    for path in [output.path, output.val_path] if plan.val else [output.path]:
        if path.exists() and path not in known:
            raise UserError(
                f"{path} is there already, and no {output.funnel_path.name} beside it says what it"
                " was made of: name another --output, or move it away"
            )
    if not output.path.exists():
        return
    names = [dataset.name for dataset in plan.datasets]
    if funnel["model"] != plan.model or sorted(funnel["datasets"]) != sorted(names):
        raise UserError(
            f"{output.path} was made by {funnel['model']} from {', '.join(funnel['datasets'])}, not"
            f" by {plan.model} from {', '.join(names)}: name another --output, or move it away"
        )


def _has_split(funnel: Any) -> bool:
    return bool(funnel and funnel["flags"]["val"])


def convert(plan: Plan, outputs: Sequence[Output]) -> list[Cell]:
    """Write all outputs in one pass over the responses; returns the funnel's rows, in their order.

    Nothing is replaced before everything is written.

    Raises:
        UserError: an output may not be written, or another run is writing it.
        CorruptLine: a line of the responses is not a record.
        StorageError: the disk refuses.
    """
    asked = plan.asked(plan.ratios)
    cells = {name: Cell(config.noise, config.magnitude) for name, config in asked.items()}
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(sole_writer(output.path))
            check_output(plan, output)
        train: dict[int, Callable[[bytes], None]] = {}
        val: dict[int, Callable[[bytes], None]] = {}
        for output in outputs:
            write = stack.enter_context(json_array(output.path))
            train |= dict.fromkeys(output.ratios, write)
            if plan.val:
                write = stack.enter_context(json_array(output.val_path))
                val |= dict.fromkeys(output.ratios, write)
        bar = tqdm(
            desc="convert",
            unit="video",
            mininterval=0.2 if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
        )
        with bar:
            for dataset in plan.datasets:
                judged = _judged(plan, dataset)
                for video_id, rows in _by_video(plan.tables(dataset)):
                    held_out = bool(plan.val) and _is_held_out(plan, video_id)
                    for cell, row in _pairs(plan, cells, video_id, rows, judged):
                        (val if held_out else train)[cell.magnitude](row)
                        cell.kept_val += held_out
                    bar.update()
        # The funnel first: an output without one would be taken for somebody else's.
        for output in outputs:
            own = [cell for cell in cells.values() if cell.magnitude in output.ratios]
            if not plan.val and _has_split(read_json(output.funnel_path)):
                # The videos of an earlier split are in the training file now.
                output.val_path.unlink(missing_ok=True)
            write_json(output.funnel_path, _funnel(plan, output, own))
    return list(cells.values())


def _funnel(plan: Plan, output: Output, cells: list[Cell]) -> dict[str, Any]:
    return {
        "model": plan.model,
        "iter": plan.iteration,
        "datasets": [dataset.name for dataset in plan.datasets],
        "ratios": list(output.ratios),
        "seed": plan.seed,
        "flags": plan.flags(),
        "funnel": [cell.counts() for cell in cells],
        "characters": lengths(cells),
        "estimated_tokens": tokens(cells),
    }


def _by_video(tables: Mapping[str, Table]) -> Iterator[tuple[str, dict[str, Record]]]:
    """Yield (video_id, table's name -> its record of that video), sorted by video_id."""
    streams = {name: table.sorted_records() for name, table in tables.items()}
    heads = {name: next(stream, None) for name, stream in streams.items()}
    while there := {name: record for name, record in heads.items() if record is not None}:
        video_id = min(record["video_id"] for record in there.values())
        rows = {name: r for name, r in there.items() if r["video_id"] == video_id}
        heads |= {name: next(streams[name], None) for name in rows}
        yield video_id, rows


def _judged(plan: Plan, dataset: Dataset) -> dict[Pair, str]:
    """Why judged pairs are dropped: pair -> reason."""
    if not plan.judgements:
        return {}
    reasons = {REJECT: "judged_reject"} | ({UNSURE: "judged_unsure"} if plan.drop_unsure else {})
    verdicts = {pair: judgement.verdict for pair, judgement in latest(read(dataset)).items()}
    return {pair: reasons[verdict] for pair, verdict in verdicts.items() if verdict in reasons}


def _pairs(
    plan: Plan,
    cells: dict[str, Cell],
    video_id: str,
    rows: dict[str, Record],
    judged: Mapping[Pair, str],
) -> Iterator[tuple[Cell, bytes]]:
    """Yield the good pairs of one video as lines of the output, and count all of them."""
    chosen_row = rows.get(CLEAN.name)
    path = _mapped(next(iter(rows.values()))["video_path"], plan.video_root)
    fault = _video_fault(path, plan.check_videos)
    chosen = read_side(chosen_row, plan.clean, plan.find_tag) if chosen_row else None
    good: dict[str, Side] = {}
    for name, config in plan.configs.items():
        if name not in rows:
            continue
        rejected = read_side(rows[name], plan.clean, plan.find_tag)
        reason = fault or drop_reason(config.noise, chosen, rejected, plan.max_similarity)
        reason = reason or judged.get(Pair(plan.model, plan.iteration, name, video_id))
        if not reason:
            good[name] = rejected
        if name in cells:
            cells[name].made += 1
            if reason:
                cells[name].dropped[reason] += 1

    hardest = equivalence({name: side.indices for name, side in good.items() if side.indices})
    for name, rejected in good.items():
        if name not in cells:
            continue
        cell = cells[name]
        if hardest.get(name, name) != name:
            cell.duplicate += 1
            if plan.distinct_levels:
                cell.dropped["duplicate"] += 1
                continue
        assert chosen is not None
        question = random.Random(f"{plan.seed}/{video_id}/{name}").choice(plan.questions)
        length = estimated_tokens(question, chosen.text, rejected.text)
        cell.kept += 1
        cell.over_max_length += length > plan.max_length
        cell.chosen.append(len(chosen.text))
        cell.rejected.append(len(rejected.text))
        cell.tokens.append(length)
        yield cell, dumps(swift_row(question, chosen.text, rejected.text, path))


def _is_held_out(plan: Plan, video_id: str) -> bool:
    return random.Random(f"{plan.seed}/{video_id}/val").random() < plan.val


def _mapped(path: str, video_root: tuple[str, str] | None) -> str:
    """A video's path as this machine has it; absolute, since training may start anywhere."""
    if video_root:
        old, new = (root.rstrip("/") for root in video_root)
        if path == old or path.startswith(f"{old}/"):
            path = new + path[len(old) :]
    return path if os.path.isabs(path) else os.path.abspath(path)


def _video_fault(path: str, decode_it: bool) -> str | None:
    if not os.path.exists(path):
        return "video_gone"
    if decode_it:
        try:
            read_frames(Path(path), [0])
        except VideoError:
            return "video_broken"
    return None
