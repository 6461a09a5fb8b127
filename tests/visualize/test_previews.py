"""Thumbnails and films for the browser: the right frames, of whatever the video is, made once."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tools.video.decode import VideoError
from tools.video.scan import scan_file
from visualize.parts.differences import marked
from visualize.parts.strip import slots
from visualize.previews import Outside, film, pictures, video_path

pytestmark = pytest.mark.usefixtures("cache")


def record(video: Path, name: str | None = None) -> dict[str, Any]:
    found = {"video_id": "v", "video_path": str(video)}
    return found | ({"video_name": name} if name else {})


def film_of(data: bytes) -> tuple[list[np.ndarray], Any, list[float]]:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        kind = stream.codec_context.name, stream.pix_fmt
        return [f.to_ndarray(format="rgb24") for f in frames], kind, [f.time for f in frames]


CODINGS = {
    "mp4": {},
    "mkv": {"pix_fmt": "yuv420p10le"},
    "ts": {"options": {"bf": "2"}},
    "webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4", "options": {"qscale": "2"}},
}


@pytest.mark.parametrize("extension", CODINGS)
def test_a_clip_becomes_h264_of_exactly_its_frames(
    dataset, tmp_path, make_video, read_stamp, extension
):
    """Counted from the start of the video and, once there is a scan, found by their times."""
    shots = [("beach", 30), ("forest", 30), ("night", 30)]
    video = make_video(tmp_path / f"v.{extension}", shots, (240, 160), 25, **CODINGS[extension])
    for start in (31, 32):
        frames, kind, times = film_of(film(dataset, record(video, video.name), start, start + 27))
        assert kind == ("h264", "yuv420p")
        assert [read_stamp(frame) for frame in frames] == list(range(start, start + 28))
        assert times == pytest.approx([k / 25 for k in range(28)], abs=0.002)
        scan_file(video, dataset.scan_path("v"))


def test_a_film_is_cut_once(dataset, tmp_path, make_video, cache):
    video = make_video(tmp_path / "v.mp4")
    one = record(video, "v.mp4")
    first = film(dataset, one, 12, 23)
    (path,) = cache.rglob("*.mp4")
    path.write_bytes(b"kept")
    assert film(dataset, one, 12, 23) == b"kept" != first
    make_video(tmp_path / "v.mp4", [("fire", 40)])
    assert film(dataset, one, 12, 23) != b"kept"


def test_large_and_fast_videos_are_made_small_and_odd_sizes_even(dataset, tmp_path, make_video):
    video = make_video(
        tmp_path / "v.mkv", [("snow", 6)], (1282, 722), 60, codec="ffv1", pix_fmt="yuv444p"
    )
    frames, _, times = film_of(film(dataset, record(video, "v.mkv"), 0, 5))
    height, width = frames[0].shape[:2]
    assert height * width <= 640 * 360
    assert height % 2 == width % 2 == 0
    assert times == pytest.approx([0, 2 / 60, 4 / 60], abs=0.002)


def test_a_film_has_square_pixels(dataset, tmp_path, make_video):
    video = make_video(tmp_path / "v.mp4", [("snow", 12)], (96, 108), pixel_aspect=Fraction(2))
    frames, *_ = film_of(film(dataset, record(video, "v.mp4"), 0, 5))
    assert frames[0].shape == (108, 192, 3)


def test_pictures_are_the_frames_asked_for(dataset, tmp_path, make_video, read_stamp, cache):
    video = make_video(tmp_path / "v.mkv", [("beach", 40)], (240, 160))
    images = pictures(dataset, record(video, "v.mkv"), [3, 17, 39, 3])
    stamps = {i: read_stamp(np.array(Image.open(io.BytesIO(p)))) for i, p in images.items()}
    assert stamps == {3: 3, 17: 17, 39: 39}
    for path in cache.rglob("17.jpg"):
        path.write_bytes(b"kept")
    assert pictures(dataset, record(video, "v.mkv"), [17]) == {17: b"kept"}


def test_videos_that_are_not_there_or_broken_are_said_in_one_line(dataset, tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        pictures(dataset, record(tmp_path / "gone.mp4", "gone.mp4"), [0])
    (tmp_path / "text.mp4").write_text("not a video")
    for ask in (
        lambda one: pictures(dataset, one, [0]),
        lambda one: film(dataset, one, 0, 5),
    ):
        with pytest.raises(VideoError, match="not a video"):
            ask(record(tmp_path / "text.mp4", "text.mp4"))


def test_no_frame_no_film(dataset, tmp_path, make_video):
    video = make_video(tmp_path / "v.mp4", [("beach", 10)])
    with pytest.raises(VideoError, match="no such frame: index 50"):
        film(dataset, record(video, "v.mp4"), 50, 60)


def test_only_the_data_folder_and_the_video_folders_are_looked_into(dataset, tmp_path, make_video):
    outside = make_video(tmp_path / "private" / "v.mp4", [("beach", 10)])
    inside = make_video(dataset.root.parent / "videos" / "v.mp4", [("beach", 10)])
    for one in (
        record(outside),
        record(outside, "another.mp4"),
        record(outside, "../private/v.mp4"),
        record(dataset.root.parent / "videos" / ".." / ".." / "private" / "v.mp4"),
        record(Path("/etc/passwd")),
    ):
        with pytest.raises(Outside, match="is in no video folder of mine"):
            pictures(dataset, one, [0])
    assert video_path(dataset, record(inside)) == inside
    assert video_path(dataset, record(outside, "v.mp4")) == outside
    dataset.remember_video_dir(tmp_path / "private")
    assert video_path(dataset, record(outside)) == outside


def test_words_that_differ_are_marked_and_everything_is_escaped():
    left, right = marked("a <b>red</b> car\nstops", "a car <script> stops now")
    assert left == "a <mark>&lt;b&gt;red&lt;/b&gt;</mark> car\nstops"
    assert right == "a car <mark>&lt;script&gt;</mark> stops <mark>now</mark>"


def test_texts_come_back_as_they_were():
    import html
    import re

    texts = ("  $x^2$ *is*\n\n# not  a title\t&amp; ", "`x` is <i>not</i> $x^2$  a  title")
    for before, after in zip(texts, marked(*texts), strict=True):
        assert html.unescape(re.sub("</?mark>", "", after)) == before


@pytest.mark.parametrize(
    ("order", "row"),
    [
        ([1, 3], [(0, True), (1, False), (2, True), (3, False)]),
        ([3, 2, 1, 0], [(3, False), (2, False), (1, False), (0, False)]),
        ([3, 1], [(3, False), (1, False), (0, True), (2, True)]),
        ([], [(0, True), (1, True), (2, True), (3, True)]),
        ([0, 0, 2, 3], [(0, False), (0, False), (2, False), (3, False), (1, True)]),
        ([7, 0], [(0, False), (1, True), (2, True), (3, True)]),
    ],
)
def test_the_perturbed_row_shows_what_was_told_and_what_was_not(order, row):
    assert slots(4, order) == row
