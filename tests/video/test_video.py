"""Scans and exact frames, on real files of many kinds."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.video.damage import (
    joined,
    overwrite_packets,
    without_first_frames,
    write_display_matrix,
)
from tools.video.decode import Display, VideoError, luma_plane
from tools.video.frames import read_frames
from tools.video.scan import load_scan, scan_file

SIX = tuple((place, 12) for place in ("beach", "forest", "night", "fire", "snow", "party"))
QUICK_VP9 = {"deadline": "realtime", "cpu-used": "8"}


@pytest.fixture
def scan(tmp_path):
    """Scan a video into this test's own folder."""
    return lambda video: scan_file(video, tmp_path / "scan" / f"{video.name}.npz")


def one_after_the_other(video):
    """All frames of a file as PyAV's own loop gives them, (height, width, 3) uint8 RGB."""
    with av.open(f"file:{video}") as container:
        display = Display(container.streams.video[0])
        return [display.picture(frame) for frame in container.decode(video=0)]


def write_planes(path, planes, pix_fmt, color_range, colorspace=2, frames=3):
    """Write frames of exactly these samples, without loss; ranges and colour spaces in FFmpeg's
    numbers: range 1 limited, 2 full; space 1 BT.709, 2 unspecified, 6 BT.601."""
    with av.open(str(path), "w") as container:
        height = planes.shape[0] if pix_fmt == "gray" else planes.shape[0] * 2 // 3
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = planes.shape[1], height, pix_fmt
        stream.codec_context.color_range = color_range
        stream.codec_context.colorspace = colorspace
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(planes, format=pix_fmt)
            frame.pts, frame.color_range, frame.colorspace = index, color_range, colorspace
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def yuv420(y, u, v, dtype=np.uint8):
    """48 x 32 samples of yuv420p: y is one level or two, left and right."""
    left, right = (y, y) if isinstance(y, int) else y
    luma = np.full((32, 48), left, dtype)
    luma[:, 24:] = right
    chroma = [np.full((8, 48), level, dtype) for level in (u, v)]
    return np.concatenate([luma, *chroma])


