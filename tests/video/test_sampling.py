"""Frames spread over a video, for training: decord's, and those of files that it cannot read."""

from fractions import Fraction

import decord
import numpy as np
import pytest

from tests.video.damage import CODECS, joined, overwrite_packets, without_first_frames
from tools.video.decode import VideoError
from tools.video.sampling import sample_frames, squares_at_rate

SIX = tuple((place, 12) for place in ("beach", "forest", "night", "fire", "snow", "party"))


def every(step):
    """Choose each `step`th frame."""
    return lambda total, rate: range(0, total, step)


@pytest.fixture(scope="module")
def files(make_video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    return {name: make_video(folder / name, SIX, **how) for name, how in CODECS.items()}


@pytest.mark.parametrize("name", CODECS)
def test_frames_are_the_ones_chosen_in_every_codec(name, files, read_stamp):
    sample = sample_frames(files[name], every(7))
    assert (sample.total, sample.rate) == (72, pytest.approx(12))
    assert sample.indices == list(range(0, 72, 7))
    assert [read_stamp(picture) for picture in sample.pictures] == sample.indices


@pytest.mark.parametrize("name", ["h264.mp4", "bframes.mkv"])
def test_pixels_are_decords(name, files):
    sample = sample_frames(files[name], every(5))
    reader = decord.VideoReader(str(files[name]))
    assert len(reader) == sample.total
    assert reader.get_avg_fps() == pytest.approx(sample.rate)
    assert np.array_equal(sample.pictures, reader.get_batch(sample.indices).asnumpy())


def test_a_choice_is_made_knowing_the_number_of_frames_and_their_rate(files):
    seen = []
    sample_frames(files["h264.mp4"], lambda total, rate: seen.append((total, rate)) or [0])
    assert seen == [(72, 12)]


def test_a_frame_may_be_wanted_twice(files, read_stamp):
    sample = sample_frames(files["h264.ts"], lambda total, rate: [3, 3, 50, 50])
    assert [read_stamp(picture) for picture in sample.pictures] == [3, 3, 50, 50]


@pytest.fixture
def decoded(monkeypatch):
    """Stamps of the frames that are decoded."""
    import tools.video.sampling

    stamps = []

    def counting(*where):
        for frame in original(*where):
            stamps.append(frame.pts)
            yield frame

    original = tools.video.sampling.decode
    monkeypatch.setattr(tools.video.sampling, "decode", counting)
    return stamps


def test_only_what_leads_up_to_the_wanted_frames_is_decoded(make_video, tmp_path, decoded):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12", "bf": "0"})
    sample_frames(video, lambda total, rate: [2, 50])
    assert len(decoded) <= 8


def test_frames_that_no_frame_refers_to_are_decoded_only_where_they_are_wanted(files, decoded):
    video = files["bframes.mkv"]
    whole = sample_frames(video, every(1)).pictures
    assert len(decoded) == 72
    for index in range(72):
        sample = sample_frames(video, lambda total, rate, index=index: [index])
        assert np.array_equal(sample.pictures[0], whole[index])
    decoded.clear()
    sample_frames(video, lambda total, rate: [0, 11])  # a key frame, and the eleventh after it
    assert len(decoded) < 12


def test_of_an_interlaced_file_all_frames_are_decoded(make_video, tmp_path, decoded):
    options = {"bf": "3", "preset": "veryfast", "flags": "+ilme+ildct", "x264-params": "tff=1"}
    video = make_video(tmp_path / "a.mkv", SIX[:1], options=options)
    sample_frames(video, lambda total, rate: [0, 11])
    assert len(decoded) == 12


def test_a_damaged_frame_is_replaced_by_the_next(make_video, tmp_path, read_stamp):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12", "bf": "0"})
    overwrite_packets(video, [20])
    sample = sample_frames(video, lambda total, rate: [19, 20, 21, 24])
    assert sample.total == 72
    assert np.array_equal(sample.pictures[1], sample.pictures[2])
    assert [read_stamp(sample.pictures[place]) for place in (0, 3)] == [19, 24]


def test_frames_around_a_damaged_one_are_as_they_are(make_video, tmp_path):
    options = {"bf": "3", "preset": "veryfast"}
    video = make_video(tmp_path / "a.mp4", SIX, options=options)
    whole = sample_frames(video, every(1)).pictures
    overwrite_packets(video, [30])
    damaged = sample_frames(video, every(1)).pictures
    [place] = [index for index in range(72) if not np.array_equal(damaged[index], whole[index])]
    for index in (place - 1, place + 1):
        sample = sample_frames(video, lambda total, rate, index=index: [index])
        assert np.array_equal(sample.pictures[0], whole[index])


def test_a_recording_begins_with_the_first_frame_that_can_be_decoded(
    make_video, tmp_path, read_stamp
):
    whole = make_video(tmp_path / "whole.ts", SIX, options={"g": "24", "bf": "0"})
    late = without_first_frames(whole, tmp_path / "late.ts", 6)
    sample = sample_frames(late, every(12))
    assert sample.total == 48
    assert [read_stamp(picture) for picture in sample.pictures] == [24, 36, 48, 60]


@pytest.mark.parametrize("second_clock", [0, 600], ids=["back", "ahead"])
def test_frames_behind_a_jump_of_the_clock_are_counted(
    second_clock, make_video, tmp_path, read_stamp
):
    parts = [
        make_video(tmp_path / f"{clock}.ts", SIX[:3], pts=[12 * clock + n for n in range(36)])
        for clock in (100, second_clock)
    ]
    both = joined(*parts, tmp_path / "both.ts")
    sample = sample_frames(both, every(9))
    assert (sample.total, sample.rate) == (72, pytest.approx(12))
    assert [read_stamp(picture) for picture in sample.pictures] == [0, 9, 18, 27] * 2


def test_a_stream_that_changes_its_size_keeps_the_first(make_video, tmp_path):
    first = make_video(tmp_path / "1.ts", SIX[:3], size=(192, 128))
    second = make_video(tmp_path / "2.ts", SIX[3:], size=(96, 64), pts=range(36, 72))
    both = joined(first, second, tmp_path / "both.ts")
    assert sample_frames(both, every(18)).pictures.shape == (4, 128, 192, 3)


def test_a_file_that_ends_early_is_refused(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX, muxer={"movflags": "faststart"})
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"^truncated: \d\.\d s of 6\.0 s are in the file$"):
        sample_frames(video, every(9))


