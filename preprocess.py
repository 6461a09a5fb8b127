"""Stage 1: a folder of videos -> data/<dataset>/anno/videos.jsonl (shots, groups, key frames).

    python preprocess.py lv178k_1_2m_ytb 8                  # videos where data/datasets.yaml says
    python preprocess.py mine 2 --video_dir ~/videos        # any folder; remembered for `mine`
    python preprocess.py mine 2 --embedder color            # needs no weights, no GPU, no network
    python preprocess.py mine 2 --redo similarity --embedder clip

Steps, each a JSONL file that a person can read: init, scene, filter_scene, similarity, group,
filter_group, extract_frame, finalize. Run the same command again after a Ctrl-C or a crash: what is
finished stays finished, whatever world_size was. `python -m tools.status <dataset>` shows how it
stands.
"""

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.cli import (
    add_runner_flags,
    add_world_size,
    amount,
    run_script,
    runner_options,
    script_parser,
    share,
    whole,
)
from tools.errors import UserError
from tools.features.embedding import CHECKPOINTS, THRESHOLDS
from tools.runner.run import run
from tools.shots import detectors as shots
from tools.shots.steps import STEPS, Settings, settings_from
from tools.store.dataset import dataset_names, named_datasets, open_dataset
from tools.video.listing import list_videos


def parse_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """The command line."""
    parser = script_parser(__doc__)
    parser.add_argument("dataset", help="name of the dataset: its folder is data/<dataset>/")
    add_world_size(parser)
    parser.add_argument(
        "--video_dir",
        type=Path,
        metavar="DIR",
        help="folder of raw videos, nested and symlinked as you like: mp4 mkv webm mov avi m4v ts"
        " (default: the folder given last time, else the one in data/datasets.yaml)",
    )
    group = parser.add_argument_group("shots")
    group.add_argument(
        "--shot_detector",
        choices=["transnetv2", "adaptive"],
        default=Settings.shot_detector,
        help="transnetv2: a trained network, finds dissolves and fades too; adaptive: PySceneDetect"
        " on thumbnails, lighter, hard cuts only (default: %(default)s)",
    )
    group.add_argument(
        "--shot_threshold",
        type=amount,
        help="transnetv2: probability above which a frame belongs to a transition (default:"
        f" {shots.TRANSNET_THRESHOLD}); adaptive: how many times its neighbours' a frame's change"
        f" must be (default: {shots.ADAPTIVE_THRESHOLD})",
    )
    group.add_argument(
        "--min_shot_seconds",
        type=amount,
        default=Settings.min_shot_seconds,
        help="a shorter shot is left out, seconds (default: %(default)s)",
    )
    group.add_argument(
        "--min_gray_range",
        type=whole,
        default=Settings.min_gray_range,
        help="a shot whose frames together span fewer gray levels is blank and left out, 0..255"
        " (default: %(default)s)",
    )
    group = parser.add_argument_group("which videos are kept")
    group.add_argument(
        "--min_shots",
        type=whole,
        default=Settings.min_shots,
        help="fewest shots of a kept video (default: %(default)s)",
    )
    group.add_argument(
        "--max_shots",
        type=whole,
        default=Settings.max_shots,
        help="most shots of a kept video (default: %(default)s)",
    )
    group.add_argument(
        "--max_shot_seconds",
        type=amount,
        default=Settings.max_shot_seconds,
        help="longest shot of a kept video, seconds (default: %(default)s)",
    )
    group.add_argument(
        "--min_clips",
        type=whole,
        default=Settings.min_clips,
        help="fewest clips (merged groups) of a kept video (default: %(default)s)",
    )
    group.add_argument(
        "--max_group_clips",
        type=whole,
        default=Settings.max_group_clips,
        help="in how many clips one group may occur (default: %(default)s)",
    )
    group.add_argument(
        "--max_group_share",
        type=share,
        default=Settings.max_group_share,
        help="in what share of the clips, rounded down, one group may occur (default: a third)",
    )
    group = parser.add_argument_group("similarity of shots")
    group.add_argument(
        "--embedder",
        choices=["siglip", "clip", "color"],
        default=Settings.embedder,
        help="what compares shots: siglip (the method's), clip, or color (colour layout and"
        " texture; no weights) (default: %(default)s)",
    )
    group.add_argument(
        "--checkpoint",
        metavar="DIR_OR_ID",
        help="folder or hub id of the embedder's weights (default: "
        + ", ".join(f"{name}: {where}" for name, where in CHECKPOINTS.items())
        + ")",
    )
    group.add_argument(
        "--group_threshold",
        type=share,
        help="cosine similarity above which shots are grouped (default: "
        + ", ".join(f"{name}: {value}" for name, value in THRESHOLDS.items())
        + ")",
    )
    add_runner_flags(parser, steps=", ".join(step.name for step in STEPS))
    return parser.parse_args(argv)


def resolve(args: Namespace) -> Settings:
    """The settings, with the defaults that depend on the detector and the embedder filled in."""
    settings = settings_from(vars(args))
    if args.shot_threshold is None:
        adaptive = settings.shot_detector == "adaptive"
        threshold = shots.ADAPTIVE_THRESHOLD if adaptive else shots.TRANSNET_THRESHOLD
        settings = replace(settings, shot_threshold=threshold)
    if args.group_threshold is None:
        settings = replace(settings, group_threshold=THRESHOLDS[settings.embedder])
    if settings.shot_detector == "transnetv2" and settings.shot_threshold >= 1:
        raise UserError(f"--shot_threshold {settings.shot_threshold}: a probability is below 1")
    if settings.min_shots > settings.max_shots:
        raise UserError(
            f"--min_shots {settings.min_shots} is above --max_shots {settings.max_shots}:"
            " no video could pass"
        )
    return settings


def main(argv: Sequence[str] | None = None) -> None:
    """Run stage 1."""
    args = parse_arguments(argv)
    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True)
    if args.video_dir:
        folder = Path(os.path.normpath(args.video_dir.expanduser().absolute()))
        if not folder.is_dir():
            raise UserError(f"--video_dir {folder}: no such folder")
    else:
        found = dataset.video_dir()
        if found is None:
            names = ", ".join(sorted({*named_datasets(), *dataset_names(args.data_root)}))
            raise UserError(
                f"dataset {args.dataset!r} is not known; known by name: {names};"
                " for a folder of your own add --video_dir DIR"
            )
        folder = Path(os.path.normpath(found.absolute()))

    def init() -> None:
        list_videos(dataset, folder)
        if args.video_dir:
            dataset.remember_video_dir(folder)

    settings = resolve(args)
    run([step(dataset, settings) for step in STEPS], dataset, runner_options(args), init)


if __name__ == "__main__":
    run_script(main)
