"""Fine-tuning rows for ms-swift out of LLaVA-Video-178K's own JSON files.

    python -m tools.training.sft_data --source 'llava_video_178k/*.json' --video_root DIR --n 60000
    python -m tools.training.sft_data --source some.json --video_root DIR --n 500 --output my.json

A source file is a JSON array of {id, conversations: [{from: human | gpt, value}...], data_source,
video}. The sample is stratified: each data_source has the share of the output that it has of the
usable rows. The output is a JSON array, one row a line, <name>.report.json beside it says what was
left out and why:

    {"messages": [{"role": "user", "content": "<video>QUESTION"},
                  {"role": "assistant", "content": ANSWER}...], "videos": [PATH]}
"""

import argparse
import glob
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table as Screen
from tqdm import tqdm

from tools.cli import new_file, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import SWIFT_DATA
from tools.store.files import json_array, write_json
from tools.store.jsonl import dumps
from tools.store.locks import sole_writer
from tools.video.decode import VideoError, open_video

ROLES = {"human": "user", "gpt": "assistant"}
PLACE = re.compile(r"<image>\n?")  # where the video goes in LLaVA's conversations
# What training would take for media or for marks of its chat template.
TAG = re.compile(r"<(?:video|image|audio)>|<\|\w+\|>")
REASONS = {
    "no_video_named": "the row names no video",
    "conversation": "not turns of human and gpt, one after the other, the last one gpt's",
    "empty": "a turn has no text",
    "tag": "the text holds <image> more than once, or another mark of training's",
    "video_gone": "there is no such file under --video_root",
    "video_broken": "the file is no video",
}


@dataclass(frozen=True)
class Place:
    """Where a usable row stands, and its video."""

    file: int
    row: int
    video: Path


@dataclass
class Source:
    """What became of the rows of one data_source: rows = left out + not drawn + taken."""

    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    usable: list[Place] = field(default_factory=list)
    taken: list[Place] = field(default_factory=list)


class Videos:
    """Finds the files of videos; LLaVA's paths begin at the folder that its archives were unpacked
    in, which may be one for all or one a data_source."""

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))
        self.find = lru_cache(maxsize=None)(self._find)
        self.opens = lru_cache(maxsize=None)(self._opens)

    def _find(self, source: str, video: str) -> Path | None:
        for folder in (self._root, self._root / source):
            if (folder / video).is_file():
                return folder / video
        return None

    def _opens(self, path: Path) -> bool:
        try:
            with open_video(path):
                return True
        except VideoError:
            return False


