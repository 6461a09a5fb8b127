"""An answer on the page Chat: its text, the time line of the moment, and the frames behind it."""

import base64
from collections.abc import Sequence
from html import escape

import numpy as np
import streamlit as st

from visualize.conversations import Turn
from visualize.parts.clips import clock
from visualize.parts.strip import strip
from visualize.parts.style import faint
from visualize.timeline import tick_seconds

ABOUT_LINE = (
    '<p class="t-legend"><b class="span">the span</b> <b class="flow">strength of the flow</b>'
    ' <b class="start">starts here: at most {:.0%}</b>'
    ' <b class="end">ends here: at most {:.0%}</b> <b class="frame">the frames</b></p>'
)
# Colours that can be seen on light and on dark; style.css repeats them in the legend.
FLOW, START, END = "#8b93a0", "#6574e6", "#d9822b"
LINE = 'fill="none" stroke="{}" stroke-width="2" vector-effect="non-scaling-stroke"'
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 100" preserveAspectRatio="none">'
    "{}</svg>"
)


def time_line(
    seconds: float,
    times: np.ndarray,
    strength: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    spans: Sequence[tuple[float, float]],
    frames: Sequence[float],
) -> str:
    """The HTML of a video's time with what the bridge has made of it. Each curve is drawn up to its
    own largest value.

    Args:
        seconds: length of the video.
        times: (L, 2) seconds of the flow's pairs of pictures.
        strength: (L,) of the flow.
        starts, ends: (L,) probabilities that the span starts and ends there.
        spans: (start, end) seconds.
        frames: when the chosen frames are shown, seconds.
    """

    def at(time: float) -> str:
        return f"left:{100 * min(time / seconds, 1):.2f}%"

    shares = (times / seconds).clip(max=1)
    curves = "".join(
        f'<path d="{_steps(values, shares, is_area)}" {look}/>'
        for values, is_area, look in (
            (strength, True, f'fill="{FLOW}" opacity=".5"'),
            (starts, False, LINE.format(START)),
            (ends, False, LINE.format(END)),
        )
    )
    # As a picture, since Streamlit takes SVG out of HTML.
    picture = base64.b64encode(SVG.format(curves).encode()).decode()
    parts = [
        f'<i style="{at(start)};width:{100 * (min(end, seconds) - start) / seconds:.2f}%"'
        f' title="{clock(start)} to {clock(end)}"></i>'
        for start, end in spans
    ]
    parts.append(f'<img alt="curves" src="data:image/svg+xml;base64,{picture}">')
    parts += [f'<u style="{at(time)}" title="{clock(time)}"></u>' for time in frames]
    ticks = range(0, int(seconds) + 1, tick_seconds(seconds))
    parts += [f'<s style="{at(tick)}">{tick} s</s>' for tick in ticks]
    legend = ABOUT_LINE.format(starts.max(), ends.max())
    return f'<div class="t-line t-curves">{"".join(parts)}</div>{legend}'


def _steps(values: np.ndarray, shares: np.ndarray, closed: bool) -> str:
    """An SVG path with a step for each value, 1000 wide and 100 high."""
    heights = 96 * (1 - values / max(float(values.max()), 1e-9)) + 3
    steps = " ".join(
        f"L{1000 * start:.1f} {height:.1f} L{1000 * end:.1f} {height:.1f}"
        for height, (start, end) in zip(heights, shares, strict=True)
    )
    # A path begins by moving to a place, not by a line.
    return f"M{1000 * shares[0, 0]:.1f} 100 {steps} V100 Z" if closed else f"M{steps[1:]}"


def show_reply(turn: Turn, moment: float) -> float | None:
    """Show an answer and what it was given from; returns the time of the frame that has just been
    clicked, seconds.

    Args:
        moment: of the frame that is shown large.
    """
    frames = turn.shown
    st.html(f'<div class="t-said">{escape(turn.answer) or faint("(nothing)")}</div>')
    if turn.was_cut_off:
        st.caption("The answer was cut off at its longest length.")
    if frames.spans is None:
        st.caption("No bridge chose the frames: they are spread evenly over the whole video.")
    else:
        spans = " and ".join(f"{clock(start)} to {clock(end)}" for start, end in frames.spans)
        st.caption(f"The bridge looks at {spans}.")
        st.html(frames.line)
    about = ", and the flow there" if frames.line else ""
    clips = [
        (f"{clock(time)}{about}", pictures)
        for time, pictures in zip(frames.times, frames.pictures, strict=True)
    ]
    on = frames.times.index(moment) + 1 if moment in frames.times else None
    clicked = strip(clips, on=on, key=f"frames_{turn.id}")
    return frames.times[clicked - 1] if clicked else None
