"""A Ray cluster of nodes on this machine, and runs on it.

Ray's daemons listen on every interface: they are started in a network of their own that has only
`lo`, for which Linux wants root. Where that cannot be, the cluster has one node.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.runner.test_workers import Toy
from tools.store.dataset import REPOSITORY

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000  # linux/sched.h
TOKEN = "0123456789abcdef" * 4
# A node that hangs is given up after a quarter of a minute, instead of a whole one.
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 10,
    "prestart_worker_first_driver": False,
}


def unshare(flags: int) -> bool:
    """Give the calling thread, and the processes that it starts, namespaces of their own."""
    return sys.platform == "linux" and ctypes.CDLL(None).unshare(flags) == 0


@pytest.fixture(scope="session")
def loopback_only() -> Iterator[bool]:
    """A network with nothing but `lo` for all that starts from here; whether there is one."""
    with open("/proc/thread-self/ns/net") as before:
        alone = bool(shutil.which("ip")) and unshare(CLONE_NEWNET)
        if alone:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield alone
        if alone:
            ctypes.CDLL(None).setns(before.fileno(), CLONE_NEWNET)


class Machines:
    """A head and other nodes, of one CPU each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {**self.node(), "include_dashboard": False, "_system_config": HEALTH}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        # What the head has set up ends all nodes with this process. The others' own handlers of
        # signals could not be set by a thread, in which a node joins.
        self.cluster._shutdown_at_exit = False
        self.address = self.cluster.address

    def node(self, **settings: object) -> dict[str, object]:
        own = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
        return {**own, "include_log_monitor": False, **settings}

    @property
    def others(self) -> list:
        return sorted(self.cluster.worker_nodes, key=self.raylet)

    def have(self, nodes: int) -> None:
        """Let so many nodes be up."""
        while len(self.others) + 1 < nodes:
            self.join()
        for node in self.others[nodes - 1 :]:
            self.kill(node)

    def join(self, **settings: object) -> object:
        return self.cluster.add_node(**self.node(**settings))

    def raylet(self, node) -> int:
        return node.all_processes["raylet"][0].process.pid

    def processes(self, node) -> list[int]:
        """The raylet, and the agents and workers that it has started."""
        raylet = self.raylet(node)
        return [raylet, *(pid for pid, parent, _ in processes() if parent == raylet)]

    def alive(self) -> set[str]:
        """The ids of the nodes that Ray believes to be up."""
        return set(self.cluster.global_state._live_node_ids())

    def actors(self) -> list[int]:
        """The workers that compute."""
        raylets = {self.raylet(node) for node in (self.cluster.head_node, *self.others)}
        return [
            pid
            for pid, parent, command in processes()
            if parent in raylets and command.startswith("ray::_Actor")
        ]

    def signal(self, node, number: int) -> None:
        for pid in self.processes(node):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self, node) -> None:
        """End a node as a power cut does."""
        self.signal(node, signal.SIGKILL)
        with suppress(Exception):  # It is dead already.
            self.cluster.remove_node(node, allow_graceful=False)
        self.cluster.worker_nodes.discard(node)

    def kill_head(self) -> None:
        head = self.cluster.head_node
        os.kill(head.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
        self.signal(head, signal.SIGKILL)


def processes() -> Iterator[tuple[int, int, str]]:
    """(pid, parent, command) of all living processes."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(entry.name), int(parent), (entry / "cmdline").read_text()


@pytest.fixture(scope="session")
def machines(loopback_only: bool) -> Iterator[Machines]:
    """The cluster, with a token; as many nodes as a test has asked for with `have`."""
    own = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        # Where workers find toy_steps, which the script's folder gives a run of its own process.
        patch.setenv("PYTHONPATH", str(REPOSITORY / "tests" / "runner"), prepend=os.pathsep)
        machines = Machines()
        yield machines
        for node in (*machines.others, machines.cluster.head_node):
            machines.signal(node, signal.SIGKILL)
        with suppress(Exception):
            machines.cluster.shutdown()


@pytest.fixture
def two_nodes(machines: Machines, loopback_only: bool) -> Machines:
    """The cluster, with two nodes."""
    if not loopback_only:
        pytest.skip("two nodes want root and `ip`: Ray listens on every interface")
    machines.have(2)
    return machines


class RayToy(Toy):
    """A dataset of numbers, and runs of toy_steps.py on the cluster."""

    def __init__(self, root: Path, run_script: Callable, address: str) -> None:
        super().__init__(root, run_script)
        self.flags = ("--ray", address)

    def start(self, world_size, *flags):
        return super().start(world_size, *flags, *self.flags)

    def run(self, world_size, *flags):
        """(exit code, lines of stdout, those of stderr but the bar's and that of the network)."""
        code, said, errors = super().run(world_size, *flags, *self.flags)
        return code, said, without_ray(errors)


def without_ray(lines: list[str]) -> list[str]:
    """Lines but the one in which Ray misses a network here."""
    return [line for line in lines if "network_util.cc" not in line]


@pytest.fixture
def toy(tmp_path, run_script, machines):
    toy = RayToy(tmp_path, run_script, machines.address)
    yield toy
    for run in toy.runs:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


@contextmanager
def meanwhile(deed: Callable[[], None]) -> Iterator[None]:
    """Do something in a thread while the block runs; an error of it is one of the test."""
    errors = []

    def work() -> None:
        try:
            deed()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(60)
    assert not errors and not thread.is_alive(), errors


@contextmanager
def hidden(folder: Path) -> Iterator[None]:
    """A folder that is empty for what this thread starts in the block; in a thread of its own."""
    assert unshare(CLONE_NEWNS)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    yield


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def seconds_until(condition: Callable[[], object], patience: float = 60.0) -> float:
    """How long it takes until a condition holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < patience, "did not happen"
        time.sleep(0.05)
    return time.monotonic() - start
