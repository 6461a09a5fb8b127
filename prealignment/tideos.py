"""Text videos (Tideos) -> data/<dataset>/anno/tideos.jsonl.

    python -m prealignment.tideos seeds.txt 8 --dataset textvid --model qwen25vl7b@http://localhost:8000/v1
    python -m prealignment.tideos 8 --dataset textvid --import textvid.json    # the released texts
    python -m prealignment.tideos 1 --dataset toytext --toyworld 200           # no model, no file

A line of seeds.txt is what one video is about: a text, or its kind, a tab and the text ("title of a
how-to video<TAB>fry an egg"). Of the steps, raw_tideos asks the model, which costs most, and tideos
reads its answers, checks them and puts the options of each question into a random order. After a
Ctrl-C or a crash, run the same command again; lines that are added to seeds.txt are asked then.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.captioner import Captioner, Request, Sampling, answer_groups, request_seed
from inference.models import add_model_flags, captioner_from
from prealignment.texts.parsing import checked, json_object
from prealignment.texts.toy_tideos import EVENTS, toy_tideo
from qa.readers.rows import rows_of
from tools.cli import (
    add_settings,
    amount,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
    share,
)
from tools.errors import UserError
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import file_digest, write_json
from tools.store.jsonl import Record, Table
from tools.text.prompts import fingerprint
from tools.text.tideo_prompts import TIDEO, tideo_messages


@dataclass(frozen=True)
class TideoSettings:
    """See the help of each field."""

    kind: str = setting(
        "subject", "what a line of the seeds is that does not say so itself", group="text videos"
    )
    questions: int = setting(5, "questions that are asked for, of each video", type=positive)
    temperature: float = setting(0.9, "of the sampling", type=amount)
    top_p: float = setting(0.95, "share of the probability that is drawn from", type=share)
    max_new_tokens: int = setting(
        4096, "longest answer, tokens: a longer one is filtered as cut_off", type=positive
    )
    seed: int = setting(0, "of the sampling and of the order of the options")


def read_seeds(file: Path, kind: str) -> Iterator[Record]:
    """Yield a record for each different line: video_id, kind and seed_text.

    Raises:
        UserError: the file cannot be read, or holds no line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from None
    texts = dict.fromkeys(line.strip() for line in lines if line.strip())
    if not texts:
        raise UserError(f"{file} holds no line with a text")
    for line in texts:
        before, tab, after = line.partition("\t")
        own_kind, text = (before, after.strip()) if tab else (kind, line)
        words = re.sub(r"\W+", "-", text.lower()).strip("-")[:40]
        digest = hashlib.sha1(f"{own_kind}\t{text}".encode()).hexdigest()[:12]
        yield {"video_id": f"{words}-{digest}", "kind": own_kind, "seed_text": text}


def read_released(file: Path) -> Iterator[Record]:
    """Yield a record for each text of TextVID's file: video_id, which is its `idx`, and tideo.

    Raises:
        UserError: the file cannot be read, or a text has no `idx`.
    """
    for row in rows_of(file):
        if not row.has("idx"):
            raise UserError(f"{file}: the text at place {row.position} has no idx")
        yield {"video_id": str(row["idx"]), "tideo": dict(row)}


def write_table(table: Table, records: Iterator[Record], made_from: str | None) -> None:
    """Bring what is asked, or given, up to date; `made_from` changes where other texts are."""
    by_id = {record["video_id"]: record for record in records}
    table.write(by_id.values())
    if made_from is not None:
        write_json(table.meta_path, {"fingerprint": made_from})


