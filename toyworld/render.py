"""Frames of a planned toy video, and their encoding: camera, shapes, transitions, sensor noise."""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from pathlib import Path

import av
import cv2
import numpy as np

from toyworld.language import Event
from toyworld.places import fractal, paint
from toyworld.plan import Distractor, Plan, Shot, Transition
from toyworld.sprites import Sprite, draw_sprite, paste, similarity

BLANK_LEVELS = (4, 28, 60, 232)  # gray levels of blank shots, dark more often than bright
CANVAS = (1.3, 2.0)  # height and width of a place in views: room for drift and pans
SPRITE = 1.3  # drawn size of a shape in radii, for it may grow
CLOSE_UP = 1.45  # magnification of a shot filmed from nearer
CLOSE_UP_ASIDE = 0.16  # how far such a camera stands aside, in view widths
PAN = 0.65  # way of a fast pan, in view widths
NOISE_TILES = 3
NOISE_ROOM = 32  # pixels by which a noise tile is larger than a frame
# Without mbtree: it reads memory that nothing has written (seen in the x264 of PyAV 18.1 with
# MALLOC_PERTURB_), so that two runs give two files.
X264 = {"preset": "veryfast", "crf": "24", "x264-params": "threads=1:mbtree=0"}
KEY_INTERVAL = 60  # frames between key frames at most, so that seeking stays cheap


def ease(t: float) -> float:
    """Return a movement's progress in [0, 1]: it starts and stops smoothly."""
    t = min(max(t, 0.0), 1.0)
    return t * t * (3 - 2 * t)


