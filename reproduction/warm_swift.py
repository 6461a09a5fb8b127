"""swift's command line without its start, for whoever calls it dozens of times.

    python reproduction/warm_swift.py DIR PID    # serves DIR/bin/swift while PID runs

To start swift takes as long as a third of a short training: two of its processes import ms-swift.
This server imports it once. DIR/bin/swift, which stands first on the PATH, hands it its arguments,
folder, environment and open files; the server forks, and the fork runs ms-swift's own command,
which starts a script for its subcommand, by torchrun where there are several processes: these too
are forks. They end with DIR/bin/swift. DIR/served.jsonl says what CPU seconds each took, and for
which JOB.
"""

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from types import SimpleNamespace
from typing import Any, NoReturn

JOB = "JOB"  # the variable that says for whom swift is called
MOST_OF_A_NAME = 4096
SERVED = "served.jsonl"

CLIENT = """#!{python}
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
socket.send_fds(server, [os.environ.get({job!r}, "-").encode()], [0, 1, 2])
server.sendall(json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode())
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

_LOCK = Lock()
_FOLDERS: list[TemporaryDirectory[str]] = []  # that of this process's server, once it has one


def warm_swift(environment: Mapping[str, str]) -> Path:
    """The folder of a program `swift` that has been started already, once for this process; see
    `start`."""
    with _LOCK:
        if not _FOLDERS:
            folder = TemporaryDirectory(prefix="swift-")
            start(Path(folder.name), os.getpid(), environment)
            _FOLDERS.append(folder)
        return Path(_FOLDERS[0].name, "bin")


def served_seconds(job: str) -> float:
    """CPU seconds that this process's server has spent on a job."""
    seconds = 0.0
    for folder in _FOLDERS:
        path = Path(folder.name, SERVED)
        spent = map(json.loads, path.read_text().splitlines() if path.exists() else ())
        seconds += sum(own["cpu_s"] for own in spent if own["job"] == job)
    return seconds


def start(folder: Path, watched: int, environment: Mapping[str, str]) -> Path:
    """Start a server in a folder; returns the folder of its program `swift` once it is there.

    Args:
        folder: empty; its path is short, since a socket's name holds about 100 characters.
        watched: the process that the server ends with.

    Raises:
        UserError: ms-swift cannot be imported.
    """
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, __file__, str(folder), str(watched)],
            env=dict(environment),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not (folder / "bin" / "swift").exists():
        if server.poll() is not None:
            from tools.errors import UserError  # the server itself has no path to it

            lines = (folder / "log").read_text().splitlines()
            raise UserError(f"ms-swift does not start: {lines[-1]}")
        time.sleep(0.05)
    return folder / "bin"


def serve(folder: Path, watched: Path) -> None:
    """Answer as long as a process's folder below /proc is there."""
    for name in PRELOADED:
        importlib.import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    path = str(folder / "socket")
    listener.bind(path)
    listener.listen()
    (folder / "bin").mkdir()
    program = folder / "bin" / ".swift"
    program.write_text(CLIENT.format(python=sys.executable, path=path, job=JOB))
    program.chmod(0o755)
    program.rename(folder / "bin" / "swift")
    running: dict[int, tuple[socket.socket, str]] = {}
    while watched.exists():
        if select.select([listener], [], [], 0.05)[0]:
            client = listener.accept()[0]
            job, files, _, _ = socket.recv_fds(client, MOST_OF_A_NAME, 3)
            if (pid := os.fork()) == 0:
                listener.close()
                run(client, files)
            for file in files:
                os.close(file)
            running[pid] = client, job.decode()
        for pid, (client, name) in list(running.items()):
            if hung_up(client):
                end_group(pid)
            ended, status, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                del running[pid]
                spent = {"job": name, "cpu_s": usage.ru_utime + usage.ru_stime}
                with open(folder / SERVED, "a") as log:
                    log.write(json.dumps(spent) + "\n")
                with suppress(OSError):
                    client.sendall(str(os.waitstatus_to_exitcode(status) % 256).encode())
                client.close()
    for pid in running:
        end_group(pid)
    os._exit(0)  # to take down all that was imported takes long


def end_group(pid: int) -> None:
    """Kill a process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def hung_up(client: socket.socket) -> bool:
    """Whether the other end is closed, both ways."""
    poll = select.poll()
    poll.register(client, 0)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def run(client: socket.socket, files: list[int]) -> NoReturn:
    """Run what a client asks for: `swift SUBCOMMAND ...`, or `swift FILE.py ...`."""
    os.setpgid(0, 0)
    request = b"".join(iter(lambda: client.recv(1 << 16), b""))
    words, folder, environment = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # A Python that starts would read it, and would not have this file's folder first.
    path = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [place for place in path if place]
    if words[0].endswith(".py"):
        run_script(words)
    router: Any = importlib.import_module("swift.cli.main")
    router.subprocess = SimpleNamespace(run=start_script)
    sys.argv = ["swift", *words]
    end_with(router.cli_main)


def start_script(command: list[str]) -> subprocess.CompletedProcess[str]:
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
    """Run a Python file with its arguments, and end."""
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
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