def messages(row: dict[str, Any]) -> list[dict[str, str]] | str:
    """The conversation as ms-swift has it, <video> in front of the first question; or the reason
    for which it cannot be used."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2 or len(turns) % 2:
        return "conversation"
    found = []
    for number, turn in enumerate(turns):
        role, text = ("user", "assistant")[number % 2], turn.get("value")
        if ROLES.get(turn.get("from", "")) != role or not isinstance(text, str):
            return "conversation"
        if number == 0:
            text = PLACE.sub("", text, count=1)
        if not text.strip():
            return "empty"
        if TAG.search(text):
            return "tag"
        found.append({"role": role, "content": f"<video>{text}" if number == 0 else text})
    return found


def look(row: dict[str, Any], videos: Videos) -> Path | str:
    """The video of a row that can be used; else the reason why it cannot."""
    if not isinstance(row.get("video"), str) or not row["video"]:
        return "no_video_named"
    read = messages(row)
    if isinstance(read, str):
        return read
    return videos.find(str(row.get("data_source", "")), row["video"]) or "video_gone"


def read_source(path: Path) -> list[dict[str, Any]]:
    """The rows of a source file.

    Raises:
        UserError: it is not a JSON array of objects.
    """
    try:
        rows = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not a JSON array of rows, as LLaVA-Video-178K's files are")
    return rows


def survey(files: Sequence[Path], videos: Videos) -> dict[str, Source]:
    """Look at every row; one file at a time is in memory."""
    sources: dict[str, Source] = {}
    for number, path in enumerate(tqdm(files, desc="sources", unit="file")):
        for index, row in enumerate(read_source(path)):
            source = sources.setdefault(str(row.get("data_source", path.stem)), Source())
            source.rows += 1
            found = look(row, videos)
            if isinstance(found, str):
                source.left_out[found] += 1
            else:
                source.usable.append(Place(number, index, found))
    return dict(sorted(sources.items()))


def shares(sizes: dict[str, int], n: int) -> dict[str, int]:
    """How many of n rows each source gives: in proportion to its size, rounded by largest
    remainder (of equal ones the first), and all of them if there are fewer than n."""
    total = sum(sizes.values())
    n = min(n, total)
    exact = {name: n * size / total if total else 0.0 for name, size in sizes.items()}
    found = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: found[name] - exact[name])
    for name in by_remainder[: n - sum(found.values())]:
        found[name] += 1
    return found


def draw(sources: dict[str, Source], videos: Videos, n: int, seed: int) -> None:
    """Fill `taken` of every source; a video that does not open is replaced by the next row's.

    Where broken videos leave a source short, the others give more.
    """
    for name, source in sources.items():
        random.Random(f"{seed}/{name}").shuffle(source.usable)
    waiting = {name: _opening(source, videos) for name, source in sources.items()}
    with tqdm(total=n, desc="videos", unit="row") as bar:
        while True:
            left = {
                name: len(source.usable) - len(source.taken) - source.left_out["video_broken"]
                for name, source in sources.items()
            }
            quota = shares(left, n - sum(len(source.taken) for source in sources.values()))
            if not any(quota.values()):
                return
            for name, count in quota.items():
                for place in islice(waiting[name], count):
                    sources[name].taken.append(place)
                    bar.update()


def _opening(source: Source, videos: Videos) -> Iterator[Place]:
    """The places whose video opens; the others are counted."""
    for place in source.usable:
        if videos.opens(place.video):
            yield place
        else:
            source.left_out["video_broken"] += 1


def write_rows(output: Path, files: Sequence[Path], sources: dict[str, Source]) -> int:
    """Write what was taken, in the order of the files; returns the number of rows."""
    wanted: dict[int, dict[int, Path]] = {}
    for source in sources.values():
        for place in source.taken:
            wanted.setdefault(place.file, {})[place.row] = place.video
    count = 0
    with json_array(output) as write:
        for number in sorted(wanted):
            rows = read_source(files[number])
            for index, video in sorted(wanted[number].items()):
                write(dumps({"messages": messages(rows[index]), "videos": [str(video)]}))
                count += 1
    return count


def report(sources: dict[str, Source]) -> dict[str, dict[str, Any]]:
    """source -> rows = the left out, for each reason, + not_drawn + taken."""
    return {
        name: {
            "rows": source.rows,
            **{reason: source.left_out[reason] for reason in REASONS},
            "not_drawn": source.rows - source.left_out.total() - len(source.taken),
            "taken": len(source.taken),
        }
        for name, source in sources.items()
    }


def show(counts: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the report, without the reasons that did not occur."""
    columns = [
        key
        for key in ("rows", *REASONS, "not_drawn", "taken")
        if key in ("rows", "not_drawn", "taken") or any(one[key] for one in counts.values())
    ]
    screen = Screen("data_source", box=SIMPLE, pad_edge=False)
    for key in columns:
        screen.add_column(key, justify="right")
    for name, one in counts.items():
        screen.add_row(name, *(str(one[key]) for key in columns))
    sums = (str(sum(one[key] for one in counts.values())) for key in columns)
    screen.add_row("all", *sums)
    console.print(screen)


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = script_parser(
        f"{__doc__}\nWhy a row is left out, in the order of the rules:\n"
        + "\n".join(f"    {name:<15} {meaning}" for name, meaning in REASONS.items())
    )
    parser.add_argument(
        "--source",
        nargs="+",
        required=True,
        metavar="FILE",
        help="JSON files of LLaVA-Video-178K; patterns such as 'DIR/*/*.json' are expanded",
    )
    parser.add_argument(
        "--video_root",
        type=Path,
        required=True,
        metavar="DIR",
        help="where the videos are: DIR/<video> or DIR/<data_source>/<video>",
    )
    parser.add_argument(
        "--n", type=positive, default=60_000, help="rows to write (default: %(default)s, the paper)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    parser.add_argument(
        "--output",
        type=new_file,
        metavar="FILE",
        help="default: swift_data/llava-video-sft-<n>.json in the repository, 60000 written 60k",
    )
    return parser.parse_args(argv)


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files that match, sorted, each once.

    Raises:
        UserError: a pattern matches nothing.
    """
    found: set[str] = set()
    for pattern in patterns:
        matching = glob.glob(os.path.expanduser(pattern), recursive=True)
        if not matching:
            raise UserError(f"--source {pattern}: no such file")
        found |= {os.path.abspath(path) for path in matching}
    return [Path(path) for path in sorted(found)]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sample and its report."""
    args = parse_arguments(argv)
    size = f"{args.n // 1000}k" if args.n % 1000 == 0 else str(args.n)
    output = args.output or SWIFT_DATA / f"llava-video-sft-{size}.json"
    report_path = output.with_name(f"{output.stem}.report.json")
    if not args.video_root.is_dir():
        raise UserError(f"--video_root {args.video_root}: no such folder")
    if output.exists() and not report_path.exists():
        raise UserError(
            f"{output} is there already, and no {report_path.name} beside it: name another"
            " --output, or move it away"
        )
    files = find_files(args.source)
    videos = Videos(args.video_root)
    with sole_writer(output):
        sources = survey(files, videos)
        draw(sources, videos, args.n, args.seed)
        counts = report(sources)
        taken = sum(one["taken"] for one in counts.values())
        if not taken:
            show(counts, Console())
            raise UserError(f"not one usable row in {len(files)} files: nothing is written")
        write_json(
            report_path,
            {"n": args.n, "seed": args.seed, "files": list(map(str, files)), "sources": counts},
        )
        write_rows(output, files, sources)
    show(counts, Console())
    if taken < args.n:
        print(f"warning: {taken} usable rows, {args.n} were asked for")
    print(output)


if __name__ == "__main__":
    run_script(main)