class Take:
    """One shot ready to be filmed: `frame(f)` returns its picture at frame `f` of the video."""

    def __init__(self, plan: Plan, shot: Shot, canvas: np.ndarray, rng: np.random.Generator):
        self.plan, self.shot, self.canvas = plan, shot, canvas
        self.size = np.array([plan.width, plan.height], np.float64)
        middle = np.array(canvas.shape[1::-1]) / 2
        self.zoom = rng.uniform(1.0, 1.05) * (CLOSE_UP if shot.close else 1.0)
        if shot.close:
            aside = rng.choice([-CLOSE_UP_ASIDE, CLOSE_UP_ASIDE])
        else:
            aside = plan.wander * rng.uniform(-0.02, 0.02)
        self.home = middle + self.size * (aside, plan.wander * rng.uniform(-0.02, 0.02))
        self.drift = plan.wander * self.size * rng.uniform(-0.05, 0.05, 2)
        self.creep = plan.wander * rng.uniform(-0.05, 0.05)  # change of zoom over the shot
        self.shake = rng.uniform(0.002, 0.007) * plan.height
        self.beats = rng.uniform(0.4, 2.2, (2, 3))  # hertz
        self.phases = rng.uniform(0, 2 * np.pi, (2, 3))
        self.pan_side = rng.choice([-1.0, 1.0])
        self.turn_side = rng.choice([-1.0, 1.0])
        self.off_axis = plan.wander * rng.uniform(-0.13, 0.13)
        self.begin, self.end = plan.seconds(shot.start), plan.seconds(shot.end + 1)
        self.radius = plan.radius * min(plan.width, plan.height)
        if shot.event:
            self.sprite = draw_sprite(shot.event.shape, shot.event.colour, SPRITE * self.radius)
            shadow = np.zeros_like(self.sprite.rgba)
            alpha = cv2.GaussianBlur(self.sprite.rgba[..., 3], (0, 0), self.radius * 0.12)
            shadow[..., 3] = 0.4 * alpha
            self.shadow = Sprite(shadow)
        if self.disturbed("passer_by"):
            cloth = fractal(rng, plan.height, plan.width, plan.height / 3)[..., None]
            tint = np.array([34, 30, 32]) + rng.uniform(-12, 12, 3)
            self.cloth = np.clip(tint + 9 * cloth, 0, 255).astype(np.float32)

    def frame(self, f: int) -> np.ndarray:
        """Return the picture, uint8 RGB (height, width, 3); `f` may lie beyond the shot's ends."""
        seconds = self.plan.seconds(min(max(f, 0), self.plan.frames))
        u = (seconds - self.begin) / (self.end - self.begin) - 0.5
        sway = np.sin(2 * np.pi * self.beats * seconds + self.phases) @ (1.0, 0.5, 0.3)
        offset = self.drift * u + self.shake * sway
        pan = self.disturbed("pan")
        way, speed = self.pan_way(f, pan) if pan else (0.0, 0.0)
        offset[0] += way
        zoom = self.zoom * (1 + self.creep * u)
        tilt = 0.4 * self.shake / self.plan.height * sway[0]
        view = similarity(zoom, tilt, tuple(self.home + offset), tuple(self.size / 2))
        size = self.plan.width, self.plan.height
        picture = cv2.warpAffine(self.canvas, view, size, borderMode=cv2.BORDER_REFLECT_101)
        if self.shot.event:
            self.show(picture, self.shot.event, seconds, offset, zoom)
        if speed > 2:
            picture = cv2.blur(picture, (round(speed) | 1, 1))
        if passing := self.disturbed("passer_by"):
            self.pass_by(picture, f, passing)
        light = self.disturbed("flash", "exposure")
        if light and light.start <= f <= light.end:
            picture = light_up(picture, light, f)
        return picture

    def disturbed(self, *types: str) -> Distractor | None:
        """Return the shot's distractor, if it is of one of these types."""
        distractor = self.shot.distractor
        return distractor if distractor and distractor.type in types else None

    def pan_way(self, f: int, pan: Distractor) -> tuple[float, float]:
        """Return how far the camera points aside, and how fast it turns, in pixels a frame."""
        early = pan.start - self.shot.start < self.shot.end - pan.end
        length = pan.end - pan.start + 1

        def way(frame: float) -> float:
            progress = ease((frame - pan.start + 1) / (length + 1))
            return self.pan_side * PAN * self.plan.width * (1 - progress if early else progress)

        return way(f), abs(way(f + 0.5) - way(f - 0.5))

    def show(
        self, picture: np.ndarray, event: Event, seconds: float, offset: np.ndarray, zoom: float
    ) -> None:
        """Draw the event's shape and its shadow."""
        start, end = map(self.plan.seconds, self.shot.movement)
        progress = ease((seconds - start) / (end - start))
        along = 0.25 - 0.5 * progress
        x, y, scale, turn = self.off_axis, 0.05, 1.0, 0.0
        if event.action in ("moves left", "moves right"):
            x, y = (along if event.action == "moves left" else -along), self.off_axis
        elif event.action in ("moves up", "moves down"):
            y = along if event.action == "moves up" else -along
        elif event.action == "grows":
            scale = 0.5 + 1.2 * progress
        else:
            turn = self.turn_side * 1.5 * np.pi * progress
        centre = self.size * (0.5 + x, 0.5 + y) - zoom * offset
        scale *= zoom / self.zoom / SPRITE
        lift = 0.16 * self.radius * scale
        paste(picture, self.shadow, centre[0] + lift, centre[1] + 1.6 * lift, scale, turn)
        paste(picture, self.sprite, centre[0], centre[1], scale, turn)

    def pass_by(self, picture: np.ndarray, f: int, passing: Distractor) -> None:
        """Let somebody walk past, so near that the frame is full for a moment."""
        t = (f - passing.start + 0.5) / (passing.end - passing.start + 1)
        if not 0 < t < 1:
            return
        width = self.plan.width
        x = np.arange(width) if self.pan_side > 0 else np.arange(width)[::-1]
        soft = 0.12 * width
        front, back = width * (2.7 * t - 0.1), width * (2.7 * t - 1.6)
        alpha = np.clip((front - x) / soft, 0, 1) * np.clip((x - back) / soft, 0, 1)
        alpha = alpha.astype(np.float32)[None, :, None]
        picture[:] = picture * (1 - alpha) + self.cloth * alpha


def light_up(picture: np.ndarray, light: Distractor, f: int) -> np.ndarray:
    """Return a picture lit by a flash, which decays, or overexposed."""
    if light.type == "flash":
        white = 0.9 * 0.5 ** (f - light.start)
        return cv2.addWeighted(picture, 1 - white, np.full_like(picture, 255), white, 0)
    return cv2.convertScaleAbs(picture, alpha=2.4, beta=30)


