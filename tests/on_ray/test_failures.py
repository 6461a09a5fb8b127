"""What dies, hangs, joins or is missing on a Ray cluster, and what becomes of the run."""

import os
from importlib.util import find_spec

import pytest

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


def test_a_cheap_step_answers_a_batch_at_a_time_and_its_time_limit_is_still_a_records(toy):
    toy.give(a=1, b=(2, {"sleep": 60}), c=3)
    _, out, _ = toy.run(1, "--batch_size", 3, "--time_limit", 2)
    assert out == ["act: 2 done, 1 failed (timed out: not done after 2 s)"]
    assert toy.failures() == {"b": ("timed out: not done after 2 s", 2)}


def test_workers_that_die_at_start_end_the_run_with_their_cause(toy):
    toy.give(a=1)
    code, _, errors = toy.run(1, "--setup", "die")
    assert code == 2
    assert errors[0].startswith("error: step act: worker 0 died 3 times in a row while it was star")


def test_a_mistake_found_in_setup_is_one_line(toy):
    toy.give(a=1)
    assert toy.run(1, "--setup", "mistake") == (2, [], ["error: the weights are not here"])