def remux(source, target, change):
    """Copy a file's packets; `change(number, packet)` alters each, and drops it by False."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.dts is not None]
        for number, packet in enumerate(packets):
            if change(number, packet) is not False:
                packet.stream = stream
                write.mux(packet)
    return target


# What a scan holds


def test_a_scan_holds_six_arrays_and_the_rate(make_video, scan, tmp_path):
    found = scan(make_video(tmp_path / "a.mp4", SIX, options={"g": "12"}))
    assert len(found) == 72
    assert found.times == pytest.approx([index / 12 for index in range(72)])
    assert found.pts.tolist() == [1024 * index for index in range(72)]
    assert np.flatnonzero(found.key).tolist() == [0, 12, 24, 36, 48, 60]
    assert found.gray_min.dtype == found.gray_max.dtype == np.uint8
    assert found.sharpness.shape == (72,)
    assert (found.average_rate, found.end_time, found.seekable) == pytest.approx((12, 6, True))
    assert found.span_times(12, 23) == pytest.approx((1, 2))
    assert found.span_times(60, 71) == pytest.approx((5, 6))


def test_thumbnails_are_the_frames_area_averaged(make_video, scan, tmp_path, picture):
    images = [picture(place, (480, 270), 0) for place in ("beach", "night", "party")]
    found = scan(make_video(tmp_path / "a.mp4", size=(480, 270), frames=images))
    (chunk,) = found.thumbnails()
    assert chunk.shape == (3, 27, 48, 3)
    assert chunk.dtype == np.uint8
    for thumbnail, image in zip(chunk, images, strict=True):
        expected = cv2.resize(image, (48, 27), interpolation=cv2.INTER_AREA)
        assert np.abs(thumbnail.astype(int) - expected).mean() < 4


def test_thumbnails_come_in_chunks_and_singly(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 200), ("party", 330)], size=(64, 48))
    found = scan(video)
    chunks = list(found.thumbnails())
    assert [len(chunk) for chunk in chunks] == [256, 256, 18]
    together = np.concatenate(chunks)
    some = [529, 0, 255, 256, 511, 512, 255]
    assert np.array_equal(found.thumbnails_at(some), together[some])


@pytest.mark.parametrize(
    ("levels", "pix_fmt", "color_range", "expected"),
    [
        pytest.param((16, 235), "yuv420p", 1, (0, 255), id="limited, black and white"),
        pytest.param((60, 190), "yuv420p", 1, (51, 203), id="limited, grays"),
        pytest.param((60, 190), "yuv420p", 0, (51, 203), id="unspecified is limited"),
        pytest.param((4, 250), "yuv420p", 1, (0, 255), id="limited, beyond black and white"),
        pytest.param((60, 190), "yuv420p", 2, (60, 190), id="full"),
        pytest.param((240, 760), "yuv420p10le", 1, (51, 203), id="10 bit, limited"),
        pytest.param((240, 760), "yuv420p10le", 2, (60, 190), id="10 bit, full"),
    ],
)
def test_gray_levels_are_those_of_full_range(
    levels, pix_fmt, color_range, expected, scan, tmp_path
):
    ten = pix_fmt.endswith("10le")
    planes = yuv420(levels, *((512, 512) if ten else (128, 128)), np.uint16 if ten else np.uint8)
    found = scan(write_planes(tmp_path / "a.mkv", planes, pix_fmt, color_range))
    # Ten bits become eight by dithering: one level up or down.
    assert found.gray_min.tolist() == pytest.approx([expected[0]] * 3, abs=1 if ten else 0)
    assert found.gray_max.tolist() == pytest.approx([expected[1]] * 3, abs=1 if ten else 0)


def test_gray_levels_of_a_gray_video(scan, tmp_path):
    planes = np.full((32, 48), 200, np.uint8)
    planes[:, :5] = 7
    found = scan(write_planes(tmp_path / "a.mkv", planes, "gray", 0))
    assert (found.gray_min[1], found.gray_max[1]) == (7, 200)


@pytest.mark.parametrize(
    ("samples", "color_range", "colorspace", "expected"),
    [
        pytest.param((235, 128, 128), 1, 1, (255, 255, 255), id="limited white"),
        pytest.param((16, 128, 128), 1, 1, (0, 0, 0), id="limited black"),
        pytest.param((255, 128, 128), 2, 1, (255, 255, 255), id="full white"),
        pytest.param((63, 102, 240), 1, 1, (255, 0, 0), id="BT.709 red"),
        pytest.param((81, 90, 240), 1, 6, (255, 0, 0), id="BT.601 red"),
        pytest.param((173, 42, 26), 1, 1, (0, 255, 0), id="BT.709 green"),
    ],
)
def test_colours_follow_range_and_matrix(
    samples, color_range, colorspace, expected, scan, tmp_path
):
    video = write_planes(tmp_path / "a.mkv", yuv420(*samples), "yuv420p", color_range, colorspace)
    found = scan(video)
    assert read_frames(video, [1], found)[1][16, 24] == pytest.approx(expected, abs=3)
    assert found.thumbnails_at([1])[0, 13, 24] == pytest.approx(expected, abs=3)


def test_a_sharper_frame_scores_higher(scan, make_video, tmp_path, picture):
    sharp = cv2.resize(picture("fire", (160, 120), 0), (320, 240), interpolation=cv2.INTER_NEAREST)
    frames = [cv2.GaussianBlur(sharp, (0, 0), sigma) if sigma else sharp for sigma in range(4)]
    found = scan(make_video(tmp_path / "a.mp4", size=(320, 240), frames=frames))
    assert found.sharpness[0] > found.sharpness[1] > found.sharpness[2] > found.sharpness[3] > 0


# Times


def test_variable_frame_rate_gives_the_frames_own_times(make_video, scan, tmp_path):
    stamps = [0, 30, 90, 100, 400, 401, 1000]
    for name in ("a.mp4", "a.mkv"):
        video = make_video(tmp_path / name, [("beach", 7)], pts=stamps, time_base=Fraction(1, 1000))
        found = scan(video)
        assert found.times == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-3)
        assert found.average_rate == pytest.approx(6, rel=1e-3)


def test_a_last_frame_that_is_shown_for_long_is_not_a_missing_end(make_video, scan, tmp_path):
    def last_lasts_9_seconds(number, packet):
        if number == 71:
            packet.duration = packet.duration * 9 * 12

    video = remux(make_video(tmp_path / "a.mp4", SIX), tmp_path / "b.mp4", last_lasts_9_seconds)
    found = scan(video)
    assert found.times[71] == pytest.approx(71 / 12)
    assert found.end_time == pytest.approx(71 / 12 + 9)


def test_two_frames_of_one_time_keep_the_other_times(make_video, scan, tmp_path, read_stamp):
    def third_with_the_fourth(number, packet):
        if number == 2:
            packet.pts += packet.duration

    video = remux(make_video(tmp_path / "a.mp4", SIX), tmp_path / "b.mp4", third_with_the_fourth)
    found = scan(video)
    assert found.times[:6] * 12 == pytest.approx([0, 1, 3, 3, 4, 5])
    assert not found.seekable
    frames = read_frames(video, [2, 3, 40], found)
    assert [read_stamp(frames[index]) for index in (2, 3, 40)] == [2, 3, 40]


def test_time_stamps_in_disorder_are_replaced_by_the_rate(make_video, scan, tmp_path, read_stamp):
    stream = make_video(tmp_path / "a.ts", SIX).read_bytes()
    twice = tmp_path / "twice.ts"
    twice.write_bytes(stream + stream)
    found = scan(twice)
    assert found.times == pytest.approx([index / 12 for index in range(144)])
    assert read_stamp(read_frames(twice, [72 + 30], found)[72 + 30]) == 30


# The kept scan


def test_a_kept_scan_is_used_while_the_file_is_the_same(make_video, tmp_path):
    video, kept = make_video(tmp_path / "a.mp4", SIX), tmp_path / "a.npz"
    first = scan_file(video, kept)
    stat = video.stat()
    video.write_bytes(bytes(stat.st_size))
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = scan_file(video, kept)
    assert np.array_equal(again.sharpness, first.sharpness)
    assert np.array_equal(next(again.thumbnails()), next(first.thumbnails()))
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(VideoError, match=r"^not a video: "):
        scan_file(video, kept)


def test_a_changed_file_is_scanned_again(make_video, tmp_path):
    video, kept = make_video(tmp_path / "a.mp4", SIX), tmp_path / "a.npz"
    assert len(scan_file(video, kept)) == 72
    make_video(video, SIX[:2])
    assert len(scan_file(video, kept)) == 24


@pytest.mark.parametrize("kept_bytes", [0, 1, 1000, -1])
def test_half_a_scan_is_as_good_as_none(make_video, tmp_path, kept_bytes):
    """As a copy leaves it that broke off."""
    video, kept = make_video(tmp_path / "a.mp4", SIX), tmp_path / "a.npz"
    scan_file(video, kept)
    whole = kept.read_bytes()
    kept.write_bytes(whole[:kept_bytes])
    assert load_scan(kept) is None
    assert len(scan_file(video, kept)) == 72
    assert kept.read_bytes() == whole


def test_a_scan_is_the_same_bytes_every_time(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    scan_file(video, tmp_path / "1.npz")
    scan_file(video, tmp_path / "2.npz", threads=2)
    assert (tmp_path / "1.npz").read_bytes() == (tmp_path / "2.npz").read_bytes()


def test_a_failed_scan_leaves_nothing(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX, muxer={"movflags": "faststart"})
    os.truncate(video, video.stat().st_size // 2)
    with pytest.raises(VideoError, match=r"^truncated: \d\.\d s of 6\.0 s can be decoded$"):
        scan(video)
    assert list((tmp_path / "scan").iterdir()) == []


def test_a_full_disk_is_no_fault_of_the_video(make_video, run_script, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    scan_under_a_limit = f"""
import resource
from pathlib import Path
from tools.errors import StorageError
from tools.video.scan import scan_file
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    scan_file(Path({str(video)!r}), Path({str(tmp_path / "scan.npz")!r}))
except StorageError as error:
    print(error)
