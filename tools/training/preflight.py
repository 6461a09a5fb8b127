"""What can be known to go wrong with a training, said before a GPU is used.

The model is there, and the disk has space for what will be merged. For every stage that is not
trained: its rows are there, are what the stage takes, and their videos exist; the rows that swift
would leave out for their length, or because it cannot read their video, are counted, since it
silently replaces them by others.
"""

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from tools.cli import amount, whole
from tools.errors import UserError
from tools.store.files import read_json
from tools.store.jsonl import Record
from tools.training.machine import number
from tools.training.recipe import SFT_SHARE, Stage
from tools.training.row_lengths import SYSTEMS, RowLengths
from tools.training.stages import digest, find_state, note
from tools.video.budget import Budget
from tools.video.checks import check_videos

GIGABYTE = 1e9
# LoRA checkpoints, optimizer states and logs of a stage, as a share of the model: rank 32 on all
# linear layers of a 7B is 80 million weights of 8 billion, kept with two moments in 32 bits.
CHECKPOINT_SHARE = 0.1
# Plugins of train_scripts that make swift read videos with tools/training/reader.py.
READERS = ("video_reader.py", "toyvl_template.py")
MAX_RATIO = 200  # qwen-vl-utils' own
SAMPLE_ROWS = 50  # whose tokens are counted for an estimate


def preflight(
    stages: Sequence[Stage], outputs: Path, settings: Mapping[str, str], keep_counts: bool
) -> Iterator[str | UserError]:
    """Look at everything that the stages need; yields lines for people, and mistakes.

    Args:
        outputs: the folder that holds the stages' folders.
        settings: of the chain and of swift, by their names in the environment.
        keep_counts: note the number of rows in each stage's stage.json.
    """
    states = {stage: find_state(outputs / stage.name).kind for stage in stages}
    unmerged = [stage for stage in stages if states[stage] != "merged"]
    if not unmerged:
        return
    max_length = number(settings, "MAX_LENGTH")
    # Of the videos that training can read: width, height, frames, frames a second.
    seen: dict[Path, tuple[int, int, int, float]] = {}
    limits = ("FPS_MAX_FRAMES", "VIDEO_MIN_PIXELS", "VIDEO_TOTAL_PIXELS")
    budget = Budget(number(settings, "FPS", amount), *(number(settings, name) for name in limits))
    lengths = None
    try:
        model = model_folder(settings["MODEL"])
        if not model:
            yield f"{settings['MODEL']} is not on this machine: swift will fetch it"
        else:
            tokenizer = model / "tokenizer.json"
            if settings["TEMPLATE"] in SYSTEMS and tokenizer.is_file():
                lengths = RowLengths(settings["TEMPLATE"], tokenizer, budget, lambda p: seen[p])
                lengths.check_video_pad()
            check_disk(outputs, len(unmerged), model)
    except UserError as error:
        yield error
    for stage in unmerged:
        if states[stage] == "trained":
            continue
        path = rows_file(stage, settings)
        try:
            rows = read_rows(path, stage, how_to_make(stage, settings["DATA_MODEL"]))
            files = {path: rows}
            if held_out := held_out_file(path, settings["VAL"]):
                files[held_out] = read_rows(held_out, stage, "VAL names it")
            faults: dict[str, str] = {}
            for file, its_rows in files.items():
                its_faults = look_at_videos(its_rows, file.parent, settings["PLUGIN"], budget, seen)
                if its_faults:
                    yield unreadable(file, its_rows, its_faults)
                faults |= its_faults
            usable = [row for row in rows if faults.keys().isdisjoint(videos_of(row))]
            kept = count_kept(path, usable, lengths, max_length)
        except UserError as error:
            yield error
            continue
        yield f"{path}: {counted(len(usable), kept, max_length)}"
        yield f"{path}: {estimate(usable, stage, lengths, settings)}"
        if keep_counts:
            counts = {"file": path.name, "sha256": digest(path), "rows": len(rows), "kept": kept}
            note(outputs / stage.name, rows=counts)


