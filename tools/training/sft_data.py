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
import json
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column
from rich.table import Table as Screen
from tqdm import tqdm

from tools.cli import new_file, positive, run_script, script_parser
from tools.errors import Filtered, UserError
from tools.store.dataset import SWIFT_DATA
from tools.store.files import json_array, write_json
from tools.store.jsonl import Record, dumps
from tools.store.locks import sole_writer
from tools.video.checks import check_videos

ROLES = {"human": "user", "gpt": "assistant"}
PLACE = re.compile(r"<image>\n?")  # where the video goes in LLaVA's conversations
# What training would take for media or for marks of its chat template.
TAG = re.compile(r"<(?:video|image|audio)>|<\|\w+\|>")
REASONS = {
    "no_video_named": "the row names no video",
    "conversation": "not turns of human and gpt, one after the other, the last one gpt's",
    "empty": "a turn has no text",
    "tag": "the text holds <image> more than once, or another mark of training's",
    "half_a_pair": "a text holds half a surrogate pair (half an emoji), which UTF-8 cannot hold",
    "video_gone": "there is no such file under --video_root",
    "video_broken": "training cannot read the video: video_checks.jsonl beside the output says why",
}
HALF_A_PAIR = re.compile("[\ud800-\udfff]")
# What becomes of the rows of a data_source: all rows are left out, not drawn or taken.
COUNTS = ("rows", *REASONS, "not_drawn", "taken")


class SourceRow(NamedTuple):
    """Where a usable row stands (number of its file, number in the file), and its video."""

    file: int
    row: int
    video: Path


@cache
def find_video(root: Path, source: str, video: str) -> Path:
    """The file of a video: LLaVA's paths begin at the folder in which its archives were unpacked,
    which may be one for all or one for each data_source."""
    for path in (root / video, root / source / video):
        if path.is_file():
            return path
    raise Filtered("video_gone")


def messages(row: Record) -> list[dict[str, str]]:
    """The conversation as ms-swift has it, <video> in front of the first question; raises Filtered
    where it cannot be used."""
    turns = row.get("conversations")
    if not isinstance(turns, list) or len(turns) < 2 or len(turns) % 2:
        raise Filtered("conversation")
    read = []
    for number, turn in enumerate(turns):
        role = ("user", "assistant")[number % 2]
        if not isinstance(turn, dict) or ROLES.get(str(turn.get("from"))) != role:
            raise Filtered("conversation")
        text = turn.get("value")
        if not isinstance(text, str):
            raise Filtered("conversation")
        if number == 0:
            text = PLACE.sub("", text, count=1)
        if not text.strip():
            raise Filtered("empty")
        if TAG.search(text):
            raise Filtered("tag")
        if HALF_A_PAIR.search(text):
            raise Filtered("half_a_pair")
        read.append({"role": role, "content": f"<video>{text}" if number == 0 else text})
    return read


def usable_video(row: Record, root: Path) -> Path:
    """The video of a row; raises Filtered where the row cannot be used."""
    if not isinstance(row.get("video"), str) or not row["video"]:
        raise Filtered("no_video_named")
    messages(row)
    return find_video(root, str(row.get("data_source", "")), row["video"])


def read_source(path: Path) -> list[Record]:
    """The rows of a source file; raises UserError if it is not a JSON array of objects.

    NaN, half a surrogate pair, which Python writes and JSON does not know, and bytes that are not
    UTF-8 spoil their own row at most.
    """
    try:
        rows = json.loads(path.read_bytes().decode(errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): fix or delete it") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is not a JSON array of rows, as LLaVA-Video-178K's files are")
    return rows