def alike(canvas: np.ndarray, model: np.ndarray) -> np.ndarray:
    """Return `canvas` with the mean and spread of each colour channel of `model`."""
    mean, spread = cv2.meanStdDev(canvas)
    model_mean, model_spread = cv2.meanStdDev(model)
    gain = model_spread / spread
    moved = (canvas - mean.ravel()) * gain.ravel() + model_mean.ravel()
    return np.clip(moved, 0, 255).astype(np.uint8)


def fade_level(fade: Transition, k: int) -> float:
    """Return the brightness in [0, 1] of a fade's frame `k`: down to black, and up again."""
    ramp = (fade.mixed - fade.black) / 2
    from_middle = abs(k - (fade.mixed - 1) / 2)
    return max(0.0, (from_middle - (fade.black - 1) / 2) / (ramp + 1))


class Film:
    """A plan's pictures, frame by frame."""

    def __init__(self, plan: Plan):
        self.plan = plan
        rng = np.random.default_rng([*plan.seed, 1])
        height, width = round(plan.height * CANVAS[0]), round(plan.width * CANVAS[1])
        canvases: list[np.ndarray] = []
        for i, place in enumerate(plan.places):
            canvas = paint([*plan.seed, 2, i], place.scenery, place.hue, height, width)
            canvases.append(canvas if place.like is None else alike(canvas, canvases[place.like]))
        self.takes: list[Take | np.ndarray] = []
        for shot in plan.shots:
            if shot.blank:
                level = int(rng.choice(BLANK_LEVELS))
                self.takes.append(np.full((plan.height, plan.width, 3), level, np.uint8))
            else:
                self.takes.append(Take(plan, shot, canvases[shot.place], rng))
        self.noise = []
        grain = rng.uniform(3.0, 6.0)
        for _ in range(NOISE_TILES):
            size = (plan.height + NOISE_ROOM, plan.width + NOISE_ROOM, 3)
            tile = grain * rng.standard_normal(size, dtype=np.float32)
            self.noise.append([np.clip(part, 0, 255).astype(np.uint8) for part in (tile, -tile)])
        self.rng = rng

    def grainy(self, picture: np.ndarray) -> np.ndarray:
        """Return a picture with the noise of a sensor, different in each frame."""
        tile, y, x = self.rng.integers(0, (NOISE_TILES, NOISE_ROOM, NOISE_ROOM))
        window = np.s_[y : y + self.plan.height, x : x + self.plan.width]
        more, less = self.noise[tile]
        return cv2.subtract(cv2.add(picture, more[window]), less[window])

    def picture(self, number: int, f: int) -> np.ndarray:
        """Return frame `f` as shot `number` shows it, without noise."""
        take = self.takes[number]
        return take if isinstance(take, np.ndarray) else take.frame(f)

    def frames(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield each picture, uint8 RGB (height, width, 3), and whether a blank shot starts."""
        changes = zip_longest(self.plan.shots, self.plan.transitions)
        for number, (shot, change) in enumerate(changes):
            for f in range(shot.start, shot.end + 1):
                picture = self.picture(number, f)
                yield (picture, f == shot.start) if shot.blank else (self.grainy(picture), False)
            for k in range(change.mixed if change else 0):
                f = change.start + k
                t = (k + 1) / (change.mixed + 1)
                if change.type == "dissolve":
                    old, new = self.picture(number, f), self.picture(number + 1, f)
                    yield self.grainy(cv2.addWeighted(old, 1 - t, new, t, 0)), False
                else:
                    side = number if t < 0.5 else number + 1
                    picture = self.grainy(self.picture(side, f))
                    yield cv2.convertScaleAbs(picture, alpha=fade_level(change, k)), False


def film(plan: Plan, path: Path) -> None:
    """Write a planned video as H.264 in MP4; the same plan gives the same bytes on one machine."""
    cv2.setNumThreads(1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=plan.rate, options=X264)
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        stream.thread_count = 1
        stream.gop_size = KEY_INTERVAL
        stream.time_base = stream.codec_context.time_base = plan.time_base
        spans = pairwise(map(plan.tick, range(plan.frames + 1)))
        for (tick, after), (picture, clean) in zip(spans, Film(plan).frames(), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = tick, plan.time_base
            frame.duration = after - tick
            if clean:  # a blank shot must not inherit a trace of the picture before it
                frame.pict_type = av.video.frame.PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
