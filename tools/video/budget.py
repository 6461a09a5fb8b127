"""How training sees a video: which frames, how large, and how many visual tokens that makes.

The arithmetic is that of qwen-vl-utils (`smart_nframes`, `smart_resize`, `fetch_video`) with the
limits that the environment sets for it.
"""

import math
from dataclasses import dataclass
from pathlib import Path

# Training scales the frames of a video, however many, to VIDEO_TOTAL_PIXELS in all. Two frames are
# one grid of visual tokens, and a token is 28 x 28 pixels (Qwen2-VL, Qwen2.5-VL): n frames of at
# most 2 * total / n pixels are n / 2 grids, at most total / 784 tokens together. At FPS=1 a video
# of 30 s or more comes close to that, a shorter one has less.
VIDEO_TOTAL_PIXELS = 9_000_000
TOKEN_PIXELS = 28 * 28
SIDE = math.isqrt(TOKEN_PIXELS)  # pixels of a visual token's side
FRAMES_A_TOKEN = 2  # frames that one grid of visual tokens holds (temporal_patch_size)
MIN_FRAMES = 4  # qwen-vl-utils' FPS_MIN_FRAMES
FRAME_MAX_TOKENS = 768  # qwen-vl-utils' VIDEO_MAX_TOKEN_NUM


@dataclass(frozen=True)
class Budget:
    """How a video is seen; the names are those of the environment's variables, in lower case."""

    fps: float = 1.0  # frames a second that are taken
    fps_max_frames: int = 600  # frames that are taken at most
    video_min_pixels: int = 3136  # pixels a frame has at least
    # Pixels all frames have at most, two of them counted as one, as they are in visual tokens.
    video_total_pixels: int = VIDEO_TOTAL_PIXELS

    @property
    def most_tokens(self) -> int:
        """More visual tokens than these no video has."""
        floor = self.fps_max_frames // 2 * int(self.video_min_pixels * 1.05) // TOKEN_PIXELS
        return max(self.video_total_pixels // TOKEN_PIXELS, floor)

    def frames(self, frames: int, rate: float) -> int:
        """How many frames are taken of a video of `frames` frames, `rate` a second."""
        most = min(self.fps_max_frames, frames) // 2 * 2
        wanted = min(max(frames / rate * self.fps, MIN_FRAMES), most, frames)
        return int(wanted) // 2 * 2

    def size(self, width: int, height: int, frames: int) -> tuple[int, int]:
        """(width, height) in pixels of each of the `frames` frames taken, multiples of SIDE."""
        most: float = min(
            FRAME_MAX_TOKENS * TOKEN_PIXELS, self.video_total_pixels / frames * FRAMES_A_TOKEN
        )
        least = self.video_min_pixels // TOKEN_PIXELS * TOKEN_PIXELS
        most = max(most, int(least * 1.05))
        across, down = (max(SIDE, round(side / SIDE) * SIDE) for side in (width, height))
        if across * down > most:
            scale = math.sqrt(width * height / most)
            across, down = (math.floor(side / scale / SIDE) * SIDE for side in (width, height))
        elif across * down < least:
            scale = math.sqrt(least / (width * height))
            across, down = (math.ceil(side * scale / SIDE) * SIDE for side in (width, height))
        return across, down

    def tokens(self, width: int, height: int, frames: int, rate: float) -> int:
        """Visual tokens of a video."""
        taken = self.frames(frames, rate)
        across, down = self.size(width, height, taken)
        return taken // FRAMES_A_TOKEN * across * down // TOKEN_PIXELS


def video_header(path: Path) -> tuple[int, int, int, float]:
    """(width, height, frames, frames a second) as the file's header has it; see `open_video`."""
    from tools.video.decode import open_video  # the arithmetic alone needs no decoder

    with open_video(path) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = (container.duration or 0) / 1_000_000
        return stream.width, stream.height, stream.frames or round(seconds * rate), rate