"""
    done = run_script("-c", scan_under_a_limit)
    assert done.stdout.startswith(f"cannot write {tmp_path / 'scan.npz'}: File too large")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read in /proc")
@pytest.mark.parametrize(
    ("width", "height", "few", "many"),
    [
        (64, 48, 500, 4000),  # 4,000 thumbnails are 16 MB, 4,000 frames 18 MB
        (640, 480, 10, 80),  # 80 frames are 37 MB
    ],
)
def test_memory_does_not_grow_with_the_video(
    width, height, few, many, make_video, run_script, tmp_path
):
    def noise(frames):
        cells = np.random.default_rng(0).integers(0, 256, (4, height, width, 3), dtype=np.uint8)
        return (cells[index % 4] for index in range(frames))

    def peak(frames):
        video = make_video(
            tmp_path / f"{frames}.mp4",
            size=(width, height),
            frames=noise(frames),
            options={"crf": "51", "g": "30"},
        )
        scan_and_say = f"""
from pathlib import Path
from tools.video.scan import scan_file
found = scan_file(Path({str(video)!r}), Path({str(video.with_suffix(".npz"))!r}))
assert len(found) == {frames}
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
        return int(run_script("-c", scan_and_say).stdout) / 1024

    assert peak(many) - peak(few) < 8


