"""The viewer: browse, judge and understand preference pairs, look at answers to questions and at
text videos, and ask about a video.

    streamlit run visualize/app.py                       # http://localhost:8501
    streamlit run visualize/app.py -- --data_root /big/data
    streamlit run visualize/app.py -- --checkpoint qwen25vl7b --sampler exp/tg    # of the page Chat

It listens on localhost alone unless `--server.address` says otherwise.
"""

from pathlib import Path

import streamlit as st

from tools.errors import UserError
from visualize.parts.style import ICON, note
from visualize.screens import dataset, judge, pairs, projection, questions, tideos, videos
from visualize.session import begin


def chat() -> None:
    """The page Chat, whose module imports PyTorch: the other pages start without it."""
    with st.spinner("Loading PyTorch"):
        from visualize.screens import chat
    chat.show()


def main() -> None:
    """Show the page that the address names."""
    st.set_page_config("TEMPLE pairs", ICON, layout="wide")
    st.html(Path(__file__).with_name("parts") / "style.css")
    home = st.Page(pairs.show, title="Pairs", icon=":material/compare_arrows:", default=True)
    pages = [
        home,
        # The address of the default page is /, but people also type the name of the page.
        st.Page(lambda: pairs.show(), title="Pairs", url_path="pairs", visibility="hidden"),
        st.Page(judge.show, title="Judge", icon=":material/balance:", url_path="judge"),
        st.Page(videos.show, title="Videos", icon=":material/movie:", url_path="videos"),
        st.Page(questions.show, title="Questions", icon=":material/quiz:", url_path="questions"),
        st.Page(tideos.show, title="Text videos", icon=":material/notes:", url_path="tideos"),
        st.Page(
            projection.show, title="Projection", icon=":material/target:", url_path="projection"
        ),
        talk := st.Page(chat, title="Chat", icon=":material/forum:", url_path="chat"),
        st.Page(dataset.show, title="Dataset", icon=":material/bar_chart:", url_path="dataset"),
    ]
    st.session_state["pairs_page"] = home
    page = st.navigation(pages, position="top")
    try:
        st.session_state["session"] = begin(without=page is talk)
        if st.session_state["session"] or page is talk:
            page.run()
    except UserError as error:
        note(error)


if __name__ == "__main__":
    main()