def model_folder(name: str) -> Path | None:
    """Where the base model, a folder or an id of a hub, lies on this machine; None: nowhere yet.
    Raises UserError for a folder that holds no model, or what is no name of a model at all."""
    path = Path(name)
    if path.exists() or path.is_absolute():
        if not (path / "config.json").is_file():
            raise UserError(f"MODEL={name}: no config.json in it, so it is no model")
        return path
    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        raise UserError(f"MODEL={name}: no such folder, and no id of a hub") from None
    return Path(cached).parent if isinstance(cached, str) else None


def check_disk(outputs: Path, stages: int, model: Path) -> None:
    """Raise a UserError if there is no space for what the stages will leave."""
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    disk = next(folder for folder in (outputs, *outputs.parents) if folder.exists())
    free = shutil.disk_usage(disk).free
    needed = stages * weights * (1 + CHECKPOINT_SHARE)
    if free < needed:
        raise UserError(
            f"{disk} has {free / GIGABYTE:.1f} GB free, and {stages} merged models with their"
            f" checkpoints take {needed / GIGABYTE:.1f} GB: free some, or name another EXP_DIR"
        )


def rows_file(stage: Stage, settings: Mapping[str, str]) -> Path:
    """The file of rows that a stage trains on."""
    iteration = number(settings, "DATA_ITER", whole)
    return Path(settings["DATA_DIR"], stage.data_file(settings["DATA_MODEL"], iteration))


def held_out_file(rows: Path, val: str) -> Path | None:
    """The held-out rows that go with some rows: auto: those of convert_to_swift.py --val, none, or
    a file for all."""
    beside = rows.with_name(f"{rows.stem}_val.json")
    if val == "auto":
        return beside if read_json(beside) else None
    return None if val == "none" else Path(val)


def how_to_make(stage: Stage, data_model: str) -> str:
    """What to type where a stage's rows are missing."""
    if stage.levels:
        ratios = " ".join(map(str, stage.levels))
        return f"python convert_to_swift.py {data_model} {ratios} makes it (DATA_MODEL says whose)"
    if stage.kind == "grpo":
        return f"python -m tools.pairs.order_rows {data_model} makes it (DATA_MODEL says whose)"
    if SFT_SHARE.fullmatch(stage.dataset):
        return "python -m tools.training.sft_data makes fine-tuning rows of LLaVA-Video-178K"
    return "put rows in ms-swift's format there, or name another DATA_DIR"


def read_rows(path: Path, stage: Stage, how_to_make: str) -> list[Record]:
    """The rows of a stage; raises UserError if they or their videos are not there, or if they are
    not what the stage takes."""
    rows = read_json(path)
    if rows is None:
        raise UserError(f"{path}: no such file; {how_to_make}")
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{path} has no rows: it must be a JSON array of them")
    for index, row in enumerate(rows, 1):
        if fault := _fault(row, stage):
            raise UserError(f"{path} row {index}: {fault}")
    videos = {video for row in rows for video in row.get("videos", ())}
    gone = sorted(video for video in videos if not os.path.isfile(video))
    if gone:
        raise UserError(
            f"{path}: {len(gone)} of {len(videos)} videos are not there, such as {gone[0]}: make"
            " the rows again (--video_root OLD=NEW of convert_to_swift.py follows moved videos)"
        )
    return rows


def _fault(row: Any, stage: Stage) -> str | None:
    """What is wrong with a row, if anything."""
    try:
        roles = [message["role"] for message in row["messages"]]
        tags = sum(message["content"].count("<video>") for message in row["messages"])
    except (TypeError, KeyError, AttributeError):
        return "no messages of a role and a content each"
    if roles[-1:] != ["assistant"]:
        return "its last message is not the assistant's"
    if stage.levels and not row.get("rejected_response"):
        return f"no rejected_response: {stage.kind.upper()} needs one"
    if not stage.levels and "rejected_response" in row:
        return "a rejected_response: these are pairs for DPO, and the recipe says SFT"
    if stage.kind == "grpo" and not row.get("clip_captions"):
        return "no clip_captions: the rewards of GRPO compare with them"
    videos = len(row.get("videos", ()))
    return None if tags == videos else f"{tags} <video> in its text, and {videos} videos"


