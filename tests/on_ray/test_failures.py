"""What dies, hangs, joins or is missing on a Ray cluster, and what becomes of the run."""

import os
import signal
import socket
import threading
import time
from importlib.util import find_spec

import pytest

from tests.on_ray.conftest import (
    free_port,
    hidden,
    meanwhile,
    seconds_until,
    without_ray,
)
from tests.runner.test_workers import ended, lines_of, printed
from tools.runner.progress import runs_on
from tools.store.dataset import Dataset
from tools.store.jsonl import Table

# Not imported here: Ray looks for its token at import, before the cluster's is made.
pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="no Ray here: make test-ray")

SLOW = {f"v{number:02}": (number, {"sleep": 0.3, "sign": True}) for number in range(16)}
ALL = {name: 2 * number for name, (number, _) in SLOW.items()}


def pids(toy):
    return {entry["pid"] for entry in Table(toy.path("act")).read()}


def test_auto_joins_the_head_that_has_answered(machines, monkeypatch):
    from tools.runner import on_ray

    joined = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(on_ray, "find_gcs_addresses", lambda: [machines.address, "127.0.0.1:1"])
    monkeypatch.setattr(on_ray.ray, "init", lambda address, **_: joined.append(address))
    on_ray._connect("auto")
    assert joined == [machines.address]


def test_a_worker_reads_a_relative_path_as_its_run_does(machines, monkeypatch, tmp_path):
    from tools.runner.on_ray import _Actor

    monkeypatch.chdir("/")  # where the node was started
    _Actor("cpu", 1, [], str(tmp_path / "of_another_machine"))
    assert os.getcwd() == "/"
    _Actor("cpu", 1, [], str(tmp_path))
    assert os.getcwd() == str(tmp_path)


# Workers.


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_record_that_kills_two_workers_fails_alone(toy, batch_size):
    toy.give(a=1, b=(2, {"die": 99}), c=3, d=4)
    assert toy.run(2, "--batch_size", batch_size)[1] == ["act: 3 done, 1 failed (worker died)"]
    assert toy.results() == {"a": 2, "c": 6, "d": 8}
    assert toy.failures() == {"b": ("worker died", 2)}


def test_more_workers_than_room_are_as_many_as_there_is_room_for(toy, machines):
    machines.have(1)
    toy.give(**SLOW)
    assert toy.run(3)[1] == ["act: 16 done"]
    assert len(pids(toy)) == 1


def test_the_time_limit_is_a_records_and_not_a_batchs(toy):
    toy.give(a=1, b=(2, {"sleep": 60}), c=3)
    _, out, _ = toy.run(1, "--batch_size", 3, "--time_limit", 2)
    assert out == ["act: 2 done, 1 failed (timed out: not done after 2 s)"]
    assert toy.failures() == {"b": ("timed out: not done after 2 s", 1)}


def test_workers_that_die_at_start_end_the_run_with_their_cause(toy):
    toy.give(a=1)
    code, _, errors = toy.run(1, "--setup", "die")
    assert code == 2
    assert errors[0].startswith("error: step act: worker 0 died 3 times in a row while it was star")


def test_a_mistake_found_in_setup_is_one_line(toy):
    toy.give(a=1)
    assert toy.run(1, "--setup", "mistake") == (2, [], ["error: the weights are not here"])


# Nodes.


def test_a_node_that_hangs_is_given_up(two_nodes, toy):
    toy.give(**SLOW)
    (node,) = two_nodes.others

    def hang():
        seconds_until(lambda: lines_of(toy) >= 2 and len(two_nodes.actors()) == 2)
        two_nodes.signal(node, signal.SIGSTOP)

    with meanwhile(hang):
        assert toy.run(2)[1] == ["act: 16 done"]
    assert toy.results() == ALL
    two_nodes.kill(node)


def nodes_shown(toy):
    """What `tools.status --watch` shows of the run: node -> workers on it."""
    return next((run.nodes for _, run in runs_on(Dataset("mine", toy.root / "mine"))), {})


def test_a_node_that_joins_is_used_and_shown(machines, loopback_only, toy):
    if not loopback_only:
        pytest.skip("two nodes want root and `ip`: Ray listens on every interface")
    machines.have(1)
    toy.give(**{f"v{number}": (number, {"sleep": 0.5, "sign": True}) for number in range(60)})

    def join():
        seconds_until(lambda: nodes_shown(toy) == {socket.gethostname(): 1, "waiting for room": 1})
        machines.join()
        seconds_until(lambda: nodes_shown(toy) == {socket.gethostname(): 2})

    with meanwhile(join):
        assert toy.run(2)[1] == ["act: 60 done"]
    assert len(pids(toy)) == 2


def test_a_killed_nodes_records_are_done_soon_after_ray_notices(two_nodes, toy):
    toy.give(**SLOW)
    (node,) = two_nodes.others
    killed, noticed = [], []

    def kill():
        seconds_until(lambda: lines_of(toy) >= 2 and len(two_nodes.actors()) == 2)
        two_nodes.kill(node)
        killed.append(time.monotonic())
        seconds_until(lambda: node.node_id not in two_nodes.alive())
        noticed.append(time.monotonic())

    with meanwhile(kill):
        assert toy.run(2)[1] == ["act: 16 done"]
        end = time.monotonic()
    assert toy.results() == ALL
    print(f"a killed node: noticed after {noticed[0] - killed[0]:.1f} s,")
    print(f"all done after {end - killed[0]:.1f} s")
    assert end - noticed[0] < 15


