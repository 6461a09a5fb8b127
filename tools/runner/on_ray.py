"""Workers that are actors of a Ray cluster, on as many machines as it has; the only place that
imports Ray.

An actor for which the cluster has no room yet waits and holds nothing, while the run goes on with
the others; a machine that joins is used. Ray restarts no actor: the pool starts the next one, and
knows what the dead one held. Code, videos and data lie on a file system that all machines share.
"""

import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import ensure_token_if_auth_enabled
from ray._private.services import find_gcs_addresses
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError, RayError, RayTaskError, RpcError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tools.errors import UserError
from tools.runner.options import Options
from tools.runner.processes import THREAD_VARIABLES
from tools.runner.step import Step
from tools.runner.worker import Item, Outcome, StepRunner, WorkerDied
from tools.store.dataset import REPOSITORY

ASK_SECONDS = 5.0  # between two questions whether the head is there
# After so long without an answer the head is lost. After 60 s Ray ends this process by itself, with
# no word of what is kept (RAY_gcs_rpc_server_reconnect_timeout_s).
LOST_SECONDS = 30.0
NODE_SECONDS = 120.0  # in which a node starts a process of Python that looks at its disk


class RayCluster:
    """An engine: one actor a worker.

    Args:
        options: `ray`, `device`, `threads` and `gpus_per_worker` are used.
        needed: files and folders that every node must see.

    Raises:
        UserError: no cluster is there, it cannot be used, or a node lacks something.
    """

    name = "ray"

    def __init__(self, options: Options, needed: Sequence[Path]) -> None:
        self.device, self.threads = options.device, options.threads
        self.share = options.gpus_per_worker or 1
        self.needed = [str(path) for path in needed]
        self.gpus: float = 0
        _connect(options.ray or "auto")
        self.address = ray.get_runtime_context().gcs_address
        self._head = GcsClient(address=self.address)
        self._heard = self._asked = monotonic()
        path = os.pathsep.join([str(REPOSITORY), "${PYTHONPATH}"])
        variables = {"PYTHONPATH": path, **dict.fromkeys(THREAD_VARIABLES, str(self.threads))}
        self.environment = {"env_vars": variables}
        try:
            self._check_nodes()
        except UserError:
            self.close()
            raise

    def _check_nodes(self) -> None:
        look = ray.remote(num_cpus=0, max_retries=0, runtime_env=self.environment)(_missing)
        answers = {
            look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(self.needed): node
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] != ray.get_runtime_context().get_node_id()
        }
        ray.wait(list(answers), num_returns=len(answers), timeout=NODE_SECONDS)
        for answer, node in answers.items():
            try:
                missing = ray.get(answer, timeout=0)
            except RayTaskError as error:
                raise UserError(
                    f"--ray: node {_name(node)} cannot work ({_last_line(error)})"
                ) from None
            except RayError:
                continue  # It has left, or hangs: Ray will find that out.
            if missing:
                raise _lacks(_name(node), missing)

    def check(self) -> None:
        """See what workers compute on, and that a node has room for one; see `Engine`."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = max(node.get("GPU", 0) for node in nodes)
        if self.device == "cuda" and not gpus:
            raise UserError("--device cuda: the Ray cluster has no GPU; use --device cpu or auto")
        self.gpus = self.share if self.device != "cpu" and gpus else 0
        if self.gpus > gpus:
            raise UserError(f"--gpus_per_worker {self.share:g}: no node has more than {gpus:g}")
        if self.threads > (cpus := max(node.get("CPU", 0) for node in nodes)):
            raise UserError(f"--threads {self.threads}: no node has more than {cpus:g} CPUs")

    def start(self, rank: int) -> "RayWorker":
        """Ask for an actor. A UserError where the head is lost."""
        while not self._head_answers():  # Without it Ray's own call would not come back.
            sleep(1)
        actor = ray.remote(_Actor).options(
            max_restarts=0,
            max_task_retries=0,
            num_cpus=self.threads,
            num_gpus=self.gpus,
            runtime_env=self.environment,
            scheduling_strategy="SPREAD",
        )
        # Ray shows an actor no GPU but its own.
        device = "cuda:0" if self.gpus else "cpu"
        return RayWorker(actor.remote(device, self.threads, self.needed, os.getcwd()))

    def wait(self, workers: Sequence["RayWorker"], seconds: float | None) -> list["RayWorker"]:
        """Wait for messages or deaths; see `Engine`. A UserError where the head is lost."""
        streams = {worker.stream: worker for worker in workers}
        end = None if seconds is None else monotonic() + seconds
        while True:
            left = ASK_SECONDS if end is None else max(0.0, min(ASK_SECONDS, end - monotonic()))
            spoke, _ = ray.wait(list(streams), num_returns=len(streams), timeout=0)
            if not spoke:
                spoke, _ = ray.wait(list(streams), timeout=left)
            if monotonic() - self._asked > ASK_SECONDS:
                self._head_answers()
            if spoke:
                return [streams[stream] for stream in spoke]
            if end is not None and monotonic() >= end:
                return []

    def _head_answers(self) -> bool:
        self._asked = monotonic()
        try:
            self._head.check_alive([], timeout=2)
        except RpcError:
            if self._asked - self._heard < LOST_SECONDS:
                return False
            raise UserError(
                f"--ray: the cluster's head at {self.address} has not answered for"
                f" {LOST_SECONDS:g} s: all that was finished is kept; the same command goes on"
                " once a cluster is there"
            ) from None
        self._heard = self._asked
        return True

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        ray.shutdown()


class RayWorker:
    """A worker that is an actor."""

    def __init__(self, actor: ray.actor.ActorHandle) -> None:
        self.actor = actor
        self.node = "waiting for room"

    def set_up(self, step: Step) -> None:
        """Let it set up a step."""
        self._send(step)

    def send(self, batch: list[Item]) -> None:
        """Let it work."""
        self._send(batch)

    def _send(self, task: Step | list[Item]) -> None:
        reply = self.actor.reply.options(num_returns="streaming")
        self.stream = reply.remote(task)

    def messages(self) -> Iterator[list[Outcome]]:
        """What it has reported by now; see `Worker`."""
        try:
            spoke = True  # It is asked only then.
            while spoke:
                message = ray.get(next(self.stream))
                if isinstance(message, UserError):
                    raise message
                if isinstance(message, str):
                    self.node = message
                else:
                    yield message
                spoke = bool(ray.wait([self.stream], timeout=0)[0])
        except StopIteration:
            return
        except RayTaskError as error:
            raise UserError(f"--ray: a worker cannot work ({_last_line(error)})") from error
        except RayError as error:
            raise WorkerDied(_last_line(error)) from error

    def end(self) -> None:
        """Kill it."""
        ray.kill(self.actor)


class _Actor(StepRunner):
    """A worker, on a node that may have joined after the others were looked at."""

    def __init__(self, device: str, threads: int, needed: Sequence[str], folder: str) -> None:
        super().__init__(device, threads)
        with suppress(OSError):  # A relative path, such as that of a checkpoint, is one of the run.
            os.chdir(folder)
        self.missing = _missing(needed)

    def reply(self, task: Step | list[Item]) -> Iterator[list[Outcome] | UserError | str]:
        if isinstance(task, Step):
            yield socket.gethostname()
        if self.missing:
            yield _lacks(socket.gethostname(), self.missing)
        else:
            yield from self.answer(task)


def _missing(paths: Sequence[str]) -> str:
    return ", ".join(path for path in paths if not os.path.exists(path))


def _lacks(node: str, missing: str) -> UserError:
    return UserError(f"--ray: node {node} lacks {missing}, which all nodes must share")


def _connect(address: str) -> None:
    """Join a cluster as its driver, or start one; raise UserError where that cannot be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings: dict[str, Any] = {}
    if address == "local":
        settings = {"include_dashboard": False, "object_store_memory": 200_000_000}
    else:
        address = _head_that_answers(address)
    end_of_job = signal.getsignal(signal.SIGTERM)
    try:
        # Ray prints on stdout what its daemons say of slow nodes and dead workers, even with
        # log_to_driver=False.
        ray._private.worker._worker_logs_enabled = False
        ray.init(address, configure_logging=False, log_to_driver=False, **settings)
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--ray {address}: {' '.join(str(error).split())}") from error
    finally:
        signal.signal(signal.SIGTERM, end_of_job)  # Ray's own would end the run with a traceback.


def _head_that_answers(address: str) -> str:
    """The host:port of the head; UserError where none answers: Ray itself would wait for minutes,
    or for ever."""
    here = os.environ.get("RAY_ADDRESS") or next(iter(find_gcs_addresses()), "")
    head = here if address == "auto" else address
    if not head:
        raise UserError("--ray auto: no node of a Ray cluster runs on this machine")
    host, _, port = head.rpartition(":")
    try:
        ensure_token_if_auth_enabled(create_token_if_missing=False)
        socket.create_connection((host, int(port)), ASK_SECONDS).close()
        with _silent():
            GcsClient(address=head).check_alive([], timeout=ASK_SECONDS)
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(f"--ray {address}: no Ray cluster answers at {head} ({error})") from None
    except AuthenticationError:
        raise UserError(
            f"--ray {address}: the cluster's token is missing or another one: RAY_AUTH_MODE=token,"
            " and RAY_AUTH_TOKEN_PATH names the file that holds it"
        ) from None
    except RpcError:
        raise UserError(f"--ray {address}: what answers at {head} is no Ray cluster") from None
    return head


@contextmanager
def _silent() -> Iterator[None]:
    """Ray's native code repeats on stderr what it raises."""
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


def _name(node: dict) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeName']})"


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()
