"""The viewer: browse, judge and understand preference pairs.

    streamlit run visualize/app.py                       # http://localhost:8501
    streamlit run visualize/app.py -- --data_root /big/data

It listens on localhost alone unless `--server.address` says otherwise.
"""

import sys
from pathlib import Path

import streamlit as st

# Streamlit puts the folder of this file on the path, and the rooms lie one above it.
if str(Path(__file__).resolve().parent.parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.errors import UserError
from visualize.pages import dataset as dataset_page
from visualize.pages import judge as judge_page
from visualize.pages import pairs as pair_page
from visualize.pages import videos as video_page
from visualize.parts.style import STYLE, icon, note
from visualize.session import begin

PAGES = {
    "pairs": ("Pairs", ":material/compare_arrows:", pair_page.show),
    "judge": ("Judge", ":material/balance:", judge_page.show),
    "videos": ("Videos", ":material/movie:", video_page.show),
    "dataset": ("Dataset", ":material/bar_chart:", dataset_page.show),
}


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config("TEMPLE pairs", icon(), layout="wide")
    st.html(STYLE)
    pages = {
        name: st.Page(show, title=title, icon=sign, url_path=name, default=name == "pairs")
        for name, (title, sign, show) in PAGES.items()
    }
    st.session_state["pages"] = pages
    page = st.navigation(list(pages.values()), position="top")
    try:
        st.session_state["session"] = session = begin()
        if session:
            page.run()
    except UserError as error:
        note(error)


if __name__ == "__main__":
    main()