# Exact frames

BIG = {"size": (192, 128)}
B_FRAMES = {"preset": "fast", "bf": "3"}
UNEVEN = np.cumsum([0, *[1, 2, 5, 1, 1, 9] * 11, *[1] * 5]).tolist()
HOURS_26 = 26 * 3600 * 12


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param("a.mp4", {"options": {**B_FRAMES, "g": "12"}}, id="B-frames"),
        pytest.param("a.mp4", {"options": {**B_FRAMES, "g": "1000"}}, id="one long GOP"),
        pytest.param(
            "a.mp4", {"options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=10"}}, id="open GOP"
        ),
        pytest.param(
            "a.mp4", {"options": {"x264-params": "intra-refresh=1:keyint=12"}}, id="intra refresh"
        ),
        pytest.param("a.ts", {}, id="ts"),
        pytest.param(
            "a.ts", {"options": {**B_FRAMES, "x264-params": "open-gop=1:keyint=10"}}, id="ts, B"
        ),
        pytest.param("a.ts", {"codec": "mpeg2video", "rate": 25}, id="mpeg2 ts"),
        pytest.param("a.mkv", {"options": {**B_FRAMES, "g": "30"}}, id="mkv"),
        pytest.param("a.mov", {"options": {**B_FRAMES, "g": "30"}}, id="mov"),
        pytest.param("a.m4v", {}, id="m4v"),
        pytest.param("a.mp4", {"muxer": {"movflags": "frag_keyframe+empty_moov"}}, id="fragments"),
        pytest.param(
            "a.webm", {"codec": "libvpx-vp9", "options": {**QUICK_VP9, "g": "20"}}, id="vp9"
        ),
        pytest.param(
            "a.mp4",
            {
                "codec": "libx265",
                "options": {
                    "preset": "ultrafast",
                    "x265-params": "log-level=none:keyint=20:bframes=3:open-gop=1",
                },
            },
            id="hevc",
        ),
        pytest.param("a.avi", {"codec": "mpeg4", "options": {"g": "12", "q:v": "3"}}, id="avi"),
        pytest.param("a.avi", {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}, id="avi, B"),
        pytest.param("a.mp4", {"pts": UNEVEN, "time_base": Fraction(1, 90)}, id="VFR"),
        pytest.param(
            "a.mkv",
            {"pts": UNEVEN, "time_base": Fraction(1, 90), "options": B_FRAMES},
            id="VFR mkv, B",
        ),
        pytest.param("a.mp4", {"pix_fmt": "yuv420p10le"}, id="10 bit"),
        pytest.param("a.mp4", {"pix_fmt": "yuv444p"}, id="4:4:4"),
        pytest.param("a.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}, id="prores"),
        pytest.param("a.mkv", {"codec": "ffv1", "pix_fmt": "gray"}, id="gray"),
        pytest.param("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, id="mjpeg"),
        pytest.param("a.mov", {"codec": "png", "pix_fmt": "rgb24"}, id="RGB"),
        pytest.param("a.mp4", {"pix_fmt": "yuv444p", "size": (333, 187)}, id="odd sides, 4:4:4"),
        pytest.param(
            "a.mkv", {"codec": "ffv1", "size": (333, 187)}, id="odd sides, half a chroma sample"
        ),
        pytest.param("a.mkv", {"pts": range(600, 672)}, id="starts after 50 s"),
        pytest.param("a.ts", {"pts": range(HOURS_26, HOURS_26 + 72)}, id="starts after 26 h"),
    ],
)
def test_a_frame_by_index_is_the_frame_by_counting(
    name, how, make_video, scan, tmp_path, read_stamp
):
    video = make_video(tmp_path / name, SIX, **{**BIG, **how})
    expected = one_after_the_other(video)
    assert [read_stamp(frame) for frame in expected] == list(range(72))
    found = scan(video)
    assert len(found) == 72
    several = read_frames(video, [70, 3, 41, 40, 3, 12], found)
    assert sorted(several) == [3, 12, 40, 41, 70]
    singly = {index: read_frames(video, [index], found)[index] for index in (0, 11, 59, 71)}
    counted = read_frames(video, [29])
    for index, frame in {**several, **singly, **counted}.items():
        assert np.array_equal(frame, expected[index])


