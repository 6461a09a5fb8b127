"""Where a dataset lies: its name, its folders, its shards, its locks.

The only place that spells a path under the data root.
"""

import os
import re
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.errors import UserError, did_you_mean
from tools.store import named
from tools.store.files import names_behind, read_json, write_json
from tools.store.jsonl import Record, Table
from tools.store.locks import locked
from tools.store.shards import check_owner, check_shards, hash_of, shard_ranges

REPOSITORY, DATA_ROOT = named.REPOSITORY, named.DATA_ROOT
SWIFT_DATA = REPOSITORY / "swift_data"

# `=` and `-` have meanings of their own in experiment names.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # part of the names of files


@dataclass(frozen=True)
class Dataset:
    """The folder `<data root>/<name>/` and what is in it, or one of its shards, a folder like it.

    A sharded one holds its shards, and what concerns all of them: judgements, dataset.json.
    """

    name: str
    root: Path
    shard: str = ""

    @property
    def title(self) -> str:
        """Its name, and that of the shard, as `open_dataset` takes it."""
        return f"{self.name}/{self.shard}" if self.shard else self.name

    @property
    def home(self) -> Path:
        """The folder of the whole data set."""
        return self.root.parent.parent if self.shard else self.root

    def about(self) -> Record:
        """dataset.json: video_dir, and of a sharded one shard_digits, ids and listed."""
        path = self.home / "dataset.json"
        return read_json(path) if path.is_file() else {}

    def note(self, **facts: object) -> None:
        """Add to dataset.json."""
        write_json(self.home / "dataset.json", {**self.about(), **facts})

    @property
    def ids(self) -> str:
        """What new ids begin with: its name, of a sharded one the name it was made with."""
        return str(self.about().get("ids", self.name))

    @cached_property
    def shard_digits(self) -> int:
        """How many hex digits name a shard; 0 where there are no shards below this folder."""
        return 0 if self.shard else self.about().get("shard_digits", 0)

    def shards(self) -> list["Dataset"]:
        """Its shards, in the order of their videos' ids; itself where it has none."""
        if not self.shard_digits:
            return [self]
        names = sorted(entry.name for entry in (self.root / "shards").glob("[!.]*"))
        return [self._shard(name) for name in names]

    def shard_of(self, video_id: str) -> "Dataset":
        """The shard that a video belongs to; itself where it has none."""
        digits = self.shard_digits
        return self._shard(hash_of(video_id)[:digits]) if digits else self

    def _shard(self, name: str) -> "Dataset":
        shard = Dataset(self.name, self.root / "shards" / name, name)
        return self._opened.setdefault(name, shard)

    @cached_property
    def _opened(self) -> dict[str, "Dataset"]:
        return {}

    @property
    def anno(self) -> Path:
        """The annotations: one JSONL file a step."""
        return self.root / "anno"

    def scan_path(self, video_id: str) -> Path:
        """The scan of a video; deleting it costs a new scan in stage 1, a decoding from the start
        later. One that lies in the folder of all scans, as older ones do, is used where it is."""
        before = self.shard_of(video_id).root / "scan" / f"{video_id}.npz"
        return before if before.exists() else before.parent / hash_of(video_id)[:2] / before.name

    def flow(self, extractor: str, video_id: str) -> Path:
        """The optical flow of a video by one extractor."""
        return self.root / "flow" / extractor / f"{video_id}.safetensors"

    def flow_extractors(self) -> list[str]:
        """The extractors that have been run on this dataset."""
        return names_behind(self.anno, re.compile(r"flow_(.+?)(?<!\.failed)\.jsonl(?:\.\d+-\d+)?"))

    def vectors(self, clip: str, tower: str) -> Path:
        """The folder of the vectors by one tower of a CLIP: "text" or "image"."""
        return self.root / "features" / clip / tower

    def vector_clips(self, tower: str) -> list[str]:
        """The CLIPs of which there are vectors by a tower."""
        return sorted(folder.parent.name for folder in self.root.glob(f"features/*/{tower}"))

    def memory(self, clip: str) -> Path:
        """The text vectors of a CLIP that image vectors are projected onto."""
        return self.root / "features" / clip / "memory.safetensors"

    def table(self, name: str) -> Table:
        """A step's table by name, such as `scene`."""
        return Table(self.anno / f"{name}.jsonl")

    def videos(self) -> Table:
        """The end of stage 1: `videos.jsonl`, or the reference's `finalize.jsonl` where only that
        is there."""
        ours, theirs = self.table("videos"), self.table("finalize")
        return theirs if theirs.exists() and not ours.exists() else ours

    def video_path(self, record: Record) -> Path:
        """Where a record's video is, as init.jsonl says: the record itself holds the path of the
        time when it was made, and folders move."""
        listed = self.shard_of(record["video_id"])._listed
        return Path(listed.get(record["video_id"]) or record["video_path"])

    @cached_property
    def _listed(self) -> dict[str, str]:
        return {record["video_id"]: record["video_path"] for record in self.table("init").read()}

    def table_folders(self) -> list[Path]:
        """The folders that hold steps' tables."""
        folders = self.anno, *self.root.glob("dpo-*/iter_*")
        return [folder for folder in folders if folder.exists()]

    def responses(self, model: str, config: str, iteration: int = 0) -> Table:
        """The responses of one model to one perturbation."""
        return Table(self.root / f"dpo-{model}" / f"iter_{iteration}" / f"{config}.jsonl")

    def questions(self, split: str) -> Path:
        """The questions about the videos, one split."""
        return self.root / "qa" / f"{split}.jsonl"

    def rejected_questions(self, split: str) -> Path:
        """The questions that were left out, each with its reason."""
        return self.root / "qa" / f"{split}.rejected.jsonl"

    def predictions(self, split: str, name: str) -> Path:
        """What a model, or a method under a name, answers to a split's questions."""
        return self.root / "qa" / "predictions" / split / f"{name}.jsonl"

    def pseudo_labels(self, split: str) -> Path:
        """The moments of a split's videos that answer its questions (`grounding.labels`)."""
        return self.root / "grounding" / split / "pseudo_labels.jsonl"

    def spans(self, split: str, name: str) -> Path:
        """The moments that a sampler gives a split's questions (`grounding.spans`)."""
        return self.root / "grounding" / split / f"spans_{name}.jsonl"

    def span_names(self, split: str) -> list[str]:
        """The samplers whose spans a split's questions have."""
        return names_behind(self.spans(split, "").parent, re.compile(r"spans_(.+)\.jsonl"))

    def prompt_lines(self, kind: str, captioner: str) -> Path:
        """A student's lines about the videos (`distillation.prompts`), "event" or "frame"."""
        return self.root / "prompts" / f"{kind}-{captioner}.jsonl"

    def prompt_captioners(self, kind: str) -> list[str]:
        """Who has written lines of a kind."""
        return names_behind(self.root / "prompts", re.compile(rf"{kind}-(.+)\.jsonl"))

    def judgements_of(self, teacher: str, split: str) -> Path:
        """What a teacher thinks of the options of a split's questions (`distillation.teach`)."""
        return self.root / "teachers" / teacher / f"{split}.jsonl"

    def teacher_names(self, split: str) -> list[str]:
        """The teachers that have judged a split's questions."""
        return sorted(path.parent.name for path in self.root.glob(f"teachers/*/{split}.jsonl"))

    def question_tables(self) -> list[tuple[str, str, str]]:
        """(kind, split, name) of the steps' tables about a split's questions or their videos, such
        as ("spans", "test", "mine") of spans_test_mine.jsonl, by kind."""
        kinds = ("frame_answers", "labels", "spans", "answers", "image_vectors", "judged")
        # One split's name may begin as another's: the longest is meant.
        splits = sorted(map(re.escape, self.question_splits()), key=len, reverse=True)
        shape = re.compile(
            rf"({'|'.join(kinds)})_({'|'.join(splits)})_(.+?)(?<!\.failed)\.jsonl(?:\.\d+-\d+)?"
        )
        matches = (shape.fullmatch(path.name) for path in self.anno.glob("*"))
        tables = {(match[1], match[2], match[3]) for match in matches if match}
        return sorted(tables, key=lambda table: (kinds.index(table[0]), table))

    def made_by(self, kind: str) -> list[str]:
        """The names behind a kind of table, such as "mine" of raw_tideos_mine.jsonl."""
        return names_behind(
            self.anno, re.compile(rf"{kind}_(.+?)(?<!\.failed)\.jsonl(?:\.\d+-\d+)?")
        )

    def question_splits(self) -> list[str]:
        """The splits that have questions."""
        return names_behind(self.root / "qa", re.compile(r"([\w-]+)\.jsonl"))

    def prediction_names(self, split: str) -> list[str]:
        """The models, methods and controls that have answered a split's questions."""
        folder = self.predictions(split, "").parent
        return names_behind(folder, re.compile(r"((?!.*\.judged-).+)\.jsonl"))

    @property
    def judgements(self) -> Path:
        """The verdicts of people on pairs (`tools.pairs.judgements`), of all shards in one file."""
        return self.home / "judgements.jsonl"

    def caption_models(self) -> list[str]:
        """The models that have captioned this dataset."""
        return names_behind(
            self.anno, re.compile(r"(?:raw_)?clip_captions_(.+?)(?<!\.failed)\.jsonl(?:\.\d+-\d+)?")
        )

    def response_runs(self) -> list[tuple[str, int]]:
        """The (model, iteration) pairs that have responses here."""
        models = names_behind(self.root, re.compile(r"dpo-(.+)"))
        return [
            (model, int(iteration))
            for model in models
            for iteration in names_behind(self.root / f"dpo-{model}", re.compile(r"iter_(\d+)"))
        ]

    def response_configs(self, model: str, iteration: int) -> list[str]:
        """The configurations that have responses in a run."""
        folder = self.responses(model, "", iteration).path.parent
        return names_behind(folder, re.compile(r"(caption_caption_\w+?)\.jsonl(?:\.\d+-\d+)?"))

    def video_dir(self) -> Path | None:
        """The folder of raw videos: the one noted, else the one of datasets.yaml."""
        if remembered := self.about().get("video_dir"):
            return Path(remembered)
        known = named.named_datasets().get(self.name)
        return self.home.parent / known if known else None

    def remember_video_dir(self, folder: Path) -> None:
        """Keep the folder of raw videos for later runs."""
        self.note(video_dir=str(folder))

    @property
    def runs(self) -> Path:
        """Where runs say how they stand (`tools.runner.progress`)."""
        return self.root / ".runs"

    def lock(self, key: str) -> AbstractContextManager[object]:
        """The one lock on a step's output; see `locked`."""
        busy = f"another run is working on {key} of {self.title}"
        return locked(self.root / ".locks" / f"{key}.lock", busy)

    def discard_if_empty(self) -> None:
        """Delete the folder if a run that could not begin has left nothing but locks in it."""
        if self.root.exists() and os.listdir(self.root) == [".locks"]:
            shutil.rmtree(self.root)


