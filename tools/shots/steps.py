"""Stage 1, step by step: from a list of videos to clips with two key frames each."""

from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from tools.errors import Filtered
from tools.features.embedding import check_embedder, open_embedder, similarity_matrix
from tools.runner.step import Step
from tools.shots import transnet
from tools.shots.detectors import (
    adaptive_shots,
    fixed_shots,
    kept_shots,
    long_enough,
    shots_from_probabilities,
)
from tools.shots.grouping import group_shots, merge_neighbours
from tools.shots.keyframes import key_frames
from tools.shots.settings import MIN_SHOT_FRAMES, Settings
from tools.shots.spans import shot_spans
from tools.store.dataset import Dataset
from tools.store.jsonl import Record
from tools.video.frames import read_frames
from tools.video.scan import SCAN_VERSION, Scan, scan_file

# Records that cost little are handed out many at a time.
CHEAP_BATCH = 32
# The method perturbs the order of a video's clips, and a single take has one.
ONE_TAKE = "footage in one take can be cut into pieces: --shot_detector fixed --redo scene"
SHORTER_PIECES = "--shot_seconds with --redo scene cuts shorter pieces"


@dataclass
class StageOneStep(Step):
    """A step of stage 1: one table in, one table out.

    Attributes:
        source: the table that it reads.
        target: the table that it writes; the step's name where empty.
        shaped_by: the settings that shape its output.
    """

    dataset: Dataset
    settings: Settings

    source: ClassVar[str]
    target: ClassVar[str] = ""
    shaped_by: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.reads = self.dataset.table(self.source)
        self.writes = (self.dataset.table(self.target or self.name),)
        self.time_limit = self.settings.video_timeout

    def params(self) -> dict[str, Any]:
        return {name: getattr(self.settings, name) for name in self.shaped_by}

    def scan(self, record: Record, threads: int = 1, *, counts_damage: bool = False) -> Scan:
        """The scan of a record's video, made if it is not kept yet; see `scan_file`."""
        kept = self.dataset.scan_path(record["video_id"])
        video = self.dataset.video_path(record)
        return scan_file(video, kept, threads, counts_damage=counts_damage)


class SceneStep(StageOneStep):
    """Scan the file and find its shots, or cut it into pieces."""

    name = "scene"
    source = "init"
    shaped_by = ("shot_detector", "shot_threshold", "min_shot_seconds", "min_gray_range")

    def params(self) -> dict[str, Any]:
        """The settings that shape this step's output; those which older tables do not name only
        where they are not what they always were."""
        settings = self.settings
        newer: dict[str, float] = {}
        if settings.min_shot_frames != MIN_SHOT_FRAMES:
            newer["min_shot_frames"] = settings.min_shot_frames
        if settings.shot_detector == "fixed":
            newer["shot_seconds"] = settings.shot_seconds
        return super().params() | newer

    def versions(self) -> dict[str, str]:
        """The decoder's version, the scan's, and the detector's."""
        from importlib.metadata import version

        decoder = {"av": version("av"), "scan": str(SCAN_VERSION)}
        if self.settings.shot_detector == "adaptive":
            return {**decoder, "scenedetect": version("scenedetect-headless")}
        if self.settings.shot_detector == "fixed":
            return decoder
        return {**decoder, **transnet.versions()}

    def check(self, device: str) -> None:
        """Prepare the detector's networks for the CPU once, before the workers need them."""
        if self.settings.shot_detector == "transnetv2" and device != "cuda":
            transnet.prepare()

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        if self.settings.shot_detector == "transnetv2":
            self.network = transnet.TransNetV2(device, threads)

    def process(self, record: Record) -> Record:
        """Add fps, raw_cuts, cut_times, filtered_cuts; left_out: how many shots are too short or
        blank, by the setting that says so; clock_jumps and damaged, where there are some."""
        scan = self.scan(record, self.threads, counts_damage=True)
        settings, threshold = self.settings, self.settings.shot_threshold
        if settings.shot_detector == "adaptive":
            every_shot = adaptive_shots(scan, threshold)
        elif settings.shot_detector == "fixed":
            every_shot = fixed_shots(scan, settings.shot_seconds)
        else:
            probabilities = self.network.predict(scan.thumbnails(), threshold)
            every_shot = shots_from_probabilities(probabilities, threshold)
        shots = long_enough(every_shot, scan.average_rate, settings.min_shot_frames)
        kept, left_out = kept_shots(shots, scan, settings.min_shot_seconds, settings.min_gray_range)
        left_out["min_shot_frames"] = len(every_shot) - len(shots)
        times = [scan.span_times(start, end) for start, end in shots]
        return {
            **record,
            "raw_cuts": [[i, start, end] for i, (start, end) in enumerate(shots)],
            "cut_times": [[round(begin, 4), round(after, 4)] for begin, after in times],
            "fps": round(scan.average_rate, 4),
            "filtered_cuts": [list(cut) for cut in kept],
            **({"left_out": dict(+left_out)} if +left_out else {}),
            **({"clock_jumps": scan.clock_jumps} if scan.clock_jumps else {}),
            **({"damaged": scan.damaged} if scan.damaged else {}),
        }


