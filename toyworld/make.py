"""Render the toy world: short multi-shot videos of which everything is known.

    python -m toyworld --videos 24 --seed 0 --out DIR

writes DIR/video/toy_0000.mp4 ... and DIR/truth.jsonl, one line a video: its transitions, shots,
places, events, distractors, captions, and the verdict the pipeline's filters should come to.
Coloured shapes move, grow and turn in front of painted places; shots follow one another by cuts,
dissolves and fades through black; flashes, fast pans, passers-by and cuts within one palette are
there to be mistaken for cuts, or missed. Any 24 videos that follow each other hold dialogues,
blank shots, takes that are too long, too few shots and too many, six frame sizes, five frame rates
and a variable one.

    python -m toyworld --videos 90 --events 4,8,16 --seed 101 --out DIR

writes stories instead: shots of two seconds, one event each, in front of plain walls, cut hard; the
first video has 4 events, the second 8, the third 16, the fourth 4 again (8-16: from 8 to 16). They
are small enough for a model of a million parameters to learn (toyvl).

    python -m toyworld --videos 200 --qa --out data/toyqa

writes stories of 4 to 10 events, unless --events says otherwise, and questions about them, whose
answers are known: DIR/qa/test.jsonl with options, of which most wrong ones happen in the same
story, and DIR/qa/open.jsonl, the same questions without options. DIR is then the data set toyqa, of
which anno/init.jsonl lists the videos.

The same seed gives the same bytes on one machine, however many workers render. A video depends on
the seed and on its number alone, so --videos 30 adds six to the 24 of --videos 24; --begin_with
names the folder of those 24, which are then copied.
"""

import os
import shutil
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
from tqdm import tqdm

from tools.cli import positive, script_parser, whole
from tools.errors import UserError
from tools.interruption import EXIT_INTERRUPTED
from tools.store.dataset import DATA_ROOT, open_dataset
from tools.store.files import replace_atomically
from toyworld.language import TEMPLATES
from toyworld.plan import Plan, plan_video
from toyworld.questions import CHOICES, EVENTS, OPEN, write_toy_questions
from toyworld.render import film
from toyworld.stories import numbers_of_events, plan_story
from toyworld.truth import read_truth, truth


def plan_of(number: int, seed: int, events: Sequence[int]) -> Plan:
    """Return the plan of video `number`: a story, where numbers of events are given."""
    if not events:
        return plan_video(seed, number)
    return plan_story(seed, number, events[number % len(events)])


def make_video(number: int, seed: int, events: Sequence[int], folder: Path) -> dict[str, Any]:
    """Render video `number` of the toy world `seed` into `folder`; return the truth about it."""
    plan = plan_of(number, seed, events)
    film(plan, folder / plan.name)
    return truth(plan)


def make_world(
    videos: int,
    seed: int,
    out: Path,
    workers: int,
    events: Sequence[int] = (),
    begin_with: Path | None = None,
) -> list[dict[str, Any]]:
    """Write the toy world `seed` into the folder `out`; return the lines of its truth.jsonl.

    With `events`, the videos are stories of so many events, taking the numbers in turn. The folder
    `begin_with` holds the first videos of this same world, which are copied rather than rendered.

    Raises:
        FileExistsError: `out`/video holds anything else than videos of these names.
        ValueError: `begin_with` is a folder of other videos, or lacks one.
        OSError: `begin_with` holds no truth.jsonl.
    """
    begun = truth_begun(begin_with, videos, seed, events) if begin_with else []
    folder = out / "video"
    folder.mkdir(parents=True, exist_ok=True)
    names = {plan_of(number, seed, events).name for number in range(videos)}
    if others := {entry.name for entry in folder.iterdir()} - names:
        raise FileExistsError(
            f"{folder} holds {min(others)!r}, which is none of these {videos} videos:"
            " name another --out"
        )
    (out / "truth.jsonl").unlink(missing_ok=True)  # it must never describe another run's videos
    if begin_with and begun and not (begin_with / "video").samefile(folder):
        for line in begun:
            shutil.copyfile(begin_with / "video" / line["video_name"], folder / line["video_name"])
    make = partial(make_video, seed=seed, events=events, folder=folder)
    left = range(len(begun), videos)
    bar = partial(tqdm, total=videos, initial=len(begun), desc="toy world", unit="video")
    if workers == 1:
        lines = list(bar(map(make, left)))
    else:
        # Ctrl-C reaches the script alone, which lets them finish their videos.
        ignored = (signal.SIGINT, signal.SIG_IGN)
        with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, ignored) as pool:
            lines = list(bar(pool.map(make, left)))
    lines = sorted([*begun, *lines], key=lambda line: line["video_name"])
    with replace_atomically(out / "truth.jsonl") as file:
        file.writelines(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)
    return lines


