"""Vectors by CLIP: of text videos, with the memory for projection, and of real videos.

    python -m prealignment.features textvid 8                      # text vectors and the memory
    python -m prealignment.features textvid 8 --import features    # <video_id>.pkl, as released
    python -m prealignment.features textvid 1 --import memory.pkl  # the memory alone
    python -m prealignment.features nextqa 8 --split val           # the videos of these questions
    python -m prealignment.features mvbench 8 --split test --frames 10 --protocol mvbench
    python -m prealignment.features nextqa 1 --split val --import clipvitl14.pth

Without --split, the entries of each frame of anno/tideos.jsonl are read by CLIP's text tower and
become one vector. With it, pictures are read by the image tower: --fps a second of the whole video,
or --frames of the part that a question is about. The vectors are in
data/<dataset>/features/<clip>/. After a Ctrl-C or a crash, run the same command again.
"""

from collections.abc import Sequence
from pathlib import Path

from prealignment.vectors.images import ImageVectorsStep, write_videos
from prealignment.vectors.memory import write_memory
from prealignment.vectors.pickles import read_rows
from prealignment.vectors.rows import unit
from prealignment.vectors.step import FeatureSettings
from prealignment.vectors.texts import TextVectorsStep, write_index, write_shards
from tools.cli import (
    add_dataset,
    add_settings,
    run_script,
    script_parser,
    settings_from,
)
from tools.runner.options import Options
from tools.store.dataset import open_dataset


def main(argv: Sequence[str] | None = None) -> None:
    """Make or import the vectors of a data set."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument(
        "--import",
        dest="source",
        type=Path,
        metavar="PATH",
        help="take the vectors of others: with --split a dict of tensors by the videos' names, or a"
        " folder of <name>.npy or .pkl; without it a folder of <video_id>.pkl, one row for each"
        " entry of each frame, or the file of a memory",
    )
    add_settings(parser, FeatureSettings)
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings = settings_from(args, FeatureSettings)
    options = settings_from(args, Options)

    from tools.runner.run import run

    if settings.split:
        step = ImageVectorsStep(dataset, settings)
        run([step], dataset, options, prepare=lambda: write_videos(dataset, settings))
    elif settings.source and settings.source.is_file():
        rows, clip = read_rows(settings.source), settings.clip_name
        path = dataset.memory(clip)
        blocks = [unit(rows)]
        count = write_memory(path, blocks, rows.shape, clip, settings.memory_rows, settings.seed)
        print(f"memory of {count} vectors -> {path}")
    else:
        texts = TextVectorsStep(dataset, settings)
        run([texts], dataset, options, prepare=lambda: write_shards(dataset))
        write_index(dataset, settings, texts.writes[0])


if __name__ == "__main__":
    run_script(main)
