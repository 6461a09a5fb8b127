"""What a pair's video costs a training: the toolkit's reader over decord's.

    python -m benchmarks.reader                       # a minute of 720p, joined from footage

ms-swift asks for the frames of a video once for each answer of a pair. Both readers give them
twice, in turn, at two frames a second and scaled to the paper's number of pixels; prints the
medians of their CPU seconds and the ratio. Exit code 1 where the frames differ or the ratio is
above the bound.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.flow import cpu_seconds
from benchmarks.footage import add_joined_flags, join
from tools.cli import script_parser
from tools.training.reader import register
from tools.video.budget import VIDEO_TOTAL_PIXELS


def main() -> int:
    """Measure, print, and compare with the bound."""
    parser = script_parser(__doc__)
    add_joined_flags(parser, max_ratio=0.5)
    args = parser.parse_args()

    import qwen_vl_utils
    import torch
    from qwen_vl_utils import vision_process

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        video = Path(name) / "joined.mp4"
        join(video, args.seconds, 1280, 720, max(1, args.seconds // 3), folder=args.footage)
        element = {"video": str(video), "total_pixels": VIDEO_TOTAL_PIXELS}
        times: dict[str, list[float]] = {"decord": [], "toolkit": []}
        frames: dict[str, torch.Tensor] = {}

        def read_for_both_answers(reader: str) -> None:
            for _ in range(2):
                frames[reader] = qwen_vl_utils.fetch_video(dict(element))

        for _ in range(args.repeat):
            for reader, own in times.items():
                qwen_vl_utils.fetch_video = vision_process.fetch_video
                vision_process.FORCE_QWENVL_VIDEO_READER = reader
                vision_process.get_video_reader_backend.cache_clear()
                if reader == "toolkit":
                    register()
                own.append(cpu_seconds(partial(read_for_both_answers, reader)))
    decord, toolkit = (median(own) for own in times.values())
    same = torch.equal(*frames.values())
    print(f"{len(frames['toolkit'])} frames; both readers give the same: {same}")
    seconds = f"decord {decord:.2f}, toolkit {toolkit:.2f}"
    print(f"{args.seconds} s of 720p for both answers of a pair, CPU s: {seconds}")
    print(f"ratio {toolkit / decord:.2f} (at most {args.max_ratio})")
    return int(not same or toolkit / decord > args.max_ratio)


if __name__ == "__main__":
    sys.exit(main())
