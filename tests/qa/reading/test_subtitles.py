"""Subtitles: encodings, blocks, and the lines of a part of a video."""

import pytest

from qa.subtitles import overlapping, read_subtitles

FILE = """1
00:00:01,000 --> 00:00:02,500
(Ross:) Caf\u00e9?

2
01:00:04.25 --> 01:00:06,000
Two
lines

no times here

3
00:00:03,000 --> 00:00:03,500

"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_encodings(tmp_path, encoding):
    path = tmp_path / "a.srt"
    path.write_bytes(FILE.encode(encoding))
    expected = [[1.0, 2.5, "(Ross:) Caf\u00e9?"], [3604.25, 3606.0, "Two lines"]]
    assert read_subtitles(path) == expected
    path.write_bytes(FILE.replace("\n", "\r\n").encode(encoding))
    assert read_subtitles(path) == expected


def test_lines_without_a_blank_line_between_them(tmp_path):
    numbered = """1
00:00:01,000 --> 00:00:02,000
Room
101
2
00:00:03,000 --> 00:00:04,000
Two
3
00:00:05,000 --> 00:00:06,000
4
00:00:07,000 --> 00:00:08,000
Four"""
    (tmp_path / "a.srt").write_text(numbered)
    expected = [[1.0, 2.0, "Room 101"], [3.0, 4.0, "Two"], [7.0, 8.0, "Four"]]
    assert read_subtitles(tmp_path / "a.srt") == expected
    plain = "00:00:01,000 --> 00:00:02,000\nOne\n00:00:03,000 --> 00:00:04,000\nTwo at 2\n"
    (tmp_path / "a.srt").write_text(plain)
    assert read_subtitles(tmp_path / "a.srt") == [[1.0, 2.0, "One"], [3.0, 4.0, "Two at 2"]]


def test_an_empty_file(tmp_path):
    (tmp_path / "a.srt").touch()
    assert read_subtitles(tmp_path / "a.srt") == []


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        (0.0, 1.0, []),  # the first line begins as the part ends
        (0.0, 1.01, [1]),
        (1.5, 1.6, [1]),  # begins before and ends behind the part
        (2.0, 3.0, []),  # the first line has ended as the part begins, the second not begun
        (1.99, 3.01, [1, 2]),
        (None, None, [1, 2]),
    ],
)
def test_a_line_belongs_where_it_overlaps(start, end, numbers):
    lines = [[1.0, 2.0, 1], [3.0, 4.0, 2]]
    assert [line[2] for line in overlapping(lines, start, end)] == numbers
