"""What is true of a toy video: its line in truth.jsonl."""

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from toyworld.language import Event, narrate
from toyworld.plan import Plan, Shot

# The bounds of the method's two filters.
FEWEST_SHOTS, MOST_SHOTS = 4, 32
LONGEST_SHOT = 16.0  # seconds
FEWEST_GROUPS = 4
RECURRENCES = 4  # of one place, in groups: too many


def read_truth(folder: Path) -> list[dict[str, Any]]:
    """The lines of a toy world's truth.jsonl, in order of the videos' names.

    Raises:
        FileNotFoundError: the folder holds none.
        JSONDecodeError: a line is torn.
    """
    return [orjson.loads(line) for line in (folder / "truth.jsonl").read_bytes().splitlines()]


def events_of(line: dict[str, Any]) -> list[Event]:
    """The events of a line of truth.jsonl, in the order in which they happen."""
    return [Event(e["colour"], e["shape"], e["action"]) for e in line["events"]]


def truth(plan: Plan) -> dict[str, Any]:
    """Return the truth about a planned video; frame ranges are inclusive, times in seconds.

    A range's `end_time` is when its last frame ends, so ranges that touch share a time. A cut's
    `frame` and `end_frame` are the new shot's first frame; the frames of a dissolve or a fade
    belong to neither shot. Shots of equal `place` show one place; a blank shot's place is -1.
    """
    shots = [shot_truth(plan, shot) for shot in plan.shots]
    events = [
        {
            "shot": i,
            **asdict(shot.event),
            **span(plan, *shot.movement, "start_frame", "end_frame"),
            "text": shot.event.text,
        }
        for i, shot in enumerate(plan.shots)
        if shot.event
    ]
    pictures = [shot for shot in shots if not shot["blank"]]
    return {
        "video_name": plan.name,
        "fps": plan.frames / plan.seconds(plan.frames),
        "frames": plan.frames,
        "width": plan.width,
        "height": plan.height,
        "variable_frame_rate": plan.uneven is not None,
        "cuts": [
            {"type": change.type, "frame": change.start, "end_frame": change.end}
            for change in plan.transitions
        ],
        "shots": shots,
        "events": events,
        "distractors": distractors(plan),
        "caption": narrate([event["text"] for event in events]),
        "verdict": verdict(
            [(shot["end_time"] - shot["start_time"], shot["place"]) for shot in pictures]
        ),
    }


def span(plan: Plan, start: int, end: int, *names: str) -> dict[str, Any]:
    """Return an inclusive range of frames, under the two `names`, with its times."""
    times = {"start_time": plan.seconds(start), "end_time": plan.seconds(end + 1)}
    return {**dict(zip(names, (start, end), strict=True)), **times}


def shot_truth(plan: Plan, shot: Shot) -> dict[str, Any]:
    quiet = "a blank screen ." if shot.blank else "nothing happens ."
    return {
        **span(plan, shot.start, shot.end, "start", "end"),
        "place": shot.place,
        "blank": shot.blank,
        "caption": shot.event.text if shot.event else quiet,
        "event": asdict(shot.event) if shot.event else None,
    }


def distractors(plan: Plan) -> list[dict[str, Any]]:
    """Return what disturbs a detector in order of time, cuts within one palette included."""
    disturbed = [shot.distractor for shot in plan.shots if shot.distractor]
    ranges = [(stretch.start, stretch.end, stretch.type) for stretch in disturbed]
    for change, old, new in zip(plan.transitions, plan.shots, plan.shots[1:], strict=False):
        if not (old.blank or new.blank) and plan.places[new.place].like == old.place:
            ranges.append((change.start, change.end, "one_palette"))
    return [{"type": kind, "frame": start, "end_frame": end} for start, end, kind in sorted(ranges)]


def verdict(shots: list[tuple[float, int]]) -> str:
    """Return "keep", or why the method's filters reject a video, in the order they ask.

    `shots` are (seconds, place) of the shots that are not blank. Shots first: 4 to 32 of them, none
    over 16 s. Then runs of one place ("groups"): at least 4, and no place in 4 or more of them, nor
    in more than a third, rounded down.
    """
    if len(shots) < FEWEST_SHOTS:
        return "too_few_shots"
    if len(shots) > MOST_SHOTS:
        return "too_many_shots"
    if max(seconds for seconds, _ in shots) > LONGEST_SHOT:
        return "shot_too_long"
    groups = [place for place, _ in groupby(place for _, place in shots)]
    if len(groups) < FEWEST_GROUPS:
        return "too_few_groups"
    most = max(groups.count(place) for place in groups)
    if most >= RECURRENCES or most > len(groups) // 3:
        return "group_recurs"
    return "keep"
