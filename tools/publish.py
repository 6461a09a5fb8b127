"""Pairs that other people can use: a folder with all that they need, or the Hugging Face hub.

    python -m tools.publish toystories --to exp/toystories_pairs
    python -m tools.publish mine --model qwen2vl7b --to DIR --videos copy --license cc-by-4.0
    python -m tools.publish mine --to DIR --push me/my-pairs          # HF_TOKEN holds the token

The folder holds pairs.parquet, clips.jsonl (clips, key frames and captions of each video),
key_frames/, videos/ and README.md, the card: what the pairs were made of, by which model and
settings, and how many each rule dropped. All paths are relative to the folder. The card is written
last. The same command again leaves key frames and videos that are there already, and deletes those
of videos that have no pair any more.
"""

import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

from tools.cli import (
    add_data_root,
    add_dataset,
    add_settings,
    new_folder,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import UserError
from tools.pairs.perturbation import CLEAN
from tools.pairs.settings import Conversion, Output
from tools.shots.spans import clip_spans
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import (
    disk_errors_in_one_line,
    read_json,
    replace_atomically,
    write_json,
)
from tools.store.jsonl import Record, dumps
from tools.text.prompts import QUESTIONS
from tools.video.stills import stills_of, write_stills

CARD = Path(__file__).parent / "text" / "card.md"
RATIOS = (16, 8, 4, 2)
PAIRS, FUNNEL, CARD_NAME = "pairs.parquet", "funnel.json", "README.md"
ROWS_AT_ONCE = 10_000
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))


@dataclass(frozen=True)
class Publication:
    """What is published, and where."""

    to: Path = setting(None, "the folder to write (required)", type=new_folder, metavar="DIR")
    push: str = setting(
        "",
        "then upload the folder to the Hugging Face hub as the data set ORG/NAME, private at first"
        " (default: do not)",
        type=str,
        metavar="ORG/NAME",
    )
    model: str = setting(
        "", "whose pairs (default: those of the only model that has responses)", type=str
    )
    iteration: int = setting(0, "round of self-generation")
    videos: str = setting(
        "link",
        "link: hard links, which cost no disk, where the file system can; copy; none: leave the"
        " videos out",
        choices=["link", "copy", "none"],
    )
    license: str = setting(
        "other",
        "licence of the videos and texts, as the hub writes it; you have to know it",
        type=str,
    )


def only_model(dataset: Dataset, iteration: int) -> str:
    """The model whose responses a data set has.

    Raises:
        UserError: none has, or several have.
    """
    runs = dataset.response_runs()
    models = [model for model, number in runs if number == iteration]
    if len(models) == 1:
        return models[0]
    if not models:
        others = ", ".join(f"{model} (iter {number})" for model, number in runs)
        raise UserError(
            f"{dataset.name} has no responses of iteration {iteration}; there are:"
            f" {others or 'none yet: generate_dpo_data.py makes them'}"
        )
    raise UserError(f"{dataset.name} has responses by {', '.join(models)}: name one with --model")


def check_folder(folder: Path, plan: Conversion) -> None:
    """Check that a folder is empty, or that pairs of this dataset were published there: what lies
    in it may be replaced or deleted.

    Raises:
        UserError: it holds something else.
    """
    funnel = read_json(folder / FUNNEL)
    made_of = funnel.get("datasets") if isinstance(funnel, dict) else None
    visible = sorted(entry.name for entry in folder.glob("[!.]*"))
    if visible and not made_of:
        raise UserError(f"--to {folder} holds other files, such as {visible[0]}: name a new folder")
    if made_of and (made_of, funnel.get("shards", [])) != (plan.names(), plan.shards()):
        others = ", ".join(funnel.get("shards", made_of))
        raise UserError(f"--to {folder} holds pairs of {others}: name a new folder")


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Delete what a folder holds beside these."""
    for entry in folder.glob("*"):
        if entry.name in names:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def write_pairs(plan: Conversion, folder: Path) -> list[str]:
    """Write the pairs with the names of their videos in the folder; returns those videos' ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tools.pairs.conversion import convert

    kept: dict[str, None] = {}
    with ExitStack() as stack:
        # Elsewhere: its lock stays beside an output, and nothing of that is to be published.
        scratch = stack.enter_context(TemporaryDirectory(prefix="publish-"))
        output = Output(Path(scratch, PAIRS), list(plan.ratios))
        convert(plan, [output])
        (folder / CARD_NAME).unlink(missing_ok=True)  # a folder without a card is unfinished
        file = stack.enter_context(replace_atomically(folder / PAIRS))
        table = stack.enter_context(pq.ParquetFile(output.path))
        writer = stack.enter_context(pq.ParquetWriter(file, table.schema_arrow))
        for batch in table.iter_batches(ROWS_AT_ONCE):
            ids, paths = (batch.column(name).to_pylist() for name in ("video_id", "video"))
            names = [str(video_name(key, Path(path))) for key, path in zip(ids, paths, strict=True)]
            kept |= dict.fromkeys(ids)
            place = batch.schema.get_field_index("video")
            writer.write_batch(batch.set_column(place, "video", pa.array(names)))
        write_json(folder / FUNNEL, read_json(output.funnel_path))
    return list(kept)


def video_name(video_id: str, path: Path) -> Path:
    """A video's file in the folder."""
    return Path("videos", f"{video_id}{path.suffix.lower()}")


