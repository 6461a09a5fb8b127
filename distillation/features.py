"""Encode videos and texts by a frozen CLIP, once: what a student reads at every step.

    python -m distillation.features msrvtt 8 --clip openai/clip-vit-base-patch16
    python -m distillation.features msrvtt 8 --clip DIR --tokens 50     # patches averaged to 7 x 7

writes the tokens of the frames of each video, or of each part of one that a question is about, to
data/<dataset>/features/<clip>/tokens/, and the vectors of questions, options and prompt lines to
texts/ and lines/ beside it. Run it again when there are new questions or prompts: only what is new
is encoded. After a Ctrl-C or a crash, run the same command again.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from distillation.inputs.texts import TextTable
from distillation.inputs.views import FRAMES, VIEWS, list_views, view_frames
from distillation.student import PRESETS
from qa.records import Question, read_questions
from tools.cli import (
    add_dataset,
    add_settings,
    positive,
    run_script,
    script_parser,
    setting,
    settings_from,
)
from tools.errors import UserError
from tools.features.clip import check_clip
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.arrays import read_arrays, read_description, write_arrays
from tools.store.dataset import NAME, Dataset, open_dataset
from tools.store.jsonl import Record, dumps

CLIP = "openai/clip-vit-base-patch16"
KEPT_BYTES = 2 << 30  # of visual tokens, held in memory so that later epochs need not read them


@dataclass(frozen=True)
class FeatureSettings:
    """See the help of each field."""

    clip: str = setting(
        CLIP,
        "a CLIP checkpoint, by its id on the Hugging Face hub or its folder",
        metavar="MODEL",
        group="features",
    )
    name: str | None = setting(
        None, "name of the folder of features (default: the last part of --clip)"
    )
    num_video_frames: int = setting(FRAMES, "frames of a video", type=positive)
    tokens: int | None = setting(
        None,
        "tokens of a frame: 1 + a square number, to which patches are averaged, such as 50"
        " (default: all)",
        type=positive,
    )
    preset: str = setting(
        "default", "default, or faithful: as the public code encodes", choices=list(PRESETS)
    )

    @property
    def folder(self) -> str:
        """What the folder of features is called."""
        name = self.name or Path(self.clip).name
        name += "-faithful" * (self.preset == "faithful" and self.name is None)
        if not NAME.fullmatch(name):
            raise UserError(f"--name {name}: this cannot name a folder")
        return name

    def params(self, checkpoint: str) -> dict[str, Any]:
        """What shapes the features of a checkpoint's folder."""
        from inference.checkpoints import digest

        shaped = {"frames": self.num_video_frames, "tokens": self.tokens, "preset": self.preset}
        return {"clip": digest(checkpoint), **shaped}


@dataclass
class TokensStep(Step):
    """The tokens of the frames of a view."""

    dataset: Dataset
    settings: FeatureSettings
    checkpoint: str

    name = "frame_tokens"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(VIEWS)
        self.writes = (self.dataset.table(f"frame_tokens_{self.settings.folder}"),)

    def params(self) -> dict[str, Any]:
        return self.settings.params(self.checkpoint)

    def versions(self) -> dict[str, str]:
        from importlib.metadata import version

        return {name: version(name) for name in ("av", "torch", "transformers")}

    def setup(self, device: str, threads: int) -> None:
        from distillation.inputs.encoder import Encoder

        faithful = self.settings.preset == "faithful"
        self.encoder = Encoder(self.checkpoint, faithful, self.settings.tokens, device, threads)

    def process(self, record: Record) -> Record:
        """Write the file of a view, and add its `shape`."""
        frames = view_frames(record, self.settings.num_video_frames)
        tokens = self.encoder.frames(frames.pictures)
        folder = self.dataset.vectors(self.settings.folder, "tokens")
        description = {"params": self.params(), "times": frames.times, "step": frames.step}
        write_arrays(folder / f"{record['video_id']}.safetensors", {"tokens": tokens}, description)
        return {"video_id": record["video_id"], "shape": list(tokens.shape)}


def option_text(question: Question, option: str, faithful: bool) -> str:
    """The text whose vector stands for an option: the public code's holds the question."""
    return f"{question.question} answer: {option}" if faithful else option


