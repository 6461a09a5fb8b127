"""The reader of videos that training uses, in place of decord, for qwen-vl-utils.

decord 0.6.0 reads no AV1, fails on some VP9 and on a WebM without a duration; ms-swift then draws
another row and says so in a log line. This one reads what stage 1 reads, upright and in square
pixels; of whole H.264 files with square, unturned pixels it gives decord's frames to the last bit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.video.sampling import sample_frames

NAME = "toolkit"


def register(kept: int | None = 1) -> None:
    """Make qwen-vl-utils read videos with this reader, in this process.

    Args:
        kept: of how many videos the frames stay in memory, scaled as the model takes them. The two
            answers of a pair are about one video, and ms-swift asks for its frames for each. None:
            of all.
    """
    import qwen_vl_utils
    from qwen_vl_utils import vision_process

    vision_process.VIDEO_READER_BACKENDS[NAME] = read_for_qwen
    vision_process.FORCE_QWENVL_VIDEO_READER = NAME
    vision_process.get_video_reader_backend.cache_clear()
    # ms-swift imports the function anew for each video.
    qwen_vl_utils.fetch_video = _keeping(vision_process.fetch_video, kept)


def _keeping(fetch: Callable[..., Any], kept: int | None) -> Callable[..., Any]:
    """`fetch_video`, which remembers what it has returned of the last files: a byte a value, since
    what scaling leaves are whole numbers of 0 to 255."""
    import torch
    from torch.utils._pytree import tree_map_only

    last: dict[str, Any] = {}

    def fetch_video(element: dict[str, Any], *args: Any, **how: Any) -> Any:
        if not isinstance(element["video"], str):  # pictures
            return fetch(element, *args, **how)
        wanted = repr((element, args, how))
        if wanted not in last:
            if len(last) == kept:
                del last[next(iter(last))]
            video = fetch(element, *args, **how)
            last[wanted] = tree_map_only(torch.Tensor, lambda frames: frames.to(torch.uint8), video)
        return tree_map_only(torch.Tensor, torch.Tensor.float, last[wanted])

    return fetch_video


def read_for_qwen(element: dict[str, Any]) -> tuple[Any, dict[str, Any], float]:
    """What qwen-vl-utils 0.0.14 asks of a reader.

    Args:
        element: the path under "video", and what `smart_nframes` and `calculate_video_frame_range`
            of qwen-vl-utils read: fps, nframes, video_start, video_end...

    Returns:
        The frames, (n, 3, height, width) uint8; what is known of them; frames a second among them.

    Raises:
        VideoError: the file cannot be read.
        ValueError: it has too few frames.
    """
    import torch
    from qwen_vl_utils.vision_process import calculate_video_frame_range, smart_nframes

    span = 0

    def choose(total: int, rate: float) -> list[int]:
        nonlocal span
        start, end, span = calculate_video_frame_range(element, total, rate)
        wanted = smart_nframes(element, total_frames=span, video_fps=rate)
        return torch.linspace(start, end, wanted).round().long().tolist()

    sample = sample_frames(Path(element["video"].removeprefix("file://")), choose)
    metadata = {
        "fps": sample.rate,
        "frames_indices": sample.indices,
        "total_num_frames": span,
        "video_backend": NAME,
    }
    frames = torch.from_numpy(sample.pictures).permute(0, 3, 1, 2)
    return frames, metadata, len(sample.indices) / span * sample.rate