def annotation_of(table: Table, name: str) -> Table:
    """The table of that name in the annotations of the dataset that a table belongs to."""
    folder = table.path.parent
    anno = folder if folder.name == "anno" else folder.parent.parent / "anno"
    return Table(anno / f"{name}.jsonl")


def chat_votes(data_root: Path) -> Path:
    """What people thought of answers on the viewer's page Chat, about videos of all datasets."""
    return data_root / "chat_votes.jsonl"


def open_dataset(
    name: str, data_root: Path, *, may_be_new: bool = False, whole: bool = False
) -> Dataset:
    """Look a dataset, or NAME/SHARD, one shard of it, up by name.

    Args:
        may_be_new: take a name that nobody has used yet.
        whole: take a sharded dataset as a whole, too.

    Raises:
        UserError: the name is not one of a folder, nothing is known under it, or it is of a sharded
            dataset, and a whole one is not taken, or something is wrong with its shards.
    """
    name, slash, shard = (title := name).partition("/")
    if not NAME.fullmatch(name) or (slash and (may_be_new or not shard.isalnum())):
        raise UserError(
            f"dataset name {title!r}: use letters, digits, '.', '_' and '-' only, 100 at most"
        )
    known = dataset_names(data_root)
    if not may_be_new and name not in known:
        names = ", ".join(known) or "none yet: preprocess.py or qa.read makes the first"
        hint = did_you_mean(name, known)
        raise UserError(f"no dataset {name!r} in {data_root}; there are: {names}{hint}")
    dataset = Dataset(name, data_root / name)
    check_shards(dataset.root, dataset.root / "shards", dataset.anno, dataset.shard_digits)
    if slash:
        [dataset] = open_shards(name, data_root, shard)
    elif dataset.shard_digits and not whole:
        raise UserError(
            f"{name} has shards: this command takes one of them, such as"
            f" {next(iter(dataset.shards()), dataset).title}"
        )
    return dataset


