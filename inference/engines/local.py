"""What the engines share that run a checkpoint's weights on this machine."""

import os
import sys
from collections.abc import Sequence
from multiprocessing import parent_process
from typing import Any, NoReturn

import cv2
import numpy as np

from inference.captioner import Model, Request, Sampling
from inference.checkpoints import generation_config

# Frames a second that a clip is said to have, where a family's prompt tells times or its positions
# depend on them; what qwen-vl-utils, and so the reference, assumes of a list of frames.
FPS = 2.0
EXIT_BROKEN_DEVICE = 70  # sysexits.h, EX_SOFTWARE


class LocalCaptioner:
    """A checkpoint before it is loaded, and its chat template after that.

    Args:
        batch_size: requests that a worker is handed at once.
        trust_remote_code: run code of the checkpoint's own.
    """

    processor: Any

    def __init__(self, model: Model, batch_size: int, trust_remote_code: bool) -> None:
        assert model.checkpoint is not None
        self.model = model
        self.name = model.name
        self.reasoning = model.reasoning
        self.checkpoint = model.checkpoint
        self.batch_size = batch_size
        self.trust_remote_code = trust_remote_code

    @property
    def decoding(self) -> Sampling:
        """As the checkpoint's generation_config says.

        Raises:
            UserError: the checkpoint cannot be had.
        """
        return generation_config(self.checkpoint, self.model.max_new_tokens)

    def chat(self, request: Request) -> tuple[str, list[np.ndarray], list[dict[str, Any]]]:
        """The chat template's text with one placeholder a clip; the frames of each clip, uint8 RGB
        (n, H, W, 3); and what a processor is told of each."""
        chat, videos, metadata = [], [], []
        for message in request.messages:
            content = []
            for part in message["content"]:
                if part["type"] == "video":
                    count, fps = len(part["video"]), part.get("fps", FPS)
                    videos.append(stacked(part["video"]))
                    metadata.append(
                        {
                            "total_num_frames": count,
                            "fps": fps,
                            "duration": count / fps,
                            "frames_indices": list(range(count)),
                        }
                    )
                    part = {"type": "video"}
                content.append(part)
            chat.append({**message, "content": content})
        text = self.processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return text, videos, metadata


def stacked(frames: Sequence[np.ndarray]) -> np.ndarray:
    """(frames, H, W, 3); a video may change its size on the way, and the first frame's counts."""
    height, width = frames[0].shape[:2]
    return np.stack(
        [
            frame if frame.shape[:2] == (height, width) else cv2.resize(frame, (width, height))
            for frame in frames
        ]
    )


def end_worker(what: str, error: Exception) -> NoReturn:
    """End the process where every later call would fail; the runner starts another. The error is
    raised where this process is no worker, such as the viewer's, which nobody would start again."""
    if parent_process() is None:
        raise error
    print(f"\nthe {what} is broken, its worker ends: {error}", file=sys.stderr, flush=True)
    os._exit(EXIT_BROKEN_DEVICE)
