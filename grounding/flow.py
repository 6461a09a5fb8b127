"""The optical flow of every video -> data/<dataset>/flow/<extractor>/<video_id>.safetensors.

    python -m grounding.flow mine 2                                       # DIS: no weights, no GPU
    python -m grounding.flow videoinstruct 8 --extractor raft_large       # the method's
    python -m grounding.flow videoinstruct 8 --extractor precomputed --flow_dir ~/flow

Pictures are taken by their time stamps, --flow_fps of them a second whatever a video's own rate,
and the flow from each to the next is kept as the mean speed in each cell of a grid. The videos are
those in anno/init.jsonl, which preprocess.py or a reader of questions has listed. After a Ctrl-C
or a crash, run the same command again: a video's flow is not computed twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

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
from tools.features.flow import (
    FPS,
    GRID,
    MIN_SIDES,
    RAFT_STEP,
    RAFT_UPDATES,
    RAFT_WEIGHTS,
    SIDES,
    Flow,
    check_weights,
    open_extractor,
    precomputed_flow,
    token_times,
    video_flow,
)
from tools.runner.options import Options
from tools.runner.step import Step
from tools.store.arrays import read_arrays, read_description, write_arrays
from tools.store.dataset import Dataset, open_dataset
from tools.store.jsonl import Record
from tools.video.decode import VideoError, readable

EXTRACTORS = [*SIDES, "precomputed"]


@dataclass(frozen=True)
class FlowSettings:
    """What shapes a video's flow.

    Raises:
        UserError: a value does not fit the extractor.
    """

    extractor: str = setting(
        "dis",
        "dis: OpenCV's DIS, which needs no weights; raft_large (the method's), raft_small:"
        " torchvision's RAFT; precomputed: the arrays in --flow_dir",
        choices=EXTRACTORS,
        group="flow",
    )
    flow_fps: float = setting(FPS, "pictures a second of a video's time")
    size: int | None = setting(
        None,
        "side of the square that pictures are scaled to, pixels (default:"
        f" {', '.join(f'{name}: {side}' for name, side in SIDES.items())})",
        type=positive,
    )
    grid: int = setting(
        GRID, "cells along a side of the picture, of which mean speeds are kept", type=positive
    )
    checkpoint: Path | None = setting(
        None,
        "file of RAFT's weights, as torchvision's hub has it (default:"
        f" {', '.join(RAFT_WEIGHTS.values())} from the hub)",
        type=Path,
        metavar="FILE",
    )
    flow_dir: Path | None = setting(
        None,
        "of precomputed: folder of <video>_raft.npy, (pairs, 2, height, width) pixels, by the names"
        " of the video files or by their ids (default: none)",
        type=Path,
        metavar="DIR",
    )
    video_timeout: float = setting(
        7200.0, "seconds that a video may take: after that it is failed as timed out"
    )

    def __post_init__(self) -> None:
        raft, precomputed = self.extractor in RAFT_UPDATES, self.extractor == "precomputed"
        size = None if precomputed else self.size or SIDES[self.extractor]
        object.__setattr__(self, "size", size)
        if precomputed != (self.flow_dir is not None):
            raise UserError("--flow_dir DIR and --extractor precomputed go together")
        if self.flow_dir and not self.flow_dir.is_dir():
            raise UserError(f"--flow_dir {self.flow_dir}: no such folder")
        if self.checkpoint and not raft:
            raise UserError(f"--checkpoint {self.checkpoint}: {self.extractor} has no weights")
        if self.checkpoint and not self.checkpoint.is_file():
            raise UserError(f"--checkpoint {self.checkpoint}: no such file")
        step = RAFT_STEP if raft else 1
        if size and (size < MIN_SIDES[self.extractor] or size % step):
            raise UserError(
                f"--size {size}: {self.extractor} takes multiples of {step}, from"
                f" {MIN_SIDES[self.extractor]} on"
            )
        if size and size < self.grid:
            raise UserError(f"--grid {self.grid}: a picture of {size} pixels has fewer cells")

    def params(self) -> dict[str, Any]:
        """What is written beside the flow, and must be the same in all files of one extractor."""
        params: dict[str, Any] = {
            "extractor": self.extractor,
            "flow_fps": self.flow_fps,
            "grid": self.grid,
        }
        if self.size:
            params["size"] = self.size
        if self.extractor in RAFT_UPDATES:
            params["updates"] = RAFT_UPDATES[self.extractor]
            params["weights"] = RAFT_WEIGHTS[self.extractor]
        if self.checkpoint:
            with open(self.checkpoint, "rb") as file:
                params["weights"] = f"sha256 {file_digest(file, 'sha256').hexdigest()[:16]}"
        return params


@dataclass
class FlowStep(Step):
    """Compute the flow of a video, unless a file holds it already."""

    dataset: Dataset
    settings: FlowSettings

    name = "flow"

    def __post_init__(self) -> None:
        self.reads = self.dataset.table("init")
        self.writes = (self.dataset.table(f"flow_{self.settings.extractor}"),)
        self.time_limit = self.settings.video_timeout

    def params(self) -> dict[str, Any]:
        return self.settings.params()

    def versions(self) -> dict[str, str]:
        """The versions of the decoder and of the extractor's library."""
        from importlib.metadata import version

        names = {"dis": ("av", "opencv-python-headless"), "precomputed": ()}
        used = names.get(self.settings.extractor, ("av", "torch", "torchvision"))
        return {name: version(name) for name in used}

    def check(self, device: str) -> None:
        """Find the weights, or fetch them once."""
        self.weights = check_weights(self.settings.extractor, self.settings.checkpoint)

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        made = self.writes[0].meta()
        self.description = {key: made[key] for key in ("fingerprint", "build", "params")}
        if size := self.settings.size:
            self.extractor = open_extractor(
                self.settings.extractor, size, self.weights, device, threads
            )

    def process(self, record: Record) -> Record:
        """Write the file of the flow, and add flow_pairs, how many pairs of pictures it has."""
        file = self.dataset.flow(self.settings.extractor, record["video_id"])
        source = self._source(record)
        with readable(source):
            description = self.description | {"bytes": source.stat().st_size}
        kept = read_description(file)
        # Libraries of other versions shape the fingerprint too, and refuse nothing by themselves.
        if any(kept.get(key) != description[key] for key in ("build", "params", "bytes")):
            flow = self._flow(source)
            kept = {
                **description,
                "unit": "sides a second",
                "max_speed": flow.max_speed,
                "pairs": len(flow.times),
            }
            write_arrays(file, {"flow": flow.speed, "times": flow.times}, kept)
        return {**record, "flow_pairs": kept["pairs"]}

    def _source(self, record: Record) -> Path:
        """The file that the flow is computed from."""
        folder = self.settings.flow_dir
        if folder is None:
            return self.dataset.video_path(record)
        names = (Path(record["video_name"]).stem, record["video_id"])
        files = [folder / f"{name}_raft.npy" for name in names]
        for file in files:
            if file.is_file():
                return file
        raise VideoError(f"no precomputed flow: {files[0].name} is not in the folder")

    def _flow(self, source: Path) -> Flow:
        fps, grid = self.settings.flow_fps, self.settings.grid
        if self.settings.flow_dir:
            return precomputed_flow(source, fps, grid)
        return video_flow(source, self.extractor, fps, grid, self.threads)


