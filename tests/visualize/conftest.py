"""Running a page of the viewer in the test's own process, and all of it in a real browser."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tools.store.dataset import REPOSITORY

APP = REPOSITORY / "visualize" / "app.py"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture
def run_screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AppTest]:
    """Run a module of visualize.screens on a data root, with an address's words and what follows
    the data root on the command line. Streamlit's test runner opens the first page of a navigation
    only."""

    def run(name: str, data_root: Path, address: dict[str, str], *flags: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["app.py", "--data_root", str(data_root), *flags])
        app = AppTest.from_string(
            "import streamlit as st\n"
            "from tools.errors import UserError\n"
            f"from visualize.screens import {name} as page\n"
            "from visualize.parts.style import note\n"
            "from visualize.session import begin\n"
            "try:\n"
            f"    st.session_state['session'] = begin(without={name == 'chat'})\n"
            "    page.show()\n"
            "except UserError as error:\n"
            "    note(error)\n",
            default_timeout=60,
        )
        for key, value in address.items():
            app.query_params[key] = value
        return app.run()

    return run


@pytest.fixture(scope="module")
def serve() -> Callable[..., AbstractContextManager[str]]:
    """(folder, flags) -> the address of a viewer, started from a folder, that shows its `data/` and
    has its cache there too."""

    @contextmanager
    def started(folder: Path, *flags: str) -> Iterator[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
        server = subprocess.Popen(
            [*command, "--", "--data_root", str(folder / "data"), *flags],
            cwd=folder,
            env={
                **os.environ,
                "XDG_CACHE_HOME": str(folder / "cache"),
                "HOME": str(folder),
                "PYTHONPATH": str(REPOSITORY),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        address = f"http://localhost:{port}"
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.25)
        try:
            yield address
        finally:
            server.terminate()
            server.wait(60)  # PyTorch takes its time on a busy machine

    return started


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser; a test that wants it is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A page of the browser; fails the test for errors on it and for requests to elsewhere."""
    one = chromium.new_page(viewport={"width": 1280, "height": 900})
    one.set_default_timeout(20_000)
    errors: list[str] = []

    def noted(error: Any) -> None:
        # Chromium's word for a clip that the next page takes away before it plays.
        if "play() request was interrupted" not in str(error):
            errors.append(str(error))

    one.on("pageerror", noted)
    one.on(
        "request",
        lambda request: (
            errors.append(request.url)
            if not request.url.startswith(("http://localhost:", "data:", "blob:"))
            else None
        ),
    )
    yield one
    one.close()
    assert errors == []