def open_shards(name: str, data_root: Path, selection: str | None) -> list[Dataset]:
    """The datasets that a script works on, one after the other: the dataset of that name, or those
    of its shards that are selected, all by default.

    Args:
        selection: shards and ranges of them, such as 00,07,10-1f.

    Raises:
        UserError: as of `open_dataset`; the dataset has no shards, or none that are selected.
    """
    dataset = open_dataset(name, data_root, whole=True)
    if selection is None:
        shards = dataset.shards()
    elif not dataset.shard_digits:
        raise UserError(f"--shards {selection}: {name} has no shards")
    else:
        ranges = shard_ranges(selection, name, dataset.shard_digits)
        shards = [
            shard
            for shard in dataset.shards()
            if any(first <= shard.shard <= last for first, last in ranges)
        ]
    if not shards:
        raise UserError(f"{name} has no video in shards {selection or 'yet: run preprocess.py'}")
    for shard in shards if dataset.shard_digits else ():
        check_owner(shard.table("init"), shard.shard, dataset.ids)
    return shards


def dataset_names(data_root: Path) -> list[str]:
    """The datasets that have been begun in a data root, sorted."""
    return sorted(
        entry.name
        for entry in data_root.glob("*")
        if any((entry / made).exists() for made in ("anno", "qa", "shards", "dataset.json"))
    )
