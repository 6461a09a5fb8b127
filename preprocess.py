"""Stage 1: a folder of videos -> data/<dataset>/anno/videos.jsonl (shots, groups, key frames).

    python preprocess.py lv178k_1_2m_ytb 8                  # videos where data/datasets.yaml says
    python preprocess.py --dataset mine 2 --video_dir ~/videos      # any folder; it is remembered
    python preprocess.py --dataset mine 2 --embedder color          # no weights, GPU or network
    python preprocess.py --dataset mine 2 --redo similarity --embedder clip
    python preprocess.py --dataset takes 2 --video_dir DIR --shot_detector fixed --shot_seconds 4
    python preprocess.py huge 8 --video_dir DIR --shard_digits 2    # lists them in 256 shards
    python preprocess.py huge 8 --shards 00-0f                      # stage 1 of 16 of them

The steps are init, scene, filter_scene, similarity, group, filter_group, extract_frame and
finalize; each writes a JSONL file that a person can read. After a Ctrl-C or a crash, run the same
command again: finished work is kept, whatever world_size was. `python -m tools.status <dataset>`
shows the progress.
"""

import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.cli import (
    add_dataset,
    add_settings,
    add_shards,
    positive,
    run_script,
    script_parser,
    settings_from,
)
from tools.errors import UserError, did_you_mean
from tools.runner.options import Options
from tools.shots.settings import Settings
from tools.store.dataset import Dataset, dataset_names, open_dataset, open_shards
from tools.store.named import named_datasets
from tools.store.shards import MOST_DIGITS
from tools.video.kept_scans import KeptScans
from tools.video.listing import Listing, find_videos, list_videos


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument(
        "--video_dir",
        type=Path,
        metavar="DIR",
        help="folder of raw videos (mp4 mkv webm mov avi m4v ts), read with its subfolders and"
        " symlinks (default: the folder given last time, else the one in data/datasets.yaml)",
    )
    parser.add_argument(
        "--shard_digits",
        type=positive,
        metavar="N",
        help="for many millions of videos: list them in 16, 256 or 4096 shards (N is 1, 2 or 3),"
        " each a data set like any other, and stop there (default: no shards)",
    )
    add_shards(parser)
    add_settings(parser, Listing)
    add_settings(parser, Settings)
    add_settings(parser, KeptScans)
    add_settings(parser, Options)
    return parser.parse_args(argv)


def video_folder(args: Namespace, dataset: Dataset) -> Path:
    """The folder of raw videos, absolute; raises UserError where --video_dir is no folder, or no
    folder is known for this dataset."""
    known = args.video_dir or dataset.video_dir()
    if known is None:
        names = sorted({*named_datasets(), *dataset_names(args.data_root)})
        raise UserError(
            f"dataset {args.dataset!r} is not known; known by name: {', '.join(names)};"
            f" for a folder of your own add --video_dir DIR{did_you_mean(args.dataset, names)}"
        )
    folder = Path(os.path.normpath(known.expanduser().absolute()))
    if args.video_dir and not folder.is_dir():
        raise UserError(f"--video_dir {folder}: no such folder")
    return folder


def list_all(args: Namespace, dataset: Dataset, folder: Path) -> None:
    """The step init: bring the listing of all videos up to date with their folder."""
    # Here, since numpy takes as long to import as --help does to print.
    from tools.video.unchanged import is_unchanged

    listing = settings_from(args, Listing)
    with dataset.lock("init"):
        if not is_unchanged(dataset, folder, listing):
            list_videos(dataset, folder, listing)
    if args.video_dir:
        dataset.remember_video_dir(folder)
    if not dataset.about().get("listed", True):
        dataset.note(listed=True)


def make_shards(args: Namespace, dataset: Dataset, folder: Path) -> None:
    """List all videos in shards; raises UserError where the dataset is there and has others."""
    digits = args.shard_digits
    if digits > MOST_DIGITS:
        raise UserError(
            f"--shard_digits {digits}: 1, 2 or 3, for 16, 256 or 4096 shards; 100,000 videos a"
            " shard are a good size"
        )
    if dataset.shard_digits not in (0, digits):
        raise UserError(
            f"--shard_digits {digits}: {dataset.name} has shards of {dataset.shard_digits} digits"
        )
    if dataset.anno.exists():
        raise UserError(
            f"--shard_digits {digits}: {dataset.name} is there without shards; give the sharded"
            " data set another name"
        )
    extensions = settings_from(args, Listing).extensions()
    if not folder.is_dir() or not any(find_videos(folder, extensions)):
        raise UserError(f"video folder {folder}: no video in it; name another with --video_dir")
    if not dataset.shard_digits:
        # A first listing that is interrupted leaves some shards: they must not pass for all.
        facts = {"shard_digits": digits, "video_dir": str(folder), "listed": False}
        dataset.note(ids=dataset.ids, **facts)
    dataset = open_dataset(dataset.name, args.data_root, whole=True)
    list_all(args, dataset, folder)
    shards = dataset.shards()
    print(
        f"{len(shards)} shards, {shards[0].shard} to {shards[-1].shard}: the same command without"
        " --shard_digits does stage 1 of all of them, with --shards of some"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 1."""
    args = parse_arguments(argv)
    of_shards = args.shards is not None or "/" in args.dataset
    if of_shards and (args.video_dir or args.shard_digits):
        what = args.dataset if args.shards is None else "--shards"
        raise UserError(
            f"{what} takes videos that are listed: leave --video_dir and --shard_digits out"
        )
    settings = settings_from(args, Settings)

    from tools.runner.fingerprints import check_shards
    from tools.runner.run import NothingToDo, run, run_shards
    from tools.shots.steps import STEPS

    def stage_one(
        dataset: Dataset,
        prepare: Callable[[], None] | None = None,
        videos: Path | None = None,
    ) -> None:
        steps = [step(dataset, settings) for step in STEPS]
        if not args.redo:
            check_shards(steps, dataset)
        written = [step.writes[0] for step in steps]
        scans = settings_from(args, KeptScans)
        try:
            run(steps, dataset, settings_from(args, Options), prepare, videos)
        except NothingToDo:  # for the later steps: all videos are filtered
            scans.delete_others(dataset, written)
            raise
        scans.delete_others(dataset, written)

    if of_shards:
        shards = open_shards(args.dataset, args.data_root, args.shards)
        if not shards[0].about().get("listed", True):
            raise UserError(
                f"the videos of {shards[0].name} are not all listed, since that was interrupted:"
                f" run preprocess.py {shards[0].name} {args.world_size} without --shards"
            )
        run_shards(shards, stage_one)
        return
    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True, whole=True)
    folder = video_folder(args, dataset)
    is_new = not dataset.root.exists()
    try:
        if args.shard_digits:
            make_shards(args, dataset, folder)
        elif dataset.shard_digits:
            list_all(args, dataset, folder)
            run_shards(open_shards(args.dataset, args.data_root, None), stage_one)
        else:
            stage_one(dataset, lambda: list_all(args, dataset, folder), folder)
    except UserError:
        if is_new:
            dataset.discard_if_empty()
        raise


if __name__ == "__main__":
    run_script(main)