def test_a_frame_far_behind_is_found_without_decoding_what_is_before_it(
    make_video, scan, tmp_path, read_stamp
):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12"})
    found = scan(video)
    overwrite_packets(video, range(30))
    assert read_stamp(read_frames(video, [60], found)[60]) == 60
    with pytest.raises(VideoError):
        read_frames(video, [60])


@pytest.mark.parametrize("shift", [-1024, 512, 1024, 10**9])
def test_a_frame_that_its_thumbnail_does_not_prove_is_counted(
    shift, make_video, scan, tmp_path, read_stamp
):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12"})
    found = scan(video)
    wrong = replace(found, pts=found.pts + shift)
    frames = read_frames(video, [5, 37, 71], wrong)
    assert [read_stamp(frames[index]) for index in (5, 37, 71)] == [5, 37, 71]


def test_frames_before_the_first_time_stamp_of_an_edit_list_do_not_count(
    make_video, scan, tmp_path, read_stamp
):
    video = make_video(tmp_path / "a.mp4", SIX, pts=range(-30, 42), options={"g": "10"})
    found = scan(video)
    assert len(found) == 42
    assert found.times[0] == 0
    for frames in (read_frames(video, [0, 41], found), read_frames(video, [0, 41])):
        assert (read_stamp(frames[0]), read_stamp(frames[41])) == (30, 71)


def test_one_frame(make_video, scan, tmp_path, read_stamp):
    video = make_video(tmp_path / "a.mp4", [("beach", 1)])
    found = scan(video)
    assert (len(found), found.times.tolist()) == (1, [0])
    assert found.end_time == pytest.approx(1 / 12)
    assert read_stamp(read_frames(video, [0], found)[0]) == 0


def test_16_by_16(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX, size=(16, 16))
    found = scan(video)
    frames = read_frames(video, range(72), found)
    assert found.thumbnails_at([71]).shape == (1, 27, 48, 3)
    for index, expected in enumerate(one_after_the_other(video)):
        assert np.array_equal(frames[index], expected)


def test_the_last_column_and_row_of_odd_sides(make_video, scan, tmp_path, picture):
    image = picture("fire", (333, 187), 0)
    video = make_video(
        tmp_path / "a.mkv", size=(333, 187), codec="ffv1", pix_fmt="yuv444p", frames=[image] * 3
    )
    frame = read_frames(video, [1], scan(video))[1]
    assert frame.shape == (187, 333, 3)
    for edge in (np.s_[-1, :], np.s_[:, -1], np.s_[0, :], np.s_[:, 0]):
        assert np.abs(frame[edge].astype(int) - image[edge]).mean() < 3


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_frames_stand_upright(mirrored, quarters, make_video, scan, tmp_path, picture):
    image = picture("beach", (96, 64), 0)
    video = make_video(tmp_path / "a.mp4", size=(96, 64), frames=[image] * 12)
    write_display_matrix(video, mirrored, quarters, 96, 64)
    found = scan(video)
    expected = np.rot90(image[:, ::-1] if mirrored else image, -quarters).astype(int)
    frame = read_frames(video, [5], found)[5]
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).mean() < 3
    small = cv2.resize(expected.astype(np.uint8), (48, 27), interpolation=cv2.INTER_AREA)
    assert np.abs(found.thumbnails_at([5])[0].astype(int) - small).mean() < 3