class FilterSceneStep(StageOneStep):
    """Reject videos with too few or too many shots, or a long one."""

    name = "filter_scene"
    source = "scene"
    shaped_by = ("min_shots", "max_shots", "max_shot_seconds")
    batch_size = CHEAP_BATCH

    def limits(self) -> dict[str, str]:
        other_cuts = SHORTER_PIECES if self.settings.shot_detector == "fixed" else ONE_TAKE
        more = "give more with --redo filter_scene"
        return {
            "too_few_shots": "--min_shots sets the limit: give less with --redo filter_scene;"
            f" {other_cuts}",
            "too_few_shots_damaged": "some of their frames cannot be decoded: whole copies of these"
            " files may have enough shots",
            "too_many_shots": f"--max_shots sets the limit: {more}",
            "shot_too_long": f"--max_shot_seconds sets the limit: {more}; {other_cuts}",
        }

    def process(self, record: Record) -> Record:
        spans, settings = shot_spans(record), self.settings
        # Records hold times to 0.1 ms: a difference of two of them is no more exact than that.
        longest = max((round(end - start, 4) for start, end in spans), default=0.0)
        if len(spans) < settings.min_shots:
            what = f"{len(spans)} shots" + "".join(
                f", {count} left out by {name} {getattr(settings, name)}"
                for name, count in record.get("left_out", {}).items()
            )
            reason = "too_few_shots_damaged" if record.get("damaged") else "too_few_shots"
            raise _filtered(record, reason, "min_shots", settings, what)
        if len(spans) > settings.max_shots:
            what = f"{len(spans)} shots"
            raise _filtered(record, "too_many_shots", "max_shots", settings, what)
        if longest > settings.max_shot_seconds:
            what = f"a shot of {longest} s"
            raise _filtered(record, "shot_too_long", "max_shot_seconds", settings, what)
        return record


def _filtered(record: Record, reason: str, limit: str, settings: Settings, what: str) -> Filtered:
    """A rejection that says which setting struck, its value, and what the video has."""
    detail = f"{limit} {getattr(settings, limit):g}: {what}"
    if damaged := record.get("damaged"):
        detail += f"; {damaged} damaged frames"
    return Filtered(reason, {**record, "filter_detail": detail})


