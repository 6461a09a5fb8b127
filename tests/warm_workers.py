"""Workers without their start. Python and the libraries of a worker take half a second (NumPy,
PyAV) to seven seconds (Transformers) of a core, and the tests start some hundred workers.

A server, one for each process of pytest, imports the libraries that this process has imported and
forks where multiprocessing would start Python. The worker is a child of this process as ever: with
its environment, folder, open files and blocked signals, and none of the toolkit's modules yet.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fcntl import F_DUPFD, fcntl
from functools import cache
from multiprocessing import util
from unittest.mock import patch

LIBRARIES = {"av", "cv2", "numpy", "openvino", "orjson", "torch", "torchvision", "transformers"}
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
MOST_BYTES = 1 << 18  # of a request


@contextmanager
def warm_workers(warm: bool = True) -> Iterator[None]:
    """Let multiprocessing's spawned processes be forks of the server, or not."""
    with patch.object(util, "spawnv_passfds", _start if warm else _spawn):
        yield


_spawn = util.spawnv_passfds
_one_at_a_time = threading.Lock()


def _start(path: bytes, words: Sequence[str], files: Sequence[int]) -> int:
    """Start what multiprocessing starts, with these files open; gives its process id."""
    code = words[-2]
    if sys.platform != "linux" or "spawn_main" not in code:
        return _spawn(path, words, files)
    server, known = _server()
    libraries = {name for name in sys.modules if name.partition(".")[0] in LIBRARIES} - known
    known |= libraries
    blocked = [*signal.pthread_sigmask(signal.SIG_BLOCK, ())]
    place = os.getpid(), blocked, os.getcwd(), dict(os.environ)
    request = json.dumps([code, sorted(libraries), files, *place]).encode()
    libc = ctypes.CDLL(None)
    with _one_at_a_time:
        # While this is set, a process whose parent ends becomes a child of this one.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            socket.send_fds(server, [request], [0, 1, 2, *files])
            return int(server.recv(16))
        finally:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


@cache
def _server() -> tuple[socket.socket, set[str]]:
    """A connection to the server, and the names of what it has imported."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    subprocess.Popen(
        [sys.executable, __file__, str(theirs.fileno())],
        env={**os.environ, **threads}, pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    theirs.close()
    return ours, set()


def _serve(server: socket.socket) -> None:
    """Fork a worker for each request, until the process of pytest has ended."""
    while request := socket.recv_fds(server, MOST_BYTES, 64):
        text, received, _, _ = request
        if not text:
            return
        code, libraries, files, *place = json.loads(text)
        for name in libraries:
            with suppress(Exception):
                importlib.import_module(name)
        between = os.fork()
        if between == 0:
            if os.fork() == 0:
                _work(server, code, dict(zip([0, 1, 2, *files], received, strict=True)), *place)
            os._exit(0)
        os.waitpid(between, 0)
        for file in received:
            os.close(file)


def _work(
    server: socket.socket,
    code: str,
    files: dict[int, int],
    parent: int,
    blocked: list[int],
    folder: str,
    environment: dict[str, str],
) -> None:
    """Become the worker that `code` starts; `files`: the number that each must have, and has."""
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        while os.getppid() != parent:
            time.sleep(0.001)
        server.send(str(os.getpid()).encode())
        server.close()
        above = max(files) + 1
        aside = {number: fcntl(file, F_DUPFD, above) for number, file in files.items()}
        for file in files.values():
            os.close(file)
        for number, file in aside.items():
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["-c", "--multiprocessing-fork"]
        exec(code, {})
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