def test_a_file_without_data_is_refused(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    data = video.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    video.write_bytes(data[:start] + bytes(end - start) + data[end:])
    with pytest.raises(VideoError, match=r"^no frames: nothing in the video stream"):
        sample_frames(video, every(9))


def test_a_clock_that_goes_back_a_little_does_not_mix_the_parts(make_video, tmp_path, read_stamp):
    clock = {"time_base": Fraction(1, 90000), "options": {"bf": "0"}}
    parts = []
    for late in (0, 1170):
        pts = [7500 * number + late for number in range(36)]
        parts.append(make_video(tmp_path / f"{late}.ts", SIX[:3], pts=pts, **clock))
    sample = sample_frames(joined(*parts, tmp_path / "both.ts"), every(9))
    assert (sample.total, sample.rate) == (72, pytest.approx(12))
    assert [read_stamp(picture) for picture in sample.pictures] == [0, 9, 18, 27] * 2


def test_a_file_whose_second_half_cannot_be_decoded_is_refused(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12", "bf": "0"})
    overwrite_packets(video, range(36, 72))
    with pytest.raises(
        VideoError, match=r"^truncated: nothing can be decoded from frame 36 on, of 72$"
    ):
        sample_frames(video, every(9))


def at_rate(video, fps, read_stamp):
    """The times and the stamped numbers of the squares."""
    squares = list(squares_at_rate(video, fps, 96))
    assert all(picture.shape == (96, 96, 3) for _, picture in squares)
    return [(round(time, 3), read_stamp(picture)) for time, picture in squares]


@pytest.mark.parametrize("name", CODECS)
def test_two_pictures_a_second_in_every_codec(name, files, read_stamp):
    expected = [(number / 12, number) for number in range(0, 72, 6)]
    squares = at_rate(files[name], 2, read_stamp)
    assert [number for _, number in squares] == [number for _, number in expected]
    assert [time for time, _ in squares] == pytest.approx([t for t, _ in expected], abs=0.002)


def test_a_variable_frame_rate_is_sampled_by_time(make_video, tmp_path, read_stamp):
    # Ten frames in the first second, one that stays for two seconds, then one every 0.4 s.
    pts = [*range(0, 1000, 100), 1000, 3000, 3400, 3800, 4200]
    clock = {"time_base": Fraction(1, 1000), "pts": pts, "frames": None}
    video = make_video(tmp_path / "vfr.mp4", [("beach", 15)], **clock)
    assert at_rate(video, 2, read_stamp) == [
        *((0.0, 0), (0.5, 5), (1.0, 10), (1.0, 10), (1.0, 10), (1.0, 10), (3.0, 11)),
        *((3.4, 12), (3.8, 13)),
    ]


def test_a_rate_above_the_videos_own_repeats_frames(make_video, tmp_path, read_stamp):
    video = make_video(tmp_path / "a.mp4", [("beach", 3)], rate=1)
    assert at_rate(video, 2, read_stamp) == [(0, 0), (0, 0), (1, 1), (1, 1), (2, 2)]


def test_a_video_of_one_frame_gives_one_square(make_video, tmp_path, read_stamp):
    assert at_rate(make_video(tmp_path / "a.mp4", [("beach", 1)]), 2, read_stamp) == [(0, 0)]


def test_squares_of_a_file_without_data_are_refused(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    data = video.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    video.write_bytes(data[:start] + bytes(end - start) + data[end:])
    with pytest.raises(VideoError, match=r"^no frames: nothing in the video stream"):
        list(squares_at_rate(video, 2, 96))
