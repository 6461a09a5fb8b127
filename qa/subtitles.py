"""Subtitles in SubRip files: lines with their times, and those of a part of a video."""

import re
from pathlib import Path

from qa.readers.rows import read_bytes

Line = list[float | str]
"""[start in seconds, end in seconds, text]"""

CLOCK = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
TIMES = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}")
BLANK_LINES = re.compile(r"\n\s*\n")


def read_subtitles(path: Path) -> list[Line]:
    """The lines of a SubRip file, in order of time; a block without times is no line.

    The file is UTF-8, or ISO-8859-1 where it is not. Speakers stay as they are, such as (Name:).
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("iso-8859-1")
    lines: list[Line] = []
    for block in BLANK_LINES.split(text.replace("\r\n", "\n")):
        # The number above the times, where there is one, counts nothing.
        head, _, words = block.strip().partition("\n")
        if not TIMES.match(head):
            head, _, words = words.partition("\n")
        times = TIMES.match(head)
        if times and (spoken := " ".join(words.split())):
            clock = times.groups()
            lines.append([_seconds(clock[:4]), _seconds(clock[4:]), spoken])
    return sorted(lines, key=lambda line: line[:2])


def _seconds(clock: tuple[str, ...]) -> float:
    hours, minutes, seconds, part = clock
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(part.ljust(3, "0")) / 1000


def overlapping(lines: list[Line], start: float | None, end: float | None) -> list[Line]:
    """The lines that are shown at some time of [start, end), in seconds; all of a whole video."""
    if start is None or end is None:
        return lines
    return [line for line in lines if float(line[0]) < end and float(line[1]) > start]