def truth_begun(
    folder: Path, videos: int, seed: int, events: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the truth about the videos in `folder`, which must hold the first of this world.

    Raises what make_world raises of its `begin_with`.
    """
    begun = {video["video_name"]: video for video in read_truth(folder)}
    if len(begun) >= videos:
        raise ValueError(f"{folder} holds {len(begun)} videos, no fewer than the {videos} to make")
    lines = [truth(plan_of(number, seed, events)) for number in range(len(begun))]
    for number, line in enumerate(lines):
        name = line["video_name"]
        if begun.get(name) != line:
            raise ValueError(
                f"{folder} does not hold the first videos of this world: video {number} differs,"
                " so its --seed or its --events was another"
            )
        if not (folder / "video" / name).is_file():
            raise ValueError(f"{folder} holds no video/{name}, which its truth.jsonl lists")
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    """Render a toy world."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--videos",
        type=positive,
        default=24,
        help="number of videos; 24 (the default) hold every structure, 6 a fair mix",
    )
    parser.add_argument(
        "--seed",
        type=whole,
        default=0,
        help="worlds of different seeds share no video (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to write; its video/ may hold an earlier run's videos, which are overwritten",
    )
    parser.add_argument(
        "--events",
        type=numbers_of_events,
        default=(),
        metavar="NUMBERS",
        help="write stories with these numbers of events, such as 4,8,16 or 8-16, which the videos"
        " take in turn (default: the painted world; with --qa: 4-10)",
    )
    parser.add_argument(
        "--begin_with",
        type=Path,
        metavar="DIR",
        help="copy the videos in this --out of fewer videos of the same world (default: render"
        " all)",
    )
    parser.add_argument(
        "--qa",
        type=positive,
        nargs="?",
        const=len(TEMPLATES),
        metavar="N",
        help=f"write stories and N questions about each, balanced over the {len(TEMPLATES)} kinds"
        f" (default: no questions; --qa alone: {len(TEMPLATES)})",
    )
    workers = min(2, os.cpu_count() or 1)
    parser.add_argument(
        "--workers",
        type=positive,
        default=workers,
        help=f"processes that render, one CPU each (default on this machine: {workers})",
    )
    args = parser.parse_args(argv)
    count = vars(args).pop("qa")
    if count:
        args.events = args.events or EVENTS
        folder = Path(os.path.abspath(args.out))
        dataset = open_dataset(folder.name, folder.parent, may_be_new=True)
    try:
        lines = make_world(**vars(args))
    except (OSError, ValueError) as error:
        raise UserError(str(error)) from None
    except KeyboardInterrupt:
        parser.exit(EXIT_INTERRUPTED, "\ninterrupted: the same command starts again from nothing\n")
    kept = sum(line["verdict"] == "keep" for line in lines)
    frames = sum(line["frames"] for line in lines)
    print(f"{len(lines)} videos, {frames:,} frames; the filters should keep {kept}")
    print(args.out / "video")
    print(args.out / "truth.jsonl")
    if count:
        questions = write_toy_questions(dataset, args.seed, count)
        for split in (CHOICES, OPEN):
            print(f"{dataset.questions(split)}: {questions:,} questions")
        if folder.parent != DATA_ROOT:
            print(f"the other commands find the data set by --data_root {folder.parent}")