def read_flow(
    dataset: Dataset, extractor: str, video_id: str, fps: float = FPS, grid: int = GRID
) -> Flow:
    """The flow of a video, for training and inference; `Flow.normalised` makes of it what the
    bridge reads.

    Raises:
        UserError: there is none, or it is another extractor's, or at another rate or grid.
    """
    file = dataset.flow(extractor, video_id)
    command = f"python -m grounding.flow {dataset.name} WORLD_SIZE --extractor {extractor}"
    try:
        arrays, description = read_arrays(file)
    except FileNotFoundError:
        raise UserError(f"{file} is not there: run {command}") from None
    wanted = {"extractor": extractor, "flow_fps": fps, "grid": grid}
    for name, value in wanted.items():
        if description["params"][name] != value:
            raise UserError(
                f"{file} holds flow of {name}={description['params'][name]}, wanted is"
                f" {name}={value}: give the value of the file, or run {command} --redo flow"
            )
    # Files from before hold the frames' own times, which repeat where a frame stays on the screen.
    times = token_times(len(arrays["flow"]), fps)
    return Flow(arrays["flow"], times, description["max_speed"])


def main(argv: Sequence[str] | None = None) -> None:
    """Compute the flow of a dataset's videos."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_settings(parser, FlowSettings)
    add_settings(parser, Options)
    args = parser.parse_args(argv)
    dataset = open_dataset(args.dataset, args.data_root)
    if not dataset.table("init").exists():
        raise UserError(
            f"{dataset.table('init').path} is not there: run preprocess.py {dataset.name} first,"
            " which lists the videos"
        )

    from tools.runner.run import run

    step = FlowStep(dataset, settings_from(args, FlowSettings))
    run([step], dataset, settings_from(args, Options))


if __name__ == "__main__":
    run_script(main)
