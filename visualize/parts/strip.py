"""The clips of a video as a strip of key frames, in the right order and in the perturbed one.

A component of its own, since its frames are clicked: `strip` returns the number of the clip that
has just been clicked. Texts reach the page as text, never as HTML.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

import streamlit as st


def slots(count: int, order: Sequence[int]) -> list[tuple[int, bool]]:
    """The perturbed row: (clip, whether it was dropped), clips counting from 0.

    Where the clips used are in the right order, the dropped ones stay between them; otherwise the
    dropped ones come last.
    """
    used = [clip for clip in order if 0 <= clip < count]
    dropped = [clip for clip in range(count) if clip not in used]
    if used == sorted(set(used)):
        return [(clip, clip in dropped) for clip in range(count)]
    return [(clip, False) for clip in used] + [(clip, True) for clip in dropped]


def strip(
    clips: Sequence[tuple[str, Sequence[bytes | None]]],
    *,
    order: Sequence[int] | None = None,
    on: int | None = None,
    colours: Sequence[str] | None = None,
    key: str,
) -> int | None:
    """Show the strip; returns the clip that has just been clicked, counting from 1.

    Args:
        clips: a line about each clip, and its key frames as JPEG; None where there is no picture.
        order: which clips the rejected text was written from, in which order, counting from 0;
            None: no second row.
        on: the clip that is open, counting from 1.
        colours: of the clips; None: from light to dark.
    """
    data = {
        "clips": [
            {"title": title, "frames": [_data_uri(image) for image in images]}
            for title, images in clips
        ],
        "on": (on or 0) - 1,
        "colours": colours,
        "slots": None if order is None else slots(len(clips), order),
    }
    style, script = (Path(__file__).with_suffix(kind).read_text() for kind in (".css", ".js"))
    mount = st.components.v2.component("temple_strip", html="", css=style, js=script)
    clicked = mount(key=key, data=data, on_clip_change=lambda: None).clip
    return int(clicked) if clicked else None


def _data_uri(picture: bytes | None) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else ""