def videos_of(row: Record) -> Sequence[str]:
    """The paths of a row's videos."""
    return row.get("videos", ())


def look_at_videos(
    rows: list[Record],
    folder: Path,
    plugin: str,
    budget: Budget,
    seen: dict[Path, tuple[int, int, int, float]],
) -> dict[str, str]:
    """Ask training's reader for the rows' videos; returns what is wrong with those that it cannot
    read, and adds the others to `seen`."""
    videos = {video for row in rows for video in videos_of(row)}
    reader = "toolkit" if Path(plugin).name in READERS else "decord"
    faults = {}
    for video, check in check_videos(videos, folder, reader).items():
        if "error" in check:
            faults[video] = check["error"]
            continue
        width, height, frames, rate = (check[key] for key in ("width", "height", "frames", "rate"))
        taken = budget.frames(frames, rate)
        size = budget.size(width, height, taken) if taken else (0, 0)
        if not taken:
            faults[video] = "no frame would be taken of it: raise FPS_MAX_FRAMES"
        elif not all(size):
            faults[video] = (
                f"frames of {width} x {height} pixels would be scaled to {size[0]} x {size[1]}:"
                " raise VIDEO_MIN_PIXELS and VIDEO_TOTAL_PIXELS"
            )
        elif max(width, height) > MAX_RATIO * min(width, height):
            faults[video] = (
                f"{width} x {height} pixels: one side is over {MAX_RATIO} times the other"
            )
        seen[Path(video)] = width, height, frames, rate
    return faults


def unreadable(path: Path, rows: list[Record], faults: dict[str, str]) -> str | UserError:
    """What to say of the rows whose videos training cannot read; a mistake where these are all."""
    hit = sum(not faults.keys().isdisjoint(videos_of(row)) for row in rows)
    video, fault = next(iter(faults.items()))
    what = (
        f"{path}: training cannot use the videos of {hit} of {len(rows)} rows, {len(faults)} files"
        f" such as {video} ({fault})"
    )
    if hit == len(rows):
        return UserError(what)
    return (
        f"{what}; swift draws from the rest in their place. Change what the reason names, or make"
        " the rows without them (convert_to_swift.py --check_videos, tools.training.sft_data)"
    )


def count_kept(
    path: Path, rows: list[Record], lengths: RowLengths | None, max_length: int
) -> int | None:
    """How many of the rows training takes; None where that cannot be told. Raises UserError if it
    takes none."""
    if lengths is None:
        return None
    kept = sum(lengths.fits(row, max_length) for row in rows)
    if rows and not kept:
        raise UserError(f"{path}: all {len(rows)} rows are longer than MAX_LENGTH={max_length}")
    return kept


def estimate(
    rows: Sequence[Record], stage: Stage, lengths: RowLengths | None, settings: Mapping[str, str]
) -> str:
    """How many optimizer steps a stage takes, with how many tokens, and for how long."""
    steps = math.ceil(len(rows) * number(settings, "EPOCHS", amount) / stage.batch)
    line = f"{steps} steps of {stage.batch} rows"
    if lengths and (sample := rows[:SAMPLE_ROWS]):
        mean = sum(map(lengths.count, sample)) / len(sample)
        line += f", about {mean * len(rows) / 1e6:.2g} million tokens an epoch"
    if not settings["SECONDS_PER_STEP"]:
        return f"{line}; SECONDS_PER_STEP=X tells the GPU-hours, and swift's bar shows X"
    hours = steps * number(settings, "SECONDS_PER_STEP", amount) / 3600
    return f"{line}, {hours * number(settings, 'PROCESSES'):.2g} GPU-hours"


def counted(rows: int, kept: int | None, max_length: int) -> str:
    """What a file holds, in words."""
    if kept is None:
        return f"{rows} rows; which of them are over {max_length} tokens was not counted"
    if kept == rows:
        return f"{rows} rows, all within {max_length} tokens"
    return (
        f"{rows} rows, {kept} within {max_length} tokens; swift leaves out the other"
        f" {rows - kept} and draws from the rest in their place"
    )