class SimilarityStep(StageOneStep):
    """Compare the shots' middle frames with each other; pieces of one take are not compared, so
    that each becomes a clip."""

    name = "similarity"
    source = "filter_scene"
    shaped_by = ("embedder", "checkpoint")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.compares = self.settings.shot_detector != "fixed"

    def params(self) -> dict[str, Any]:
        return super().params() if self.compares else {"embedder": None, "checkpoint": None}

    def versions(self) -> dict[str, str]:
        """The library's version, where one computes the embeddings."""
        from importlib.metadata import version

        if not self.compares:
            return {}
        packages = () if self.settings.embedder == "color" else ("torch", "transformers")
        return {**{package: version(package) for package in packages}, "opencv": cv2.__version__}

    def check(self, device: str) -> None:
        """Find the weights, or fetch them once."""
        if self.compares:
            self.folder = check_embedder(self.settings.embedder, self.settings.checkpoint)

    def setup(self, device: str, threads: int) -> None:
        self.threads = threads
        if self.compares:
            self.embedder = open_embedder(self.folder, device, threads)

    def process(self, record: Record) -> Record:
        """Add clip_similarity."""
        if not self.compares:
            return {**record, "clip_similarity": np.eye(len(record["filtered_cuts"])).tolist()}
        middles = [(start + end) // 2 for _, start, end in record["filtered_cuts"]]
        scan = self.scan(record, self.threads)
        if self.embedder.from_thumbnails:
            images = list(scan.thumbnails_at(middles))
        else:
            video = self.dataset.video_path(record)
            frames = read_frames(video, middles, scan, self.threads)
            images = [frames[index] for index in middles]
        return {**record, "clip_similarity": similarity_matrix(self.embedder.embed(images))}


class GroupStep(StageOneStep):
    """Group the shots that look alike, and merge neighbours of one group into clips."""

    name = "group"
    source = "similarity"
    shaped_by = ("group_threshold",)
    batch_size = CHEAP_BATCH

    def process(self, record: Record) -> Record:
        """Add groups and merged_groups."""
        similarity = np.array(record["clip_similarity"])
        groups = group_shots(similarity, self.settings.group_threshold)
        return {**record, "groups": groups, "merged_groups": merge_neighbours(groups)}


class FilterGroupStep(StageOneStep):
    """Reject videos with too few clips, or with one group in too many of them."""

    name = "filter_group"
    source = "group"
    shaped_by = ("min_clips", "max_group_clips", "max_group_share")
    batch_size = CHEAP_BATCH

    def limits(self) -> dict[str, str]:
        # Pieces of a fixed length are not compared: no threshold makes one clip of several.
        other_clips = (
            SHORTER_PIECES
            if self.settings.shot_detector == "fixed"
            else "--group_threshold with --redo group says what is one clip"
        )
        return {
            "too_few_groups": "--min_clips sets the limit: give less with --redo filter_group;"
            f" {other_clips}",
            "group_recurs": "--max_group_clips and --max_group_share set the limit: give more with"
            " --redo filter_group",
        }

    def process(self, record: Record) -> Record:
        ids = [group for group, _ in record["merged_groups"]]
        settings = self.settings
        if len(ids) < settings.min_clips:
            raise _filtered(record, "too_few_groups", "min_clips", settings, f"{len(ids)} clips")
        # The small addend makes a third of 6 equal 2 in floating point too.
        share = int(len(ids) * settings.max_group_share + 1e-9)
        limit = "max_group_clips" if settings.max_group_clips <= share else "max_group_share"
        most = max(map(ids.count, ids))
        if most > min(settings.max_group_clips, share):
            what = f"{most} of {len(ids)} clips"
            raise _filtered(record, "group_recurs", limit, settings, what)
        return record


class ExtractFrameStep(StageOneStep):
    """Choose two sharp key frames for each clip."""

    name = "extract_frame"
    source = "filter_group"

    def process(self, record: Record) -> Record:
        """Add frame_indices and frame_times."""
        scan = self.scan(record)
        cuts = record["filtered_cuts"]
        chosen = [
            key_frames(cuts[members[0]][1], cuts[members[-1]][2], scan.sharpness)
            for _, members in record["merged_groups"]
        ]
        times = [[round(float(scan.times[i]), 4) for i in pair] for pair in chosen]
        return {**record, "frame_indices": chosen, "frame_times": times}


class FinalizeStep(StageOneStep):
    """Write the videos that passed all filters to one file."""

    name = "finalize"
    source = "extract_frame"
    target = "videos"
    batch_size = CHEAP_BATCH

    def process(self, record: Record) -> Record:
        return record


STEPS: tuple[type[StageOneStep], ...] = (
    SceneStep,
    FilterSceneStep,
    SimilarityStep,
    GroupStep,
    FilterGroupStep,
    ExtractFrameStep,
    FinalizeStep,
)
