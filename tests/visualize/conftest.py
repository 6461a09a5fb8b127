"""Running a page of the viewer in the test's own process."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest


@pytest.fixture
def run_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Run a module of visualize.screens on a data root, with an address's words. Streamlit's test
    runner opens the first page of a navigation only."""

    def run(name: str, data_root: Path, address: dict[str, str]) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", "--data_root", str(data_root)])
        app = AppTest.from_string(
            "import streamlit as st\n"
            f"from visualize.screens import {name} as page\n"
            "from visualize.session import begin\n"
            "st.session_state['session'] = begin()\n"
            "page.show()\n",
            default_timeout=30,
        )
        for key, value in address.items():
            app.query_params[key] = value
        return app.run()

    return run
