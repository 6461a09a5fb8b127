"""Subtitles in SubRip files: lines with their times, and those of a part of a video."""

import re
from pathlib import Path

from qa.readers.rows import read_bytes

Line = list[float | str]
"""[start in seconds, end in seconds, text]"""

CLOCK = r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})"
TIMES = re.compile(rf"\s*{CLOCK}\s*-->\s*{CLOCK}")


def read_subtitles(path: Path) -> list[Line]:
    """The lines of a SubRip file, in order of time: what stands between a line of times and the
    next one, or the next blank line.

    The file is UTF-8, or ISO-8859-1 where it is not. Speakers stay as they are, such as (Name:).
    """
    content = read_bytes(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("iso-8859-1")
    cues: list[tuple[tuple[str, ...], list[str]]] = []
    spoken: list[str] = []  # lines of the last cue, until a blank line ends it
    for line in text.replace("\r\n", "\n").split("\n"):
        if times := TIMES.match(line):
            if spoken and spoken[-1].isdigit():
                spoken.pop()  # the number of the cue that begins
            spoken = []
            cues.append((times.groups(), spoken))
        elif line.strip():
            spoken.append(" ".join(line.split()))
        else:
            spoken = []
    lines: list[Line] = [
        [_seconds(clock[:4]), _seconds(clock[4:]), " ".join(spoken)]
        for clock, spoken in cues
        if spoken
    ]
    return sorted(lines, key=lambda line: line[:2])


def _seconds(clock: tuple[str, ...]) -> float:
    hours, minutes, seconds, part = clock
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(part.ljust(3, "0")) / 1000


def overlapping(lines: list[Line], start: float | None, end: float | None) -> list[Line]:
    """The lines that are shown at some time of [start, end), in seconds; all of a whole video."""
    if start is None or end is None:
        return lines
    return [line for line in lines if float(line[0]) < end and float(line[1]) > start]