def clip_rows(plan: Conversion, folder: Path, kept: Sequence[str]) -> Iterator[Record]:
    """A row a video: its clips with times, key frames and captions; writes the key frames."""
    [dataset] = plan.datasets
    wanted = set(kept)
    captions = dataset.table(f"clip_captions_{plan.model}").sorted_records()
    records = [record for record in captions if record["video_id"] in wanted]
    frames = folder / "key_frames"
    errors = write_stills(
        (
            (record["video_id"], str(dataset.video_path(record)), _key_frames(record))
            for record in records
        ),
        frames,
    )
    if errors:
        path, error = next(iter(errors.items()))
        raise UserError(f"videos that cannot be read: {len(errors)}, such as {path} ({error})")
    remove_others(frames, wanted)
    for record in records:
        key, video = record["video_id"], dataset.video_path(record)
        spans, captions = clip_spans(record), record["clip_captions"]
        stills = [
            str(still.relative_to(folder)) for still in stills_of(frames, key, _key_frames(record))
        ]
        yield {
            "video_id": key,
            "video": str(video_name(key, video)),
            "clips": [
                {
                    "start": start,
                    "end": end,
                    "key_frames": stills[2 * place : 2 * place + 2],
                    "caption": captions[place],
                }
                for place, (start, end) in enumerate(spans)
            ],
        }


def _key_frames(record: Record) -> list[int]:
    """The indices of a video's key frames, two a clip."""
    return [index for pair in record["frame_indices"] for index in pair]


def put_videos(dataset: Dataset, folder: Path, kept: Sequence[str], how: str) -> None:
    """Link or copy the videos of the pairs into the folder, and delete others there."""
    wanted = set(kept) if how != "none" else set()
    paths = {
        folder / video_name(record["video_id"], video): video
        for record in dataset.table("init").read()
        if record["video_id"] in wanted
        for video in [dataset.video_path(record)]
    }
    remove_others(folder / "videos", {target.name for target in paths})
    for target, video in paths.items():
        if _is_copy(target, video, how):
            continue
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        if how == "link":
            with suppress(OSError):  # another disk, or a file system without links
                os.link(video.resolve(), target)  # a link to a link may lead nowhere from there
                continue
        with replace_atomically(target) as out, video.open("rb") as file:
            shutil.copyfileobj(file, out)


def _is_copy(target: Path, video: Path, how: str) -> bool:
    """Whether a video is in the folder already; a hard link is none where copies are wanted."""
    if not target.exists():
        return False
    own, original = target.stat(), video.stat()
    if os.path.samestat(own, original):
        return how == "link"
    return own.st_size == original.st_size and own.st_mtime >= original.st_mtime


def card(publication: Publication, plan: Conversion, folder: Path, videos: int) -> str:
    """The README.md of the folder, as the hub reads it."""
    [dataset] = plan.datasets
    cells = read_json(folder / FUNNEL)["funnel"]
    pairs = sum(cell["kept"] for cell in cells)
    dropped = sum((Counter(cell["dropped"]) for cell in cells), Counter())
    tables = (
        dataset.videos(),
        dataset.table(f"raw_clip_captions_{plan.model}"),
        dataset.table(f"clip_captions_{plan.model}"),
        plan.tables(dataset)[CLEAN.name],
    )
    return Template(CARD.read_text(encoding="utf-8")).substitute(
        license=publication.license,
        size=next((name for most, name in SIZES if pairs < most), "1M<n<10M"),
        pairs_file=PAIRS,
        dataset=dataset.name,
        model=plan.model,
        pairs=pairs,
        videos=videos,
        without_videos="; the videos are not here" if publication.videos == "none" else "",
        kept="\n".join(
            f"| {cell['noise']} {cell['magnitude']} | {cell['made']} | {cell['kept']} |"
            for cell in cells
        ),
        dropped=", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
        or "none",
        tables="\n".join(
            f"| {table.name} | {table.meta().get('fingerprint', 'none')} |"
            f" {_described(table.meta())} |"
            for table in tables
        ),
    )


def _described(meta: Record) -> str:
    """The settings of a table, in a cell of a table."""
    return ", ".join(f"{name} {value}" for name, value in (meta.get("params") or {}).items())


def main(argv: Sequence[str] | None = None) -> None:
    """Write the folder, and upload it where --push asks for that."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, Publication)
    add_data_root(parser)
    args = parser.parse_args(argv)
    publication = settings_from(args, Publication)
    if publication.to is None:
        raise UserError("--to DIR is missing: the folder to write")
    dataset = open_dataset(args.dataset, args.data_root)
    model = publication.model or only_model(dataset, publication.iteration)
    plan = Conversion(model, publication.iteration, [dataset], RATIOS, QUESTIONS, format="parquet")

    from tools.pairs.checks import check_responses

    for note in check_responses(plan):
        print(f"note: {note}")
    folder = publication.to
    check_folder(folder, plan)
    folder.mkdir(parents=True, exist_ok=True)
    kept = write_pairs(plan, folder)
    with replace_atomically(folder / "clips.jsonl") as file:
        file.writelines(dumps(row) + b"\n" for row in clip_rows(plan, folder, kept))
    with disk_errors_in_one_line(folder / "videos"):
        put_videos(dataset, folder, kept, publication.videos)
    with replace_atomically(folder / CARD_NAME) as file:
        file.write(card(publication, plan, folder, len(kept)).encode())
    print(f"{len(kept)} videos with their pairs -> {folder}")
    if publication.push:
        print(push(folder, publication.push))


def push(folder: Path, name: str) -> str:
    """Upload a folder to the hub; returns its address.

    Raises:
        UserError: the hub refuses, or cannot be reached.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        return str(hub.upload_folder(repo_id=name, folder_path=folder, repo_type="dataset"))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{name} cannot be written to at {hub.endpoint}: {reason}") from None


if __name__ == "__main__":
    run_script(main)