class Features:
    """The features of a data set by one CLIP.

    Attributes:
        texts, lines: vectors of questions and options; tokens of prompt lines.
        params: what shaped them.
        frames, width: T, and the numbers of a vector.
    """

    def __init__(self, dataset: Dataset, name: str) -> None:
        """Raises UserError where there are none."""
        self.dataset, self.name = dataset, name
        self._folder = dataset.vectors(name, "tokens")
        first = next(iter(sorted(self._folder.glob("*.safetensors"))), None)
        if first is None:
            raise UserError(
                f"{dataset.name} has no features by {name}: run python -m distillation.features"
                f" {dataset.name} WORLD_SIZE"
            )
        arrays, description = read_arrays(first)
        self.params: dict[str, Any] = description["params"]
        self.frames, _, self.width = arrays["tokens"].shape
        self._kept: dict[str, np.ndarray] = {}
        self._bytes = 0

    @property
    def faithful(self) -> bool:
        """Whether they are those of the faithful preset."""
        return bool(self.params["preset"] == "faithful")

    @cached_property
    def texts(self) -> TextTable:
        return TextTable(self.dataset.vectors(self.name, "texts"))

    @cached_property
    def lines(self) -> TextTable:
        return TextTable(self.dataset.vectors(self.name, "lines"))

    def has(self, view: str) -> bool:
        """Whether a view is there."""
        return (self._folder / f"{view}.safetensors").is_file()

    def tokens(self, view: str) -> np.ndarray:
        """(T, N, width) float16.

        Raises:
            UserError: they were made in another way than the others.
        """
        if view not in self._kept:
            path = self._folder / f"{view}.safetensors"
            arrays, description = read_arrays(path)
            if description["params"] != self.params:
                raise UserError(f"{path} was made with {description['params']}: delete it")
            if self._bytes > KEPT_BYTES:
                return arrays["tokens"]
            self._bytes += arrays["tokens"].nbytes
            self._kept[view] = arrays["tokens"]
        return self._kept[view]

    def digest(self, views: Iterable[str]) -> str:
        """16 hex digits that change when the file of one of the views is written again."""
        rows = []
        for view in sorted(set(views)):
            status = (self._folder / f"{view}.safetensors").stat()
            rows.append([view, status.st_size, status.st_mtime_ns])
        return hashlib.sha256(dumps([self.name, self.params, rows])).hexdigest()[:16]

    def times(self, view: str) -> list[float]:
        """Seconds of the frames."""
        times: list[float] = read_description(self._folder / f"{view}.safetensors")["times"]
        return times


def open_features(dataset: Dataset, name: str | None, preset: str) -> Features:
    """The features by the named CLIP, or by the only one there is for a preset.

    Raises:
        UserError: there are none, or several and no name.
    """
    names = [name] if name else dataset.vector_clips("tokens")
    every = [Features(dataset, own) for own in names]
    fitting = [own for own in every if own.faithful == (preset == "faithful")]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(own.name for own in fitting) or "none"
    raise UserError(
        f"{dataset.name} has features of the {preset} preset by {known}: name one with --clip, or"
        f" run python -m distillation.features {dataset.name} WORLD_SIZE --preset {preset}"
    )


def texts_of(dataset: Dataset, faithful: bool) -> Iterator[str]:
    """All questions and options of a data set that a student may read."""
    for split in dataset.question_splits():
        for question in read_questions(dataset, split):
            if question.choices is not None and question.video is not None:
                yield question.question
                yield from (option_text(question, own, faithful) for own in question.choices)


def main(argv: Sequence[str] | None = None) -> None:
    """Encode what is new."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, FeatureSettings)
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    settings, options = settings_from(args, FeatureSettings), settings_from(args, Options)
    checkpoint = check_clip(settings.clip)
    faithful = settings.preset == "faithful"

    from distillation.inputs.lines import every_line
    from tools.runner.run import run

    step = TokensStep(dataset, settings, checkpoint)
    run([step], dataset, options, prepare=lambda: list_views(dataset))

    from distillation.inputs.encoder import Encoder
    from tools.runner.devices import device_of

    folder = settings.folder
    texts = TextTable(dataset.vectors(folder, "texts"))
    lines = TextTable(dataset.vectors(folder, "lines"))
    # Texts do not depend on frames, nor on how patches are averaged.
    params = {key: step.params()[key] for key in ("clip", "preset")}
    with dataset.lock(f"features-{folder}"):
        encoder = Encoder(checkpoint, faithful, None, device_of(options.device), options.threads)
        count = texts.add(texts_of(dataset, faithful), encoder.vectors, params)
        print(f"texts: {count} new questions and options -> {texts.folder}")
        count = lines.add(every_line(dataset), encoder.lines, params)
        print(f"lines: {count} new prompt lines -> {lines.folder}")


if __name__ == "__main__":
    run_script(main)
