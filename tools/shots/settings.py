"""The numbers of stage 1, all from TEMPLE (arXiv 2503.16929) unless a comment says otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass

from tools.cli import positive, setting, share
from tools.errors import UserError

MIN_SHOT_FRAMES = 8
# TransNetV2 (arXiv 2008.04838), and the best published sweep of PySceneDetect's adaptive detector.
SHOT_THRESHOLDS = {"transnetv2": 0.5, "adaptive": 3.5}
SHOT_DETECTORS = (*SHOT_THRESHOLDS, "fixed")
# The embedders' checkpoints on the Hugging Face hub; color has none.
CHECKPOINTS = {
    "siglip": "google/siglip-so400m-patch14-384",
    "clip": "openai/clip-vit-large-patch14",
}
# SigLIP's is the method's, and CLIP takes it over unmeasured; color's is set on the toy world
# (tests/shots/test_toy_stages.py holds it there).
GROUP_THRESHOLDS = {"siglip": 0.8, "clip": 0.8, "color": 0.955}


def _each(defaults: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in defaults.items())


@dataclass(frozen=True)
class Settings:
    """What shapes the output of stage 1; None is the default of the detector or embedder.

    Raises:
        UserError: two settings contradict each other.
    """

    shot_detector: str = setting(
        "transnetv2",
        "what finds shots. transnetv2: a trained network, which finds dissolves and fades too;"
        " adaptive: PySceneDetect on thumbnails, which needs less time and finds hard cuts only;"
        " fixed: pieces of --shot_seconds, each a clip of its own, for footage in one take",
        choices=list(SHOT_DETECTORS),
        group="shots",
    )
    shot_seconds: float = setting(
        4.0, "with fixed: the video is cut into equal pieces of about this length, seconds"
    )
    shot_threshold: float = setting(
        None,
        "transnetv2: probability above which a frame belongs to a transition; adaptive: how many"
        " times as large as its neighbours' a frame's change must be at a cut (default:"
        f" {_each(SHOT_THRESHOLDS)})",
    )
    min_shot_frames: int = setting(
        MIN_SHOT_FRAMES,
        "shortest shot, frames, in a video of 24 frames a second or more; in a slower one a shot"
        " must last as long as these frames do at 24 a second; shorter ones are ignored",
        type=positive,
    )
    min_shot_seconds: float = setting(0.2, "shortest shot, seconds; shorter ones are ignored")
    min_gray_range: int = setting(
        10, "a shot whose frames together span fewer gray levels is blank and ignored, 0 to 255"
    )
    min_shots: int = setting(
        4, "minimum number of shots; videos with fewer are filtered out", group="filters"
    )
    max_shots: int = setting(32, "maximum number of shots; videos with more are filtered out")
    max_shot_seconds: float = setting(
        16.0, "longest shot, seconds; videos with a longer one are filtered out"
    )
    min_clips: int = setting(
        4,
        "minimum number of clips (neighbouring shots of one group); videos with fewer are filtered"
        " out",
    )
    max_group_clips: int = setting(
        3, "maximum number of clips of one group; videos with more are filtered out"
    )
    max_group_share: float = setting(
        1 / 3,
        "maximum share of a video's clips that belong to one group, their number rounded down;"
        " videos above it are filtered out (default: a third)",
        type=share,
    )
    embedder: str = setting(
        "siglip",
        "what compares shots: siglip (the method's), clip, or color (colour layout and texture;"
        " needs no weights)",
        choices=list(GROUP_THRESHOLDS),
        group="similarity of shots",
    )
    checkpoint: str | None = setting(
        None,
        f"folder or Hugging Face id of the embedder's weights (default: {_each(CHECKPOINTS)})",
        metavar="DIR_OR_ID",
    )
    group_threshold: float = setting(
        None,
        f"cosine similarity above which shots are grouped (default: {_each(GROUP_THRESHOLDS)})",
        type=share,
    )
    video_timeout: float = setting(
        7200.0,
        "seconds that scanning a video may take, or reading its frames: after that the video is"
        " failed as timed out, and its worker replaced",
        group="time limit",
    )

    def __post_init__(self) -> None:
        for name, default in (
            ("shot_threshold", SHOT_THRESHOLDS.get(self.shot_detector)),
            ("checkpoint", CHECKPOINTS.get(self.embedder)),
            ("group_threshold", GROUP_THRESHOLDS[self.embedder]),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        if self.shot_seconds <= 0:
            raise UserError(f"--shot_seconds {self.shot_seconds:g}: it must be above 0")
        if self.shot_detector == "transnetv2" and self.shot_threshold >= 1:
            raise UserError(f"--shot_threshold {self.shot_threshold}: a probability is below 1")
        if self.min_shots > self.max_shots:
            raise UserError(
                f"--min_shots {self.min_shots} is above --max_shots {self.max_shots}: no video"
                " could pass"
            )
