"""The clips of a video as a strip of key frames, in the right order and in the perturbed one.

A component of its own, since its frames are clicked: `strip` returns the number of the clip that
has just been clicked. Texts reach the page as text, never as HTML.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

_STYLE = """
.wrap { overflow-x: auto; padding: 2px; font-family: var(--st-font, sans-serif); }
.in { min-width: var(--least); }
.label { font-size: 12px; color: var(--t-faint); margin: 0 0 4px; }
.row { display: flex; gap: 5px; }
.clip { flex: 1 1 0; min-width: 0; border: 0; padding: 0; border-radius: 6px;
  overflow: hidden; cursor: pointer; position: relative; display: flex; flex-direction: column;
  gap: 1px; background: var(--t-fill);
  box-shadow: 0 0 0 1px var(--t-line); transition: box-shadow .12s; max-width: 190px; }
.clip:hover { box-shadow: 0 0 0 2px #aab2ec; }
.clip:focus-visible { outline: 3px solid #4453c9; outline-offset: 1px; }
.clip.on { box-shadow: 0 0 0 3px #4453c9; }
.clip img, .clip .none { width: 100%; aspect-ratio: 16 / 9; object-fit: contain; display: block;
  background: #14171b; }
.clip .none {
  background: repeating-linear-gradient(45deg, var(--t-fill) 0 6px, var(--t-line) 6px 12px); }
.clip .no { position: absolute; left: 0; top: 0; color: #fff; font: 600 12px/1 sans-serif;
  padding: 4px 6px; border-radius: 0 0 6px 0; }
.clip .bar { height: 4px; }
.clip.gone { filter: grayscale(1); opacity: .28; }
.clip.gone:hover { opacity: .6; }
svg { display: block; width: 100%; height: 44px; padding: 3px 0; box-sizing: border-box;
  overflow: visible; }
"""

_SCRIPT = """
export default function({ data, parentElement, setTriggerValue }) {
  const old = parentElement.querySelector('.wrap');
  if (old) old.remove();
  const make = (name, kind, text) => {
    const element = document.createElement(name);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const count = data.clips.length;
  // From light to dark along the right order: a broken gradient is a broken order.
  const colour = (k) => {
    if (data.colours) return data.colours[k];
    const t = count > 1 ? k / (count - 1) : 0;
    return `hsl(${226 + 12 * t}, ${70 - 8 * t}%, ${74 - 44 * t}%)`;
  };
  const tile = (k, gone) => {
    const clip = data.clips[k];
    const element = make('button', 'clip' + (gone ? ' gone' : '') + (k === data.on ? ' on' : ''));
    element.type = 'button';
    element.title = clip.title;
    element.setAttribute('aria-label', `clip ${k + 1}` + (gone ? ', dropped' : ''));
    element.dataset.clip = k + 1;
    for (const frame of clip.frames) {
      if (frame) {
        const image = make('img');
        image.src = frame;
        image.alt = '';
        element.append(image);
      } else element.append(make('div', 'none'));
    }
    const number = make('span', 'no', k + 1);
    number.style.background = colour(k);
    const bar = make('div', 'bar');
    bar.style.background = colour(k);
    element.append(bar, number);
    element.onclick = () => setTriggerValue('clip', k + 1);
    return element;
  };
  const wrap = make('div', 'wrap'), inside = make('div', 'in');
  wrap.style.setProperty('--least', `${count * 52}px`);
  wrap.append(inside);
  const row = (label, slots) => {
    if (label) inside.append(make('p', 'label', label));
    const line = make('div', 'row');
    for (const [k, gone] of slots) line.append(tile(k, gone));
    inside.append(line);
    return line;
  };
  row(data.labels[0], data.clips.map((_, k) => [k, false]));
  if (data.slots) {
    const kind = 'http://www.w3.org/2000/svg';
    const lines = document.createElementNS(kind, 'svg');
    lines.setAttribute('viewBox', `0 0 ${count} 1`);
    lines.setAttribute('preserveAspectRatio', 'none');
    // Tiles stop growing at 190 px and the lines with them.
    lines.style.maxWidth = `${count * 195}px`;
    data.slots.forEach(([k, gone], place) => {
      if (gone) return;
      const line = document.createElementNS(kind, 'path');
      line.setAttribute('d', `M${k + .5} 0 L${place + .5} 1`);
      line.setAttribute('stroke', colour(k));
      line.setAttribute('stroke-width', '2');
      line.setAttribute('fill', 'none');
      line.setAttribute('vector-effect', 'non-scaling-stroke');
      lines.append(line);
    });
    inside.append(lines);
    row('', data.slots);
    const below = make('p', 'label', data.labels[1]);
    below.style.margin = '4px 0 0';
    inside.append(below);
  }
  parentElement.append(wrap);
}
"""


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


def data_uri(picture: bytes | None) -> str:
    """A JPEG as an address that holds it; empty where there is none."""
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}" if picture else ""


def strip(
    frames: Sequence[Sequence[int]],
    pictures: Mapping[int, bytes],
    titles: Sequence[str],
    *,
    order: Sequence[int] | None = None,
    on: int | None = None,
    labels: tuple[str, str] = ("", ""),
    colours: Sequence[str] | None = None,
    key: str,
) -> int | None:
    """Show the strip; returns the clip that has just been clicked, counting from 1.

    Args:
        frames: the key frames' indices, a pair a clip.
        pictures: those frames that could be read, as JPEG.
        titles: a line about each clip.
        order: which clips the rejected text was written from, in which order, counting from 0;
            None: no second row.
        on: the clip that is open, counting from 1.
        labels: of the two rows.
        colours: of the clips; None: from light to dark.
    """
    clips = [
        {"title": title, "frames": [data_uri(pictures.get(index)) for index in indices]}
        for indices, title in zip(frames, titles, strict=True)
    ]
    data: dict[str, Any] = {
        "clips": clips,
        "labels": list(labels),
        "on": (on or 0) - 1,
        "colours": colours,
    }
    data["slots"] = None if order is None else slots(len(clips), order)
    mount = st.components.v2.component("temple_strip", html="", css=_STYLE, js=_SCRIPT)
    clicked = mount(key=key, data=data, on_clip_change=lambda: None).clip
    return int(clicked) if clicked else None