@pytest.mark.parametrize(("aspect", "width"), [("2", 192), ("64/45", 137), ("8/9", 85)])
def test_frames_have_square_pixels(aspect, width, make_video, scan, tmp_path, picture):
    wide = picture("beach", (192, 64), 0)
    image = cv2.resize(wide, (96, 64), interpolation=cv2.INTER_AREA)
    video = make_video(
        tmp_path / "a.mp4", size=(96, 64), frames=[image] * 3, pixel_aspect=Fraction(aspect)
    )
    frame = read_frames(video, [1], scan(video))[1]
    assert frame.shape == (64, width, 3)
    expected = cv2.resize(wide, (width, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(frame - expected).mean() < 3
    smaller = read_frames(video, [1], max_pixels=32 * width // 2)[1]
    assert smaller.shape == (32, width // 2, 3)


def test_a_recording_that_begins_within_a_group_of_pictures_has_not_lost_its_end(
    make_video, scan, tmp_path, read_stamp
):
    whole = make_video(tmp_path / "whole.ts", SIX, options={"g": "24", "bf": "0"})
    late = without_first_frames(whole, tmp_path / "late.ts", 6)
    found = scan(late)
    assert len(found) == 48
    assert found.end_time == pytest.approx(4)
    assert read_stamp(read_frames(late, [0], found)[0]) == 24


@pytest.mark.parametrize("second_clock", [0, 600], ids=["back", "ahead"])
def test_a_clock_that_jumps_is_stitched(second_clock, make_video, scan, tmp_path, read_stamp):
    pts = [12 * 100 + frame for frame in range(36)]
    first = make_video(tmp_path / "1.ts", SIX[:3], pts=pts)
    pts = [12 * second_clock + frame for frame in range(36)]
    second = make_video(tmp_path / "2.ts", SIX[3:], pts=pts)
    both = joined(first, second, tmp_path / "both.ts")
    found = scan(both)
    assert found.clock_jumps == 1
    assert found.times == pytest.approx(np.arange(72) / 12, abs=0.01)
    assert found.average_rate == pytest.approx(12, abs=0.01)
    frames = read_frames(both, [35, 36, 71], found)
    assert [read_stamp(frames[index]) for index in (35, 36, 71)] == [35, 0, 35]


def test_the_picture_may_change_its_size_midway(make_video, scan, tmp_path, read_stamp):
    first = make_video(tmp_path / "1.ts", SIX[:3], size=(192, 128))
    second = make_video(tmp_path / "2.ts", SIX[3:], size=(128, 96), pts=range(36, 72))
    both = joined(first, second, tmp_path / "both.ts")
    found = scan(both)
    frames = read_frames(both, [35, 36, 71], found)
    assert [frames[index].shape for index in (35, 36, 71)] == [
        (128, 192, 3),
        (96, 128, 3),
        (96, 128, 3),
    ]
    assert [read_stamp(frames[index]) for index in (35, 36, 71)] == [35, 0, 35]


def test_there_is_no_frame_behind_the_last(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    for found in (scan(video), None):
        with pytest.raises(VideoError, match=r"^no such frame: index 72$"):
            read_frames(video, [3, 72], found)


def test_the_luma_plane_leaves_out_the_padding_of_its_rows():
    pixels = np.random.default_rng(0).integers(0, 256, (33, 50), dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(pixels, format="gray")
    assert frame.planes[0].line_size > 50
    assert np.array_equal(luma_plane(frame), pixels)


def test_a_single_broken_packet_costs_its_frame_alone(make_video, scan, tmp_path, read_stamp):
    video = make_video(tmp_path / "a.mp4", SIX, options={"g": "12"})
    overwrite_packets(video, [20])
    found = scan(video)
    assert len(found) == 71
    assert found.damaged == 1
    assert found.times[18:23] * 12 == pytest.approx([18, 19, 21, 22, 23])
    assert read_stamp(read_frames(video, [23], found)[23]) == 24


def test_frames_that_are_decoded_with_errors_are_counted(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX, size=(320, 240), options={"g": "12"})
    with av.open(str(video)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][24]
    data = bytearray(video.read_bytes())
    half = packet.size // 2
    data[packet.pos + half : packet.pos + packet.size] = bytes(packet.size - half)
    video.write_bytes(data)
    found = scan(video)
    assert len(found) == 72
    assert found.damaged == 1


def test_a_scan_from_before_damage_was_counted_is_made_again_where_that_counts(
    make_video, tmp_path
):
    video, kept = make_video(tmp_path / "a.mp4", SIX, options={"g": "12"}), tmp_path / "a.npz"
    overwrite_packets(video, [20])
    scan_file(video, kept)
    now = kept.read_bytes()
    with np.load(kept) as archive:
        np.savez(kept, **{**archive, "one": archive["one"][:4]})
    before = kept.stat().st_ino
    assert scan_file(video, kept).damaged is None
    assert kept.stat().st_ino == before
    assert scan_file(video, kept, counts_damage=True).damaged == 1
    assert kept.read_bytes() == now


def test_a_stream_that_is_broken_for_the_most_part_is_no_video(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    overwrite_packets(video, range(20, 40))
    with pytest.raises(VideoError, match=r"^broken: 20 of 73 packets cannot be decoded$"):
        scan(video)


def test_an_unknown_codec(make_video, scan, tmp_path):
    video = make_video(tmp_path / "a.mp4", SIX)
    video.write_bytes(video.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(VideoError, match=r"^no decoder: the codec is unknown$"):
        scan(video)


def test_a_pipe_is_not_waited_for(scan, tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match=r"^not a file: "):
        scan(tmp_path / "a.mp4")
