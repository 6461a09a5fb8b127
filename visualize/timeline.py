"""A picture of one video: its shots on a time line, its groups as colours, its key frames.

python -m visualize.timeline toyworld toy_0016.mp4 --out timeline.png
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.cli import add_data_root, add_dataset, new_file, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import disk_errors_in_one_line
from tools.store.jsonl import Record
from tools.video.decode import VideoError
from tools.video.frames import read_frames
from tools.video.scan import Scan, scan_file

# Okabe and Ito's palette, told apart by colour-blind readers too, and some more behind it.
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B7A800", "#7A7A7A"),
    *("#5B3A9B", "#8C510A", "#7FBC41", "#C51B7D", "#01665E", "#A50026", "#4D4D4D", "#F4A6A0"),
)
INK, FAINT, PAPER = "#1b1f24", "#8a929b", "#ffffff"
WIDTH, MARGIN, GAP = 1800, 48, 10
TITLE_TOP, BAR_TOP, BAR_HEIGHT, FRAMES_TOP = 30, 104, 44, 236


def draw(record: Record, frames: dict[int, np.ndarray], scan: Scan) -> Image.Image:
    """Draw one record of videos.jsonl.

    Args:
        frames: the key frames by index, (height, width, 3) uint8 RGB.
        scan: the video's times.
    """
    seconds = scan.end_time
    pairs, clips = record["frame_indices"], record["merged_groups"]
    across = WIDTH - 2 * MARGIN
    column = (across - GAP * (len(pairs) - 1)) / len(pairs)
    height, width = next(iter(frames.values())).shape[:2]
    tall = round(column * height / width)
    size = (round(column), tall)
    picture = Image.new("RGB", (WIDTH, FRAMES_TOP + 2 * tall + GAP + 52), PAPER)
    pen = ImageDraw.Draw(picture)
    colours = group_colours(clips)
    groups = len({group for group, _ in clips})

    def write(x: float, y: float, text: str, size: int, fill: str, anchor: str) -> None:
        pen.text((x, y), text, fill, ImageFont.load_default(size), anchor=anchor)

    write(MARGIN, TITLE_TOP, record["video_name"], 30, INK, "lt")
    facts = f"{seconds:.1f} s    {len(record['filtered_cuts'])} shots    {len(clips)} clips"
    write(WIDTH - MARGIN, TITLE_TOP + 4, f"{facts}    {groups} groups", 24, FAINT, "rt")

    def at(time: float) -> float:
        return MARGIN + across * time / seconds

    pen.rounded_rectangle((MARGIN, BAR_TOP, WIDTH - MARGIN, BAR_TOP + BAR_HEIGHT), 6, "#e9ecef")
    for number, (_, members) in enumerate(clips):
        cuts = [record["filtered_cuts"][shot] for shot in members]
        spans = [scan.span_times(start, end) for _, start, end in cuts]
        for begin, after in spans:
            box = (at(begin) + 1, BAR_TOP, at(after) - 1, BAR_TOP + BAR_HEIGHT)
            pen.rounded_rectangle(box, 5, colours[number])
        left = MARGIN + number * (column + GAP)
        middle = (at(spans[0][0]) + at(spans[-1][1])) / 2
        elbow = [(middle, BAR_TOP + BAR_HEIGHT + 22), (left + column / 2, FRAMES_TOP - 28)]
        ends = [(middle, BAR_TOP + BAR_HEIGHT + 3), (left + column / 2, FRAMES_TOP - 8)]
        pen.line([ends[0], *elbow, ends[1]], colours[number], 3, joint="curve")
        for row, index in enumerate(pairs[number]):
            time = float(scan.times[index])
            pen.line((at(time), BAR_TOP + 8, at(time), BAR_TOP + BAR_HEIGHT - 8), PAPER, 3)
            top = FRAMES_TOP + row * (tall + GAP)
            small = Image.fromarray(frames[index]).resize(size, Image.Resampling.LANCZOS)
            picture.paste(small, (round(left), top))
            border = (round(left), top, round(left) + size[0] - 1, top + tall - 1)
            pen.rectangle(border, outline=colours[number], width=3)
        below = FRAMES_TOP + 2 * tall + GAP + 10
        write(left + column / 2, below, f"{number + 1}", 20, colours[number], "mt")
    for tick in range(0, int(seconds) + 1, tick_seconds(seconds)):
        write(at(tick), BAR_TOP - 8, f"{tick} s", 17, FAINT, "mb")
    return picture


def tick_seconds(seconds: float) -> int:
    """How far apart the marks on a time line of so many seconds are, so that they are a few."""
    return next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300, 3600) if seconds / step < 16)


def group_colours(clips: list[Any]) -> list[str]:
    """A colour a clip: groups that occur more than once take the strong ones first."""
    ids = [group for group, _ in clips]
    order = sorted(dict.fromkeys(ids), key=lambda group: (-ids.count(group), ids.index(group)))
    return [PALETTE[order.index(group) % len(PALETTE)] for group in ids]


def find(dataset: Dataset, name: str | None) -> Record:
    """The kept video of a name or id; the first one where none is given.

    Raises:
        UserError: there is none.
    """
    for record in dataset.videos().sorted_records():
        if not record.get("filtered") and name in (None, record["video_name"], record["video_id"]):
            return record
    raise UserError(f"no kept video {name or ''} in {dataset.videos().path}")


def key_frames(dataset: Dataset, record: Record) -> tuple[dict[int, np.ndarray], Scan]:
    """The key frames of a record of videos.jsonl by index, and the video's times.

    Raises:
        UserError: the video cannot be read.
    """
    video, indices = dataset.video_path(record), np.ravel(record["frame_indices"]).tolist()
    try:
        scan = scan_file(video, dataset.scan_path(record["video_id"]))
        return read_frames(video, indices, scan), scan
    except VideoError as error:
        raise UserError(f"{video}: {error}") from None


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture of one video."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    parser.add_argument("video", nargs="?", help="name or id of a kept video (default: the first)")
    parser.add_argument(
        "--out", type=new_file, default=Path("timeline.png"), help="picture to write"
    )
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    record = find(dataset, args.video)
    frames, scan = key_frames(dataset, record)
    with disk_errors_in_one_line(args.out):
        draw(record, frames, scan).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    run_script(main)
