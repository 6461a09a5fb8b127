"""What stage 4 converts, by which rules, and where it writes."""

from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.cli import positive, setting, share
from tools.pairs.formats import SUFFIXES
from tools.pairs.perturbation import CLEAN, FINEST, Config, configs
from tools.pairs.swift_rows import BYTES_PER_TOKEN, MAX_LENGTH, VIDEO_TOKENS
from tools.store.dataset import Dataset
from tools.store.jsonl import Table


def root_change(text: str) -> tuple[str, str]:
    """An argparse type: OLD=NEW."""
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


@dataclass(frozen=True)
class Conversion:
    """Which responses become pairs, and by which rules.

    Attributes:
        model, iteration: whose responses, of which round of self-generation.
        datasets: in the order in which their pairs are written.
        ratios: magnitudes, in the order in which a video's pairs are written.
        questions: each pair draws one.
    """

    model: str
    iteration: int
    datasets: Sequence[Dataset]
    ratios: Sequence[int]
    questions: Sequence[str]
    format: str = setting(
        "swift",
        "whose rows: swift; trl (with --frames pictures of each video, since TRL takes no video);"
        " llamafactory (and dataset_info.json beside it); parquet, for datasets.load_dataset",
        choices=list(SUFFIXES),
    )
    sft: bool = setting(
        False,
        "write the chosen sides alone, one a video, as rows of fine-tuning (default: pairs)",
    )
    frames: int = setting(
        8,
        "pictures of each video in the rows of --format trl, in <output>_frames",
        type=positive,
    )
    by_similarity: bool = setting(
        False, "read the drops of generate_dpo_data.py --by_similarity (default: unbiased drops)"
    )
    by_group: bool = setting(
        False, "read the drops of generate_dpo_data.py --by_group (default: unbiased drops)"
    )
    seed: int = setting(0, "seed of each pair's question and of the split of --val", type=int)
    distinct_levels: bool = setting(
        False,
        "of a video's pairs with the same order of clips keep only the hardest, even if its ratio"
        " is not converted now, so that files of single ratios share no pair (default: keep and"
        " count them)",
    )
    max_similarity: float | None = setting(
        None,
        "drop pairs whose two sides are more similar than this, 0 to 1: the share of words that"
        " both have in the same order (default: keep them)",
        type=share,
    )
    val: float = setting(
        0.0,
        "hold out about this share of the videos, with all their pairs, as <output>_val.json"
        " (default: none)",
        type=share,
        metavar="FRACTION",
    )
    video_root: tuple[str, str] | None = setting(
        None,
        "write paths for a machine that has the videos elsewhere: paths that begin with the folder"
        " OLD begin with NEW instead (default: leave paths as they are)",
        type=root_change,
        metavar="OLD=NEW",
    )
    check_videos: bool = setting(
        False,
        "ask the reader that training uses for frames of each video, once for each file (default:"
        " check that the file exists)",
    )
    judgements: bool = setting(
        False,
        "drop the pairs that their latest judgement in the viewer rejects, as"
        " data/<dataset>/judgements.jsonl has it (default: ignore judgements)",
    )
    drop_unsure: bool = setting(
        False,
        "with --judgements, also drop the pairs whose latest judgement is unsure (default: keep"
        " them)",
    )
    max_length: int = setting(
        MAX_LENGTH,
        "longest row that training takes; longer ones are counted and kept. The estimate is UTF-8"
        f" bytes / {BYTES_PER_TOKEN} for text and at most {VIDEO_TOKENS} for the video (default:"
        " %(default)s, the paper's)",
        type=positive,
        metavar="TOKENS",
    )

    @cached_property
    def configs(self) -> dict[str, Config]:
        """name -> perturbed config: first those of `ratios`, in that order and within each drop,
        reverse, shuffle; then the others, which show what is a duplicate."""
        noisy = configs(self.by_similarity, self.by_group, FINEST in self.ratios)[1:]
        first = [config for r in self.ratios for config in noisy if config.magnitude == r]
        return {config.name: config for config in [*first, *noisy]}

    def tables(self, dataset: Dataset) -> dict[str, Table]:
        """name -> responses to CLEAN and to each of `configs`."""
        names = [CLEAN.name, *self.configs]
        return {name: dataset.responses(self.model, name, self.iteration) for name in names}

    def names(self) -> list[str]:
        """The datasets' names; shards of one dataset share theirs."""
        return list(dict.fromkeys(dataset.name for dataset in self.datasets))

    def shards(self) -> list[str]:
        """The shards' titles; none of a dataset that has no shards."""
        return [dataset.title for dataset in self.datasets if dataset.shard]

    def flags(self) -> dict[str, Any]:
        """The rules' parameters, as the funnel keeps them."""
        names = [entry.name for entry in fields(self) if entry.metadata and entry.name != "seed"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Output:
    """One file of pairs of some magnitudes, and the files beside it."""

    path: Path
    ratios: Sequence[int]

    @property
    def funnel_path(self) -> Path:
        """What the file was made of, and what became of every pair."""
        return self.path.with_name(f"{self.path.stem}.funnel.json")

    @property
    def frames_folder(self) -> Path:
        """The pictures of the videos, where the rows have such."""
        return self.path.absolute().with_name(f"{self.path.stem}_frames")

    def files(self, val: float) -> list[Path]:
        """The file of training pairs and, where a share `val` is held out, that of the others."""
        val_path = self.path.with_stem(f"{self.path.stem}_val")
        return [self.path, val_path] if val else [self.path]
