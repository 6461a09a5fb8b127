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

import glob
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

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


class Place(NamedTuple):
    """Where a usable row stands (number of its file, number in the file), and its video."""

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

    def counts(self) -> dict[str, int]:
        """The rows, those left out for each reason, not drawn and taken."""
        reasons = {reason: self.left_out[reason] for reason in REASONS}
        not_drawn = self.rows - self.left_out.total() - len(self.taken)
        return {"rows": self.rows, **reasons, "not_drawn": not_drawn, "taken": len(self.taken)}


@cache
def find_video(root: Path, source: str, video: str) -> Path | None:
    """The file of a video: LLaVA's paths begin at the folder in which its archives were unpacked,
    which may be one for all or one for each data_source."""
    return next((path for path in (root / video, root / source / video) if path.is_file()), None)


@cache
def opens(path: Path) -> bool:
    """Is this file a video?"""
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
    read = []
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
        read.append({"role": role, "content": f"<video>{text}" if number == 0 else text})
    return read


def usable_video(row: dict[str, Any], root: Path) -> Path | str:
    """The video of a row that can be used; else the reason why it cannot."""
    if not isinstance(row.get("video"), str) or not row["video"]:
        return "no_video_named"
    read = messages(row)
    if isinstance(read, str):
        return read
    return find_video(root, str(row.get("data_source", "")), row["video"]) or "video_gone"


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


def survey(files: Sequence[Path], root: Path) -> dict[str, Source]:
    """Look at every row; one file at a time is in memory."""
    sources: dict[str, Source] = {}
    for number, path in enumerate(tqdm(files, desc="sources", unit="file")):
        for index, row in enumerate(read_source(path)):
            source = sources.setdefault(str(row.get("data_source", path.stem)), Source())
            source.rows += 1
            video = usable_video(row, root)
            if isinstance(video, str):
                source.left_out[video] += 1
            else:
                source.usable.append(Place(number, index, video))
    return dict(sorted(sources.items()))


def shares(sizes: dict[str, int], n: int) -> dict[str, int]:
    """How many of n rows each source gives: in proportion to its size, rounded by largest
    remainder (of equal ones the first), and all of them if there are fewer than n."""
    total = sum(sizes.values())
    n = min(n, total)
    exact = {name: n * size / total if total else 0.0 for name, size in sizes.items()}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: n - sum(counts.values())]:
        counts[name] += 1
    return counts


def draw(sources: dict[str, Source], n: int, seed: int) -> None:
    """Fill `taken` of every source; a video that does not open is replaced by the next row's.

    Where broken videos leave a source short, the others give more.
    """
    for name, source in sources.items():
        random.Random(f"{seed}/{name}").shuffle(source.usable)
    waiting = {name: _opening(source) for name, source in sources.items()}
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


def _opening(source: Source) -> Iterator[Place]:
    """The places whose video opens; the others are counted."""
    for place in source.usable:
        if opens(place.video):
            yield place
        else:
            source.left_out["video_broken"] += 1


def write_rows(output: Path, files: Sequence[Path], sources: dict[str, Source]) -> None:
    """Write what was taken, in the order of the files."""
    places = sorted(place for source in sources.values() for place in source.taken)
    with json_array(output) as write:
        for number, group in groupby(places, key=lambda place: place.file):
            rows = read_source(files[number])
            for place in group:
                row = {"messages": messages(rows[place.row]), "videos": [str(place.video)]}
                write(dumps(row))


def show(counts: dict[str, dict[str, int]]) -> None:
    """Print the counts of each data_source, without the reasons that did not occur."""
    sums: Counter[str] = Counter()
    for source in counts.values():
        sums.update(source)
    columns = [key for key in ("rows", *REASONS) if key == "rows" or sums[key]]
    columns += ["not_drawn", "taken"]
    screen = Screen("data_source", box=SIMPLE, pad_edge=False)
    for key in columns:
        screen.add_column(key, justify="right")
    for name, source in {**counts, "all": sums}.items():
        screen.add_row(name, *(str(source[key]) for key in columns))
    Console().print(screen)


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files that match, sorted, each once.

    Raises:
        UserError: a pattern matches nothing.
    """
    files: set[str] = set()
    for pattern in patterns:
        matching = glob.glob(os.path.expanduser(pattern), recursive=True)
        if not matching:
            raise UserError(f"--source {pattern}: no such file")
        files |= {os.path.abspath(path) for path in matching}
    return [Path(path) for path in sorted(files)]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the sample and its report."""
    parser = script_parser(
        f"{__doc__}\nWhy a row is left out, in the order of the rules:\n"
        + "\n".join(f"    {name:<15} {meaning}" for name, meaning in REASONS.items())
    )
    add = parser.add_argument
    add("--source", nargs="+", required=True, metavar="FILE", help="JSON files, or 'DIR/*/*.json'")
    add("--video_root", type=Path, required=True, help="holds <video> or <data_source>/<video>")
    add(
        "--n", type=positive, default=60_000, help="rows to write (default: %(default)s, the paper)"
    )
    add("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    default = "swift_data/llava-video-sft-<n>.json in the repository, 60000 written 60k"
    add("--output", type=new_file, metavar="FILE", help=f"default: {default}")
    args = parser.parse_args(argv)
    size = f"{args.n // 1000}k" if args.n % 1000 == 0 else str(args.n)
    output = args.output or SWIFT_DATA / f"llava-video-sft-{size}.json"
    report_path = output.with_name(f"{output.stem}.report.json")
    if not args.video_root.is_dir():
        raise UserError(f"--video_root {args.video_root}: no such folder")
    if output.exists() and not report_path.exists():
        raise UserError(
            f"{output} exists, and was not written by this program (no {report_path.name} beside"
            " it): name another --output, or move it away"
        )
    files = find_files(args.source)
    with sole_writer(output):
        sources = survey(files, Path(os.path.abspath(args.video_root)))
        draw(sources, args.n, args.seed)
        counts = {name: source.counts() for name, source in sources.items()}
        show(counts)
        taken = sum(source["taken"] for source in counts.values())
        if not taken:
            raise UserError(f"not one usable row in {len(files)} files: nothing is written")
        report = {"n": args.n, "seed": args.seed, "files": list(map(str, files)), "sources": counts}
        write_json(report_path, report)
        write_rows(output, files, sources)
    if taken < args.n:
        print(f"warning: {taken} usable rows, {args.n} were asked for")
    print(output)


if __name__ == "__main__":
    run_script(main)
