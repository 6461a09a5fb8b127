"""What a run says of itself while it works, and what becomes of it when the run is killed."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from tools.runner.counts import Counts
from tools.runner.progress import RunState, runs_on
from tools.status import Watch
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Table

STEPS = Path(__file__).with_name("toy_steps.py")


@pytest.fixture
def toy(tmp_path):
    """Six numbers, the last of which takes long."""
    dataset = Dataset("toy", tmp_path / "toy")
    deeds = [{}, {}, {"filter": "dull"}, {"fail": "odd: 3"}, {"fail": "odd: 5"}, {"sleep": 60}]
    dataset.table("numbers").write(
        {"video_id": f"v{number}", "number": number, "do": deed}
        for number, deed in enumerate(deeds)
    )
    return dataset


def start(dataset):
    """A run with two workers, once it has finished all but the last number."""
    words = ["toy", "2", "--data_root", dataset.root.parent, "--factor", "3", "--device", "cpu"]
    run = subprocess.Popen(
        [sys.executable, STEPS, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while time.monotonic() < end:
        states = [state for _, state in runs_on(dataset) if state.counts.remaining == 1]
        if states:
            return run, states[0]
        time.sleep(0.1)
    run.kill()
    raise AssertionError("the run has not begun")


def shown(dataset, now):
    console = Console(width=160, file=io.StringIO())
    console.print(Watch(dataset).screen(now))
    return console.file.getvalue()


def test_a_run_tells_others_how_it_stands_and_a_killed_one_is_recognised(toy):
    run, state = start(toy)
    try:
        assert state.counts == Counts(2, {"dull": 1}, {"ValueError: odd": 2}, 1)
        assert state.writes == ["anno/act.jsonl"]
        assert (state.pid, state.engine, state.world_size) == (run.pid, "local", 2)
        assert state.step == "act"
        assert state.nodes == {os.uname().nodename: 2}
        assert state.end(time.time()) == ""
        assert "has not written for 100 s" in state.end(state.seen + 100)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    [(_, state)] = runs_on(toy)
    assert "has ended without a word" in state.end(state.seen)

    toy.table("numbers").write([{"video_id": "v0", "number": 1}])
    words = ["toy", "1", "--data_root", toy.root.parent, "--factor", "3", "--device", "cpu"]
    subprocess.run(
        [sys.executable, STEPS, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=True,
        capture_output=True,
    )
    assert list(runs_on(toy)) == []


def test_the_screen_shows_rates_and_failures_of_runs_on_any_node(dataset):
    videos = [{"video_id": f"v{number}", "video_path": "/v.mp4"} for number in range(1000)]
    dataset.table("init").write(videos)
    part = dataset.table("scene").part()
    part.write_bytes(b"")  # what a run on another machine has appended need not be read
    state = RunState("far", 7, "ray", 8, started=900.0, seen=1000.0, step="scene")
    state.writes = ["anno/scene.jsonl"]  # whatever folder that machine knows the dataset by
    state.counts = Counts(390, {}, {"VideoError: truncated": 10}, 600)
    state.rate, state.nodes = 2.0, {"far": 4, "farther": 4}
    dataset.runs.mkdir()
    (dataset.runs / "videos.json").write_bytes(orjson.dumps(state))
    lines = shown(dataset, now=1010.0).splitlines()
    [row] = [line.split() for line in lines if line.startswith(" scene")]
    assert row[:10] == ["scene", "390", "0", "10", "600", "2", "0:05:00", "8", "far", "farther"]
    assert row[10:] == ["10", "failed:", "VideoError:", "truncated"]
    assert lines[-1].startswith("scene: pid 7 on far, ray, 8 workers, since ")
    assert "1000 videos = 0 kept + 0 filtered + 10 failed + 990 left" in lines

    late = shown(dataset, now=1100.0).splitlines()
    [row] = [line.split() for line in late if line.startswith(" scene")]
    assert row == ["scene", "0", "0", "0", "1000"]
    assert late[-1].endswith("it has not written for 100 s: it is dead, or its node hangs")


def test_what_follows_the_step_at_work_is_not_read_at_each_look(dataset, monkeypatch):
    ids = [{"video_id": f"v{number}"} for number in range(5)]
    dataset.table("init").write(ids)
    dataset.table("scene").write(ids[:3])
    rejected = {"video_id": "v1", "filtered": True, "filter_reason": "too_few_shots"}
    dataset.table("filter_scene").write([ids[0], rejected])
    state = RunState("far", 7, "ray", 8, started=900.0, seen=1000.0, step="scene")
    state.writes = ["anno/scene.jsonl"]
    dataset.runs.mkdir()
    watch, reads = Watch(dataset), []
    index = Table.index
    monkeypatch.setattr(Table, "index", lambda table: (reads.append(table.name), index(table))[1])

    def rows_of_filter_scene(done):
        state.counts = Counts(done, {}, {}, 5 - done)
        (dataset.runs / "videos.json").write_bytes(orjson.dumps(state))
        console = Console(width=160, file=io.StringIO())
        reads.clear()
        console.print(watch.screen(1000.0))
        lines = console.file.getvalue().splitlines()
        return [line.split()[:5] for line in lines if line.startswith(" filter_scene")]

    assert rows_of_filter_scene(3) == [["filter_scene", "1", "1", "0", "1"]]
    assert "scene" in reads
    assert rows_of_filter_scene(5) == [["filter_scene", "1", "1", "0", "3"]]
    assert "scene" not in reads
