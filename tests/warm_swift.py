"""swift's command line without its start of seven seconds, for tests that call it a dozen times.

    python tests/warm_swift.py DIR PID     # serves, once DIR/bin/swift is there, while PID runs

The server imports ms-swift once. DIR/bin/swift, which stands first on the tests' PATH, hands it its
arguments, folder, environment and open files; the server forks, and the fork runs ms-swift's own
command, which starts a script for its subcommand, by torchrun where there are several processes:
these too are forks. All belong to the process group of the program that asked, so that who ends
that ends the training too.
"""

import importlib
import json
import os
import runpy
import select
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

CLIENT = """#!{python}
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
socket.send_fds(server, [b"."], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), os.getpgrp()]).encode())
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(16) or b"1"))
"""
PRELOADED = (
    "swift.cli.main",
    "swift.pipelines.train.rlhf",
    "swift.pipelines.export.export",
    "swift.rlhf_trainers.dpo_trainer",
    "swift.trainers.seq2seq_trainer",
    "swift.rlhf_trainers",
    "transformers.models.qwen2_vl.modeling_qwen2_vl",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
)


def serve(folder: Path, pytest: Path) -> None:
    """Answer as long as a process's folder below /proc is there."""
    for name in PRELOADED:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    path = str(folder / "socket")
    listener.bind(path)
    listener.listen()
    (folder / "bin").mkdir()
    program = folder / "bin" / ".swift"
    program.write_text(CLIENT.format(python=sys.executable, path=path))
    program.chmod(0o755)
    program.rename(folder / "bin" / "swift")
    running: dict[int, socket.socket] = {}
    while pytest.exists():
        if select.select([listener], [], [], 0.05)[0]:
            client = listener.accept()[0]
            pid = os.fork()
            if pid == 0:
                listener.close()
                run(client)
            running[pid] = client
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                with suppress(OSError):
                    running[pid].sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
                running.pop(pid).close()


def run(client: socket.socket) -> None:
    """Run what the client asks for: `swift SUBCOMMAND ...`, or `swift FILE.py ...`."""
    _, files, _, _ = socket.recv_fds(client, 1, 3)
    request = b"".join(iter(lambda: client.recv(1 << 16), b""))
    words, folder, environment, group = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.setpgid(0, group)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # A Python that starts would read it.
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    if words[0].endswith(".py"):
        run_script(words)
    router = importlib.import_module("swift.cli.main")
    router.subprocess = SimpleNamespace(run=start)
    sys.argv = ["swift", *words]
    end_with(router.cli_main)


def start(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What swift would start a Python for: its script, in so many processes as torchrun would."""
    place = next(number for number, word in enumerate(command) if word.endswith(".py"))
    launcher, script = command[:place], command[place:]
    processes = 1
    if "--nproc_per_node" in launcher:
        processes = int(launcher[launcher.index("--nproc_per_node") + 1])
        os.environ.update(
            WORLD_SIZE=str(processes), LOCAL_WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1"
        )
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            if processes > 1:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            run_script(script)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return subprocess.CompletedProcess(command, max(codes, key=abs))


def run_script(words: list[str]) -> NoReturn:
    sys.argv = words
    end_with(lambda: runpy.run_path(words[0], run_name="__main__"))


def end_with(work: Callable[[], object]) -> NoReturn:
    """Do the work and end, with the status that Python would end with."""
    status = 1
    try:
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path("/proc", sys.argv[2]))