def survey(
    files: Sequence[Path], root: Path, counts: dict[str, Counter[str]]
) -> dict[str, list[SourceRow]]:
    """The usable rows of each data_source; counts all rows and those left out. One file at a time
    is in memory."""
    usable = defaultdict(list)
    for number, path in enumerate(tqdm(files, desc="sources", unit="file")):
        for index, row in enumerate(read_source(path)):
            source = HALF_A_PAIR.sub(
                "\N{REPLACEMENT CHARACTER}", str(row.get("data_source", path.stem))
            )
            counts[source]["rows"] += 1
            try:
                usable[source].append(SourceRow(number, index, usable_video(row, root)))
            except Filtered as reason:
                counts[source][str(reason)] += 1
    return dict(sorted(usable.items()))


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


def draw(
    usable: dict[str, list[SourceRow]],
    n: int,
    seed: int,
    counts: dict[str, Counter[str]],
    folder: Path,
) -> list[SourceRow]:
    """n of the usable rows; a video that training cannot read is replaced by the next row's.

    Where broken videos leave a source short, the others give more.

    Args:
        folder: where what is known of the videos is kept.
    """
    taken: list[SourceRow] = []
    for source, places in usable.items():
        random.Random(f"{seed}/{source}").shuffle(places)
        places.reverse()
    with tqdm(total=n, desc="videos", unit="row") as bar:
        while any(usable.values()) and len(taken) < n:
            left = {source: len(places) for source, places in usable.items()}
            for source, count in shares(left, n - len(taken)).items():
                enough = len(taken) + count
                while usable[source] and len(taken) < enough:
                    left_to_take = enough - len(taken)
                    batch = usable[source][: -left_to_take - 1 : -1]
                    del usable[source][-left_to_take:]
                    checks = check_videos([str(place.video) for place in batch], folder)
                    good = [place for place in batch if "error" not in checks[str(place.video)]]
                    taken += good
                    bar.update(len(good))
                    counts[source]["taken"] += len(good)
                    counts[source]["video_broken"] += len(batch) - len(good)
    for source, places in usable.items():
        counts[source]["not_drawn"] = len(places)
    return taken


def write_rows(output: Path, files: Sequence[Path], places: list[SourceRow]) -> None:
    """Write what was taken, in the order of the files."""
    with json_array(output) as write:
        for number, group in groupby(sorted(places), key=lambda place: place.file):
            rows = read_source(files[number])
            for place in group:
                row = {"messages": messages(rows[place.row]), "videos": [str(place.video)]}
                write(dumps(row))


def show(counts: dict[str, Counter[str]]) -> None:
    """Print the counts of each data_source, without the reasons that did not occur."""
    everything = sum(counts.values(), Counter())
    columns = [key for key in COUNTS if everything[key] or key not in REASONS]
    headers = (Column(key, justify="right") for key in columns)
    screen = Screen("data_source", *headers, box=SIMPLE, pad_edge=False)
    for source, numbers in {**counts, "all": everything}.items():
        screen.add_row(source, *(str(numbers[key]) for key in columns))
    Console().print(screen)


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files that match, sorted, each once; raises UserError if a pattern matches nothing."""
    files: set[str] = set()
    for pattern in patterns:
        matching = glob.glob(os.path.expanduser(pattern), recursive=True)
        if not matching:
            raise UserError(f"--source {pattern}: no such file")
        files.update(map(os.path.abspath, matching))
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
    add("--n", type=positive, default=60_000, help="rows (default: %(default)s, as in the paper)")
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
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        usable = survey(files, Path(os.path.abspath(args.video_root)), counts)
        taken = draw(usable, args.n, args.seed, counts, output.parent)
        sources = dict(sorted(counts.items()))
        show(sources)
        if not taken:
            raise UserError(f"not one usable row in {len(files)} files: nothing is written")
        report = {
            "n": args.n,
            "seed": args.seed,
            "files": list(map(str, files)),
            "sources": {name: {key: of[key] for key in COUNTS} for name, of in sources.items()},
        }
        write_json(report_path, report)
        write_rows(output, files, taken)
    if len(taken) < args.n:
        print(f"warning: {len(taken)} usable rows, {args.n} were asked for")
    print(output)


if __name__ == "__main__":
    run_script(main)