# What the user did.


def nothing_written(toy):
    return sorted(path.name for path in toy.root.rglob("*")) == ["anno", "mine", "numbers.jsonl"]


def test_no_cluster_there(toy):
    toy.give(a=1)
    toy.flags = ("--ray", f"127.0.0.1:{free_port()}")
    code, out, (error,) = toy.run(1)
    assert (code, out) == (2, []) and nothing_written(toy)
    assert error.startswith(f"error: --ray {toy.flags[1]}: no Ray cluster answers at ")


def test_another_version_of_ray(toy, monkeypatch):
    toy.give(a=1)
    monkeypatch.setattr("ray.__version__", "2.59.0")
    code, out, (error,) = toy.run(1)
    assert (code, out) == (2, []) and nothing_written(toy)
    assert "Version mismatch" in error and "Ray: 2.60.0" in error and "Ray: 2.59.0" in error


@pytest.mark.parametrize("token", [None, "f" * 64])
def test_a_token_that_is_missing_or_another_one(toy, run_script, token, monkeypatch):
    toy.give(a=1)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(toy.root / "nowhere"))
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    words = ("tests/runner/toy_steps.py", "mine", 1, "--data_root", toy.root, *toy.flags)
    done = run_script(*words, fresh=True)
    code, (_, errors) = done.returncode, printed(done.stdout, done.stderr)
    (error,) = without_ray(errors)
    assert code == 2 and nothing_written(toy)
    assert error.startswith(f"error: --ray {toy.flags[1]}: the cluster's token is missing or anoth")


def test_a_gpu_and_threads_that_no_node_has(toy):
    toy.give(a=1)
    no_gpu = "error: --device cuda: the Ray cluster has no GPU; use --device cpu or auto"
    assert toy.run(1, "--device", "cuda") == (2, [], [no_gpu])
    no_room = "error: --threads 9: no node has more than 1 CPUs"
    assert toy.run(1, "--threads", 9) == (2, [], [no_room])


def test_two_workers_share_a_gpu(machines, loopback_only, toy):
    """The GPU is pretended: Ray counts it, and nobody computes on it."""
    if not loopback_only:
        pytest.skip("two nodes want root and `ip`: Ray listens on every interface")
    machines.have(1)
    machines.join(num_cpus=2, num_gpus=1)
    deeds = {"show_device": True, "sign": True, "sleep": 0.5}
    toy.give(**{f"v{number}": (number, deeds) for number in range(20)})
    too_much = "error: --gpus_per_worker 2: no node has more than 1"
    assert toy.run(1, "--gpus_per_worker", 2) == (2, [], [too_much])
    assert toy.run(2, "--gpus_per_worker", 0.5)[1] == ["act: 20 done"]
    machines.have(1)
    seen = [entry["device"] for entry in Table(toy.path("act")).read()]
    assert seen == [["cuda:0", "0"]] * 20
    assert len(pids(toy)) == 2


def test_a_node_that_lacks_the_videos_is_named(machines, loopback_only, toy, tmp_path):
    if not loopback_only:
        pytest.skip("two nodes want root and `ip`: Ray listens on every interface")
    machines.have(1)
    videos = tmp_path / "clips"
    videos.mkdir()
    (videos / "a.mp4").touch()
    Table(toy.anno / "numbers.jsonl").write(
        [{"video_id": "a", "number": 1, "video_path": str(videos / "a.mp4")}]
    )

    def join():
        with hidden(tmp_path):
            machines.join()

    thread = threading.Thread(target=join)
    thread.start()
    thread.join()
    code, _, (error,) = toy.run(1)
    machines.have(1)
    assert code == 2 and not toy.path("act").exists() and not (toy.root / "mine/.locks").exists()
    name = f"{socket.gethostname()} (127.0.0.1)"
    assert error == f"error: --ray: node {name} lacks {videos}, which all nodes must share"


def test_a_cluster_for_one_run(toy, run_script):
    toy.give(a=1)
    words = ("tests/runner/toy_steps.py", "mine", 1, "--data_root", toy.root, "--ray", "local")
    done = run_script(*words, fresh=True)
    assert (done.returncode, toy.results()) == (0, {"a": 2}), done.stderr


# The driver, and the head. The last test leaves no cluster.


def test_an_interrupted_and_a_killed_run_go_on(toy, machines):
    toy.give(**SLOW)
    done = 0
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        run = toy.start(1)
        seconds_until(lambda done=done: lines_of(toy) > done)
        os.killpg(run.pid, number)
        assert ended(run)[0] == code
        assert seconds_until(lambda: not machines.actors()) < 10
        done = lines_of(toy)
    assert 3 <= done < 16
    assert toy.run(1) == (0, ["act: 16 done"], [])
    assert toy.results() == ALL


def test_a_lost_head_is_one_line(two_nodes, toy):
    toy.give(**{f"v{number}": (number, {"sleep": 0.5}) for number in range(200)})
    run = toy.start(2)
    seconds_until(lambda: lines_of(toy) >= 2)
    two_nodes.kill_head()
    start = time.monotonic()
    code, said, errors = ended(run)
    seconds = time.monotonic() - start
    print(f"a lost head: exit {code} after {seconds:.1f} s")
    assert (code, said) == (2, [])
    (error,) = without_ray(errors)
    assert error.startswith(f"error: --ray: the cluster's head at {two_nodes.address} has not answ")
    assert lines_of(toy) >= 2 and seconds < 60
