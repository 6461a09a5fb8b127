"""A picture of one preference pair: the clips in both orders, and the text written from each.

python -m visualize.pair toystories toy_0001.mp4 --out docs/pair.png
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.cli import add_data_root, new_file, run_script, script_parser
from tools.errors import UserError
from tools.pairs.perturbation import Config
from tools.store.dataset import open_dataset
from tools.store.files import disk_errors_in_one_line
from tools.store.jsonl import Record
from visualize.timeline import INK, PALETTE, PAPER, find, key_frames

WIDTH, MARGIN, GAP, BETWEEN, LINE = 1800, 40, 10, 110, 36  # pixels
CHARACTERS = 145  # a line of text
CHOSEN, REJECTED = "#1a7f37", "#cf222e"


def draw(frames: Sequence[np.ndarray], chosen: Record, rejected: Record) -> Image.Image:
    """Draw two rows of stage 3.

    Args:
        frames: one frame a clip, (height, width, 3) uint8 RGB, in the order of the video.
        chosen: the response to the clips in their order.
        rejected: the response to a perturbed list of them.
    """
    side = (WIDTH - 2 * MARGIN - GAP * (len(frames) - 1)) // len(frames)
    tall = round(side * frames[0].shape[0] / frames[0].shape[1])
    texts = [textwrap.wrap(row["response"], CHARACTERS) for row in (chosen, rejected)]
    top = MARGIN + LINE * (len(texts[0]) + 1) + GAP
    bottom = top + tall + BETWEEN
    height = bottom + tall + GAP + LINE * (len(texts[1]) + 1) + MARGIN
    picture = Image.new("RGB", (WIDTH, height), PAPER)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(27)

    def left(place: int) -> int:
        return MARGIN + place * (side + GAP)

    places = {clip: place for place, clip in enumerate(rejected["info"]["selected_indices"])}
    for clip, frame in enumerate(frames):
        colour = PALETTE[clip % len(PALETTE)]
        image = Image.fromarray(frame).resize((side, tall), Image.Resampling.LANCZOS)
        corners = [(left(clip), top)]
        if clip in places:
            corners.append((left(places[clip]), bottom))
            ends = ((left(clip) + side / 2, top + tall), (corners[1][0] + side / 2, bottom))
            pen.line(ends, colour, 5)
        for x, y in corners:
            picture.paste(image, (x, y))
            pen.rectangle((x, y, x + side - 1, y + tall - 1), outline=colour, width=4)
            pen.rectangle((x, y, x + 40, y + 40), fill=colour)
            pen.text((x + 20, y + 20), str(clip + 1), PAPER, font, anchor="mm")
    headings = (
        (MARGIN, "Chosen: written from the clips in the order of the video", CHOSEN, texts[0]),
        (bottom + tall + GAP, "Rejected: written from a perturbed order", REJECTED, texts[1]),
    )
    for y, heading, colour, lines in headings:
        pen.text((MARGIN, y), heading, colour, font, stroke_width=0.5)
        for number, line in enumerate(lines, 1):
            pen.text((MARGIN, y + number * LINE), line, INK, font)
    return picture


def main(argv: Sequence[str] | None = None) -> None:
    """Write the picture of one pair."""
    parser = script_parser(__doc__)
    parser.add_argument("dataset", help="name of the dataset, as given to preprocess.py")
    parser.add_argument("video", nargs="?", help="name or id of a video (default: the first)")
    parser.add_argument("--model", default="toyvl", help="whose responses (default: %(default)s)")
    parser.add_argument(
        "--config", default="reverse_4", help="noise and magnitude (default: %(default)s)"
    )
    parser.add_argument("--out", type=new_file, default=Path("pair.png"), help="picture to write")
    add_data_root(parser)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    record = find(dataset, args.video)
    sides = []
    for name in ("none_1", args.config):
        config = Config.parse(f"caption_caption_{name}_False_False").name
        table = dataset.responses(args.model, config)
        rows = [row for row in table.read() if row["video_id"] == record["video_id"]]
        if not rows or rows[0].get("filtered"):
            raise UserError(f"no response to {record['video_name']} in {table.path}")
        sides.append(rows[0])
    frames, _ = key_frames(dataset, record)
    with disk_errors_in_one_line(args.out):
        clips = [frames[first] for first, _ in record["frame_indices"]]
        draw(clips, *sides).save(args.out, optimize=True)
    print(args.out)


if __name__ == "__main__":
    run_script(main)
