"""Stage 1: a folder of videos -> data/<dataset>/anno/videos.jsonl (shots, groups, key frames).

    python preprocess.py lv178k_1_2m_ytb 8                  # videos where data/datasets.yaml says
    python preprocess.py --dataset mine 2 --video_dir ~/videos      # any folder; it is remembered
    python preprocess.py --dataset mine 2 --embedder color          # no weights, GPU or network
    python preprocess.py --dataset mine 2 --redo similarity --embedder clip
    python preprocess.py --dataset takes 2 --video_dir DIR --shot_detector fixed --shot_seconds 4

The steps are init, scene, filter_scene, similarity, group, filter_group, extract_frame and
finalize; each writes a JSONL file that a person can read. After a Ctrl-C or a crash, run the same
command again: finished work is kept, whatever world_size was. `python -m tools.status <dataset>`
shows the progress.
"""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tools.cli import add_dataset, add_settings, run_script, script_parser, settings_from
from tools.errors import UserError, did_you_mean
from tools.runner.options import Options
from tools.shots.settings import Settings
from tools.store.dataset import Dataset, dataset_names, named_datasets, open_dataset
from tools.video.listing import Listing, list_videos


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
    add_settings(parser, Listing)
    add_settings(parser, Settings)
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


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 1."""
    args = parse_arguments(argv)
    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True)
    folder = video_folder(args, dataset)
    settings = settings_from(args, Settings)

    from tools.runner.run import run
    from tools.shots.steps import STEPS

    def init() -> None:
        with dataset.lock("init"):
            list_videos(dataset, folder, settings_from(args, Listing))
        if args.video_dir:
            dataset.remember_video_dir(folder)

    steps = [step(dataset, settings) for step in STEPS]
    run(steps, dataset, settings_from(args, Options), init, folder)


if __name__ == "__main__":
    run_script(main)
