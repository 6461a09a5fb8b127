"""A swift that has been started already: what it is handed, what it hands back, how it ends."""

import json
import os
import subprocess
import time
from importlib.util import find_spec

import psutil
import pytest

from reproduction import jobs

pytestmark = pytest.mark.skipif(find_spec("swift") is None, reason="ms-swift is not installed")

PROGRAM = """
import os, sys, time
end = time.process_time() + 0.3
while time.process_time() < end: pass
print(os.getcwd(), os.environ["COLOUR"], sys.argv[1:])
print(sys.path[:2], any(place.endswith("reproduction") for place in sys.path))
sys.exit(3)
"""
ENDLESS = """
import os, pathlib, time
pathlib.Path("pid").write_text(str(os.getpid()))
time.sleep(600)
"""


def test_a_call_has_the_callers_folder_environment_and_output_and_its_time_is_noted(
    warm_swift, tmp_path
):
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [warm_swift / "swift", tmp_path / "program.py", "a b", "c"],
        env={**os.environ, "COLOUR": "red", "JOB": "train-it", "PYTHONPATH": "/mine"},
        **{"cwd": tmp_path, "capture_output": True, "text": True},
    )
    found = f"{[str(tmp_path), '/mine']} False"  # where it looks for modules, as any Python
    assert (done.returncode, done.stdout) == (3, f"{tmp_path} red ['a b', 'c']\n{found}\n")
    lines = (warm_swift.parent / "served.jsonl").read_text().splitlines()
    [spent] = [line["cpu_s"] for line in map(json.loads, lines) if line["job"] == "train-it"]
    assert 0.3 < spent < 5


def test_a_call_that_is_killed_ends_what_it_has_begun(warm_swift, tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    caller = subprocess.Popen([warm_swift / "swift", tmp_path / "endless.py"], cwd=tmp_path)
    deadline = time.monotonic() + 30
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    begun = psutil.Process(int((tmp_path / "pid").read_text()))
    caller.kill()
    caller.wait()
    begun.wait(10)


def test_a_jobs_seconds_are_those_of_what_was_served_too(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "served_seconds", {"train": 50.0}.get)
    jobs.Runner(tmp_path, 1).job("train", [["true"]])
    assert 50 <= jobs.job_seconds(tmp_path)["train"]["cpu_s"] < 55
