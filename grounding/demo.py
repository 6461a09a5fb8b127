"""Ask about a video in the browser: the viewer, opened at its page Chat.

    python -m grounding.demo                                       # toyvl and its toy bridge
    python -m grounding.demo --checkpoint qwen25vl7b --sampler exp/tg
    python -m grounding.demo --checkpoint exp/iv exp/ivt --sampler exp/tg --data_root /big/data

Any video can be uploaded; those of the data sets are there already. Ctrl-C ends it.
"""

import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from tools.cli import add_data_root, positive, run_script, script_parser
from tools.errors import UserError
from tools.store.dataset import REPOSITORY

APP = REPOSITORY / "visualize" / "app.py"
START_SECONDS = 120.0  # the server is given up after


def main(argv: Sequence[str] | None = None) -> None:
    """Start the viewer, open the page, and wait for the end."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        metavar="MODEL",
        help="who can answer: an answerer that grounding.train has written, blip2flant5xl,"
        " instructblipvicuna7b, instructblipflant5xl, or a video LLM as of --model elsewhere"
        " (default: toyvl)",
    )
    parser.add_argument(
        "--sampler",
        type=Path,
        metavar="DIR",
        help="the trained bridge that chooses frames (default: with toyvl the one that the"
        " repository holds, else none: frames are spread evenly)",
    )
    parser.add_argument(
        "--port", type=positive, default=8501, help="of the page (default: %(default)s)"
    )
    add_data_root(parser)
    args = parser.parse_args(argv)
    given = ["--data_root", str(args.data_root)]
    given += ["--checkpoint", *args.checkpoint] if args.checkpoint else []
    given += ["--sampler", str(args.sampler)] if args.sampler else []
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(args.port)]
    address = f"http://localhost:{args.port}"
    with socket.socket() as there:
        if not there.connect_ex(("localhost", args.port)):
            raise UserError(f"--port {args.port} is in use: name another one")
    server = subprocess.Popen([*command, "--", *given], stdout=subprocess.DEVNULL)
    try:
        _wait(server, address)
        print(f"{address}/chat (Ctrl-C ends it)")
        webbrowser.open(f"{address}/chat")
        server.wait()
    finally:
        server.terminate()
        server.wait()


def _wait(server: "subprocess.Popen[bytes]", address: str) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.2)
    raise UserError(f"the viewer did not start at {address}")


if __name__ == "__main__":
    run_script(main)
