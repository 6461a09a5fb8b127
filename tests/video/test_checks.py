"""What vouches for the rows of a training asks the reader that the training uses."""

import os
from fractions import Fraction

import pytest

from tools.store.jsonl import Table
from tools.video import checks as video_checks
from tools.video.checks import check_videos


@pytest.fixture
def videos(make_video, tmp_path):
    """One that is whole, one of a single frame, one without data, one that is no video."""
    folder = tmp_path / "videos"
    whole = make_video(folder / "whole.mp4")
    make_video(folder / "short.mp4", [("beach", 1)])
    data = whole.read_bytes()
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    (folder / "zeros.mp4").write_bytes(data[:start] + bytes(end - start) + data[end:])
    (folder / "text.mp4").write_text("no video")
    return folder


def test_each_video_is_seen_or_has_its_fault(videos, tmp_path):
    checks = check_videos([str(path) for path in videos.iterdir()], tmp_path)
    whole = checks.pop(str(videos / "whole.mp4"))
    assert [whole[key] for key in ("width", "height", "frames", "rate")] == [96, 64, 72, 12]
    assert {os.path.basename(path): check["error"] for path, check in checks.items()} == {
        "short.mp4": "too short: 1 frame, training needs two",
        "zeros.mp4": "no frames: nothing in the video stream can be decoded",
        "text.mp4": "not a video: its header is missing, damaged or unknown",
    }


def test_a_file_that_is_gone_is_a_fault_and_is_not_remembered(tmp_path):
    path = str(tmp_path / "gone.mp4")
    for _ in range(2):
        checks = check_videos([path], tmp_path)
        assert checks[path]["error"] == "no such file: No such file or directory"
    assert not (tmp_path / "video_checks.jsonl").exists()


def test_a_file_is_read_once_until_it_or_the_reader_changes(videos, tmp_path, monkeypatch):
    path = videos / "whole.mp4"
    first = check_videos([str(path)], tmp_path)
    monkeypatch.setattr(video_checks, "Pool", None)  # nothing can be read now
    assert check_videos([str(path)], tmp_path) == first
    os.utime(path, (0, 0))
    with pytest.raises(TypeError):
        check_videos([str(path)], tmp_path)
    monkeypatch.undo()
    assert check_videos([str(path)], tmp_path)[str(path)]["mtime_ns"] == 0
    assert len(list(Table(tmp_path / "video_checks.jsonl").read())) == 1


def test_what_was_remembered_of_others_stays(videos, tmp_path):
    for name in ("whole.mp4", "text.mp4"):
        check_videos([str(videos / name)], tmp_path)
    assert len(list(Table(tmp_path / "video_checks.jsonl").read())) == 2


@pytest.mark.parametrize("reader", ["toolkit", "decord"])
def test_each_reader_is_asked_for_itself(reader, make_video, tmp_path):
    quick = {"preset": "12", "crf": "40"}
    video = str(make_video(tmp_path / "a.mp4", codec="libsvtav1", options=quick))
    check = check_videos([video], tmp_path, reader)[video]
    assert ("error" in check) == (reader == "decord")
    assert check["reader"].split()[0] == reader


def test_a_torn_memory_costs_a_second_look(videos, tmp_path):
    (tmp_path / "video_checks.jsonl").write_text("{\n{}\n")
    assert "width" in check_videos([str(videos / "whole.mp4")], tmp_path).popitem()[1]


def test_a_fault_of_the_moment_is_not_remembered(videos, tmp_path, monkeypatch):
    path = str(videos / "whole.mp4")
    monkeypatch.setattr(video_checks, "TIME_LIMIT", 0.0)
    monkeypatch.setattr(video_checks.ReadingStep, "time_limit", 0.0)
    assert check_videos([path], tmp_path)[path]["error"].startswith("timed out")
    monkeypatch.undo()
    assert "width" in check_videos([path], tmp_path)[path]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_no_hindrance(videos, tmp_path):
    (tmp_path / "rows").mkdir(mode=0o500)
    path = str(videos / "whole.mp4")
    assert "width" in check_videos([path], tmp_path / "rows")[path]


def test_an_aspect_that_no_camera_has_is_taken_for_a_mistake(make_video, tmp_path):
    video = str(make_video(tmp_path / "a.mp4", [("beach", 6)], pixel_aspect=Fraction(200)))
    assert check_videos([video], tmp_path)[video]["width"] == 96
