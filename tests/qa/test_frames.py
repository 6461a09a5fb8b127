"""Which frames a question is asked about, of real files whose frames carry their number."""

import numpy as np
import pytest
from PIL import Image

from qa.frames import chosen_indices, frames_of, subtitles_of
from qa.records import Question
from tools.video.decode import VideoError


def ask(**fields):
    return Question(**{"id": "q", "dataset": "mine", "split": "val", "question": "Why?", **fields})


def stamps(frames, read_stamp):
    return [read_stamp(frame) for frame in frames]


def test_frames_are_shown_at_the_middles_of_equal_parts(make_video, read_stamp, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 75)], rate=5)  # 15 s
    frames, fps = frames_of(ask(start=10.0, end=12.5), video, 5)
    # 10.25, 10.75, 11.25, 11.75 and 12.25 s
    assert stamps(frames, read_stamp) == [51, 53, 56, 58, 61]
    assert fps == 2.0
    frames, fps = frames_of(ask(), video, 3)
    assert stamps(frames, read_stamp) == [12, 37, 62]
    assert fps == pytest.approx(0.2)


def test_so_many_frames_a_second(make_video, read_stamp, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 75)], rate=5)
    frames, fps = frames_of(ask(start=10.0, end=12.0), video, 2, "per_second")
    # 10.25, 10.75, 11.25 and 11.75 s
    assert stamps(frames, read_stamp) == [51, 53, 56, 58]
    assert fps == 2.0
    frames, fps = frames_of(ask(), video, 1, "per_second")
    assert (len(frames), fps) == (15, 1.0)
    assert len(chosen_indices(np.arange(9000) / 5, 5.0, 0.0, 1800.0, 1, "per_second")) == 768


def test_a_variable_frame_rate_makes_no_difference(make_video, read_stamp, tmp_path):
    # The first 50 frames at 10 a second, then one each half a second, up to 15 s.
    pts = [*range(50), *range(50, 150, 5)]
    video = make_video(tmp_path / "v.mp4", [("beach", 70)], rate=10, pts=pts)
    frames, _ = frames_of(ask(start=10.0, end=12.5), video, 5)
    # At 10.25 s the frame of 10.0 s is shown, at 10.75 s that of 10.5 s ...
    assert stamps(frames, read_stamp) == [60, 61, 62, 63, 64]
    assert [pts[number] / 10 for number in stamps(frames, read_stamp)] == [10, 10.5, 11, 11.5, 12]


def test_the_end_is_cut_at_the_end_of_the_video(make_video, read_stamp, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 20)], rate=10)
    frames, fps = frames_of(ask(start=1.0, end=9.0), video, 2)
    assert stamps(frames, read_stamp) == [12, 17]
    assert fps == 2.0


def test_mvbench_takes_frames_by_number():
    times = np.arange(100) / 25
    by_rule = chosen_indices(times, 25.0, 0.0, 4.0, 8, "mvbench")
    assert by_rule == [6, 18, 31, 43, 56, 68, 80, 93]
    # From frame round(0.5 * 25) = 12 to round(2.1 * 25) = 52: parts of 10 frames.
    assert chosen_indices(times, 25.0, 0.5, 2.1, 4, "mvbench") == [17, 27, 37, 47]


def test_topa_never_takes_the_end():
    times = np.arange(25) / 1.0
    expected = [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]
    assert chosen_indices(times, 1.0, 0.0, 25.0, 10, "topa") == expected
    assert chosen_indices(times, 1.0, 5.0, 9.0, 4, "topa") == [5, 6, 7, 8]


def test_few_frames_are_shown_more_than_once(make_video, read_stamp, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 2)], rate=2)
    frames, _ = frames_of(ask(), video, 4)
    assert stamps(frames, read_stamp) == [0, 0, 1, 1]


def test_a_folder_of_numbered_pictures_is_a_video(tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in range(1, 13):  # 4 s at 3 pictures a second, numbered from 1
        Image.fromarray(np.full((24, 32, 3), 20 * number, np.uint8)).save(
            folder / f"{number:05d}.png"
        )
    (folder / "readme.txt").write_text("not a picture")
    question = ask(start=1.0, end=3.0, context={"media": "frames", "frames": {"fps": 3}})
    frames, fps = frames_of(question, folder, 2)
    # At 1.5 s and 2.5 s the pictures 5 (from 4/3 s) and 8 (from 7/3 s) are shown.
    assert [int(frame.mean()) for frame in frames] == [100, 160]
    assert fps == 1.0
    zero = ask(context={"media": "frames", "frames": {"fps": 3, "first": 1}}, start=0.0, end=0.3)
    assert int(frames_of(zero, folder, 1)[0][0].mean()) == 20


def test_a_picture_is_one_frame(tmp_path):
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(tmp_path / "p.png")
    frames, _ = frames_of(ask(context={"media": "image"}), tmp_path / "p.png", 8)
    assert [frame.shape for frame in frames] == [(24, 32, 3)]


def test_large_frames_are_held_smaller(make_video, tmp_path):
    video = make_video(tmp_path / "a.mp4", [("beach", 3)], size=(1280, 720), rate=3)
    frames, _ = frames_of(ask(), video, 1)
    assert frames[0].shape[0] * frames[0].shape[1] <= 2 * 28 * 28 * 512


def test_what_cannot_be_read_says_so(tmp_path):
    with pytest.raises(VideoError, match="no such file"):
        frames_of(ask(), tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="no pictures"):
        frames_of(ask(context={"media": "frames", "frames": {"fps": 3}}), tmp_path)


def test_subtitles_are_those_shown_in_the_part_that_is_asked_about():
    lines = [[0.0, 2.0, "one"], [2.0, 4.0, "two"], [3.5, 6.0, "three"], [6.0, 7.0, "four"]]
    context = {"media": "video", "subtitles": lines}
    assert subtitles_of(ask(context=context)) == ["one", "two", "three", "four"]
    assert subtitles_of(ask(context=context, start=2.0, end=6.0)) == ["two", "three"]
    assert subtitles_of(ask(context=context, start=1.9, end=2.1)) == ["one", "two"]
    assert subtitles_of(ask()) == []
