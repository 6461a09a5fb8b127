"""The help on keys: `?`, or the button in the side bar, opens it."""

import streamlit as st

KEYS = (
    ("← →", "the pair, video or question before, and the next one; on Judge ← goes back"),
    ("A X U", "on Judge: accept, reject, unsure"),
    ("A B U", "on Judge, blind: text A is right, text B is right, unsure"),
    ("?", "this help; Esc closes it"),
)
_HTML = "<button type=button>Keys <kbd>?</kbd></button><dialog><h3>Keys</h3><dl>{}</dl></dialog>"
_CSS = """
button { background: none; border: none; color: inherit; cursor: pointer; opacity: .7; padding: 0; }
dialog { border: 1px solid #8886; border-radius: 8px; max-width: 32rem; }
dialog::backdrop { background: #0006; }
dt { font-weight: 600; margin-top: .6rem; }
dd { margin: 0; }
"""
_JS = """
export default function({ parentElement }) {
  const dialog = parentElement.querySelector('dialog');
  window.templeKeys?.abort();
  window.templeKeys = new AbortController();
  const open = () => dialog.open || dialog.showModal();
  parentElement.querySelector('button').onclick = open;
  addEventListener('keydown', (event) => {
    const typing = event.target.closest?.('input, textarea, [contenteditable=true]');
    if (event.key === '?' && !typing) open();
  }, { signal: window.templeKeys.signal });
}
"""


def key_help() -> None:
    """Show the button, and listen for the key."""
    rows = "".join(f"<dt>{key}</dt><dd>{meaning}</dd>" for key, meaning in KEYS)
    component = st.components.v2.component("temple_keys", html=_HTML.format(rows), css=_CSS, js=_JS)
    component(key="key_help")