@dataclass
class RawTideosStep(Step):
    """Ask a model for a text video of each seed."""

    dataset: Dataset
    captioner: Captioner
    settings: TideoSettings

    name = "raw_tideos"

    def __post_init__(self) -> None:
        given = self.settings
        self.sampling = Sampling(given.temperature, given.top_p, 0, 1.0, given.max_new_tokens)
        self.reads = self.dataset.table("tideo_seeds")
        self.writes = (self.dataset.table(f"raw_tideos_{self.captioner.name}"),)
        self.batch_size = self.captioner.batch_size

    def params(self) -> dict[str, Any]:
        return {
            **self.captioner.fingerprint(),
            "sampling": self.sampling.as_dict(),
            "prompt": fingerprint(TIDEO),
            "questions": self.settings.questions,
            "seed": self.settings.seed,
        }

    def check(self, device: str) -> None:
        if self.captioner.name == "dryrun":
            raise UserError("--model dryrun writes no text videos: --toyworld N needs no model")
        self.captioner.check(device, self.sampling, frames=0)

    def setup(self, device: str, threads: int) -> None:
        self.captioner.load(device, threads)

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Add answer and finish_reason."""
        groups = ((place, [self._request(record)]) for place, record in enumerate(records))
        for place, [answer] in answer_groups(self.captioner, groups, self.sampling):
            if isinstance(answer, Exception):
                yield place, answer
            else:
                written = {"answer": answer.text, "finish_reason": answer.finish_reason}
                yield place, {**records[place], **written}

    def _request(self, record: Record) -> Request:
        asked = (record["seed_text"], record["kind"], self.settings.questions)
        seed = request_seed(self.settings.seed, record["seed_text"], "tideo")
        return Request(tideo_messages(*asked), seed)


@dataclass
class TideosStep(Step):
    """Read the text videos out of answers, or out of what is given, and check them."""

    dataset: Dataset
    reads: Table
    seed: int

    name = "tideos"
    batch_size = 64

    def __post_init__(self) -> None:
        self.writes = (self.dataset.table("tideos"),)

    def params(self) -> dict[str, Any]:
        return {"seed": self.seed}

    def process(self, record: Record) -> Record:
        """Put frames, global_video_caption, QAs and dropped, the reasons of questions that were
        left out, in place of the answer."""
        written = record.get("tideo") or json_object(record["answer"], record["finish_reason"])
        tideo, dropped = checked(written, record["video_id"], self.seed)
        about: Record = {name: record[name] for name in ("kind", "seed_text") if name in record}
        return {"video_id": record["video_id"], **about, **tideo, "dropped": dict(dropped)}


def read_toyworld(count: int, seed: int) -> Iterator[Record]:
    """Yield a record for each of the first stories of a toy world: video_id and tideo."""
    for number in range(count):
        yield {"video_id": f"toy_{number:04d}", "tideo": toy_tideo(seed, number)}


def print_dropped(table: Table) -> None:
    """Print how many text videos and questions there are, and why questions were left out."""
    videos, kept, dropped = 0, 0, Counter[str]()
    for record in table.read():
        if "filtered" not in record:
            videos, kept = videos + 1, kept + len(record["QAs"])
            dropped.update(record["dropped"])
    why = "".join(f", {count} left out ({reason})" for reason, count in sorted(dropped.items()))
    print(f"{videos} text videos with {kept} questions{why} -> {table.path}")


def main(argv: Sequence[str] | None = None) -> None:
    """Make the text videos of a data set."""
    parser = script_parser(__doc__)
    parser.add_argument("seeds", type=Path, nargs="?", help="what the videos are about, one a line")
    parser.add_argument("--dataset", required=True, help="name of the dataset, new or known")
    parser.add_argument(
        "--import",
        dest="released",
        type=Path,
        metavar="FILE",
        help="take the texts of this file, in the format of TextVID, and ask no model",
    )
    parser.add_argument(
        "--toyworld",
        type=positive,
        metavar="N",
        help="take N stories of the toy world, of --seed, and ask no model",
    )
    add_settings(parser, TideoSettings)
    add_model_flags(parser, "text videos")
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    if sum(source is not None for source in (args.seeds, args.released, args.toyworld)) != 1:
        raise UserError("give one of: a file of seeds, --import FILE, --toyworld N")
    dataset = open_dataset(args.dataset, args.data_root, may_be_new=True)
    settings = settings_from(args, TideoSettings)
    steps: list[Step] = []
    if args.seeds:
        steps = [RawTideosStep(dataset, captioner_from(args), settings)]
        given, made_from = steps[0].reads, None
        records = read_seeds(args.seeds, settings.kind)
    elif args.released:
        given, made_from = dataset.table("released_tideos"), file_digest(args.released)
        records = read_released(args.released)
    else:
        given, made_from = dataset.table("toy_tideos"), f"toyworld {settings.seed} {EVENTS}"
        records = read_toyworld(args.toyworld, settings.seed)
    steps.append(TideosStep(dataset, steps[0].writes[0] if steps else given, settings.seed))

    from tools.runner.run import run

    run(
        steps,
        dataset,
        settings_from(args, Options),
        prepare=lambda: write_table(given, records, made_from),
    )
    print_dropped(steps[-1].writes[0])


if __name__ == "__main__":
    run_script(main)
