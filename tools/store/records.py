"""The fields of a record at each step, once.

A record is one JSON object on one line, keyed by `video_id`; each step of stages 1 and 2 adds its
fields to what it read. `total=False` marks fields that only this project writes: records made by
the reference scripts lack them.
"""

from typing import Any, Required, TypedDict


class Video(TypedDict, total=False):
    """init.jsonl: a video file.

    Attributes:
        video_id: `<dataset>_` and 12 hex digits of the SHA-1 of `video_name` (file-system bytes).
        video_path: absolute path.
        video_name: path relative to the video folder.
        filtered: whether the method has rejected the video.
        filter_reason: why.
    """

    video_id: Required[str]
    video_path: Required[str]
    video_name: Required[str]
    filtered: Required[bool]
    filter_reason: str


class Scene(Video, total=False):
    """scene.jsonl: its shots.

    Attributes:
        fps: frames a second, on average.
        raw_cuts: [position, start, end] of every shot, frame indices, end inclusive.
        cut_times: [start, end] of every shot of `raw_cuts`, seconds from the first frame; the end
            is when the last frame stops being shown.
        filtered_cuts: the entries of `raw_cuts` that last long enough and are not blank.
    """

    fps: Required[float]
    raw_cuts: Required[list[list[int]]]
    cut_times: list[list[float]]
    filtered_cuts: Required[list[list[int]]]


class Similarity(Scene, total=False):
    """similarity.jsonl: clip_similarity, (n, n) cosines over `filtered_cuts`, 4 places."""

    clip_similarity: Required[list[list[float]]]


class Group(Similarity, total=False):
    """group.jsonl: which shots look alike.

    Attributes:
        groups: positions in `filtered_cuts`, a list a group.
        merged_groups: the clips: [group id, [position in `filtered_cuts`...]], in time order.
    """

    groups: Required[list[list[int]]]
    merged_groups: Required[list[Any]]


class Clips(Group, total=False):
    """extract_frame.jsonl and videos.jsonl: two key frames a clip.

    Attributes:
        frame_indices: [first, second] frame index of each clip.
        frame_times: the same in seconds from the first frame.
    """

    frame_indices: Required[list[list[int]]]
    frame_times: list[list[float]]


class RawCaptioned(Clips, total=False):
    """raw_clip_captions_<model>.jsonl: a whole answer a clip, and how it ended (stop, length)."""

    raw_clip_captions: Required[list[str]]
    finish_reasons: list[str]


class Captioned(RawCaptioned, total=False):
    """clip_captions_<model>.jsonl: the caption in each answer."""

    clip_captions: Required[list[str]]


class Response(TypedDict, total=False):
    """dpo-<model>/iter_<k>/<config>.jsonl: a whole-video caption from a list of clip captions.

    Attributes:
        info: selected_indices (which clips, in which order), block_size (clips a block; null for
            none and drop), finish_reason, sampling (every sampling parameter), same_as (the
            configuration with the same selected_indices whose answer this is).
        filtered: true where the answer is of no use, or no other order exists; such a row may lack
            all but the video.
        filter_reason: why: cut_off, empty, looping, tag; identity_only.
    """

    video_id: Required[str]
    video_path: Required[str]
    filtered: bool
    filter_reason: str
    frame_indices: Required[list[list[int]]]
    response: Required[str]
    info: Required[dict[str, Any]]


class Failure(TypedDict):
    """<name>.failed.jsonl: attempts counts the times a worker has tried."""

    video_id: str
    step: str
    error: str
    attempts: int
