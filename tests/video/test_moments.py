"""Frames by their time, whatever the frame rate; an image is a video of one frame."""

from fractions import Fraction

import av
import numpy as np
import pytest

from tools.video.decode import VideoError
from tools.video.sampling import sample_moments


@pytest.fixture
def shown_at(read_stamp):
    """video, moments -> which frames are on the screen then, by the number in each."""

    def numbers(video, moments):
        sample = sample_moments(video, lambda length: moments)
        assert sample.indices == [read_stamp(picture) for picture in sample.pictures]
        return sample.indices

    return numbers


def test_frames_are_those_on_the_screen_at_the_moments(make_video, shown_at, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 24)], rate=12)
    assert shown_at(video, [0.0, 0.08, 0.1, 0.5, 1.0, 1.99]) == [0, 0, 1, 6, 12, 23]
    assert shown_at(video, [-1.0, 5.0]) == [0, 23]
    lengths = []
    sample_moments(video, lambda length: lengths.append(length) or [0.0])
    assert lengths == [pytest.approx(2.0)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_variable_frame_rate_is_read_by_its_stamps(name, make_video, shown_at, tmp_path):
    # Ten frames in the first second, then one a second.
    stamps = [*range(0, 1000, 100), 1000, 2000, 3000, 4000]
    video = make_video(tmp_path / name, [("beach", 14)], pts=stamps, time_base=Fraction(1, 1000))
    assert shown_at(video, [0.25, 0.5, 1.5, 2.5, 3.9]) == [2, 5, 10, 11, 12]


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_an_image_is_its_one_frame(name, picture, tmp_path):
    image = picture("fire", (48, 32), 0)
    codec = {"a.png": ("png", "rgb24"), "a.jpg": ("mjpeg", "yuvj444p")}[name]
    with av.open(str(tmp_path / name), "w", format="image2") as container:
        stream = container.add_stream(codec[0], rate=1)
        stream.width, stream.height, stream.pix_fmt = 48, 32, codec[1]
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    [shown] = sample_moments(tmp_path / name, lambda length: [0.0]).pictures
    assert np.abs(shown.astype(int) - image).mean() < (1 if name == "a.png" else 8)


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="not a video"):
        sample_moments(tmp_path / "a.mp4", lambda length: [0.0])
