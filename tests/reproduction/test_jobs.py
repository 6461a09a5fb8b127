"""Jobs: what runs, what is left out, and what is ended."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from reproduction.jobs import JobFailed, Runner, job_seconds
from tools.store.dataset import REPOSITORY


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path / "logs", workers=2)


def program(code):
    return [[sys.executable, "-c", code]]


def append(path, word):
    return program(f"open({str(path)!r}, 'a').write({word!r})")


def test_the_commands_of_a_job_end_with_the_first_that_fails(runner, tmp_path):
    commands = [*append(tmp_path / "out", "x"), *program("raise SystemExit(3)")]
    with pytest.raises(JobFailed):
        runner.job("both", [*commands, *append(tmp_path / "out", "y")])
    assert (tmp_path / "out").read_text() == "x"


def test_a_job_is_run_once_and_whoever_asks_later_waits_for_it(runner, tmp_path):
    out = tmp_path / "out"
    slow = program(f"import time; time.sleep(0.3); open({str(out)!r}, 'a').write('a')")
    seen = []

    def ask():
        runner.job("slow", slow)
        seen.append(out.read_text())

    assert runner.each([("first", ask), ("second", ask)]) == []
    assert seen == ["a", "a"]


def test_a_failure_costs_what_needs_it_and_nothing_else(runner, tmp_path, capsys):
    bad = program("print('fine'); raise SystemExit('error: no such thing')")

    def needs_bad():
        runner.job("bad", bad)
        runner.job("lost", append(tmp_path / "lost", "x"))

    tasks = [
        ("bad", lambda: runner.job("bad", bad)),
        ("lost", needs_bad),
        ("good", lambda: runner.job("good", append(tmp_path / "good", "x"))),
    ]
    assert sorted(runner.each(tasks)) == ["bad", "lost"]
    log = tmp_path / "logs" / "bad.log"
    bad_line, good_line = sorted(capsys.readouterr().out.splitlines())
    assert bad_line == f"bad: failed: error: no such thing (all of it in {log})"
    assert good_line.startswith("good: ")
    assert (tmp_path / "good").exists() and not (tmp_path / "lost").exists()


def test_as_many_run_at_once_as_there_are_workers(runner):
    both = threading.Barrier(2, timeout=10)
    assert runner.each([("one", both.wait), ("other", both.wait)]) == []


def test_a_bug_is_no_failed_job(runner):
    with pytest.raises(ZeroDivisionError):
        runner.each([("bug", lambda: 1 / 0)])


def test_a_command_has_one_thread_and_the_job_s_settings(runner, tmp_path):
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['SEED'])"
    runner.job("settings", program(code), {"SEED": "3"})
    assert (tmp_path / "logs" / "settings.log").read_text().splitlines()[1] == "1 3"


def test_seconds_are_kept_over_all_tries_and_a_torn_line_is_passed_over(runner, tmp_path):
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    for again in (runner, Runner(tmp_path / "logs", 1)):
        again.job("burn", program(burn))
    with open(tmp_path / "logs" / "jobs.jsonl", "a") as file:
        file.write('{"job": "bu')
    seconds = job_seconds(tmp_path / "logs")["burn"]
    assert 0.4 <= seconds["cpu_s"] < 4
    assert seconds["wall_s"] >= 0.4


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_ended_ends_what_it_started(tmp_path, sent):
    """The child outlives a signal to the driver alone, unless the driver ends it."""
    driver = f"""
import sys
from pathlib import Path
from reproduction.jobs import Runner
from tools.cli import run_script
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
runner = Runner(Path({str(tmp_path)!r}), 1)
task = lambda: runner.job("sleep", [[sys.executable, "-c", code]] * 2)
run_script(lambda: runner.each([("a", task), ("b", task)]))
"""
    words = [sys.executable, "-c", driver]
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "sleep.log"
        while not (log.exists() and log.read_text().splitlines()[1:]):
            time.sleep(0.05)
        process.send_signal(sent)
        assert "interrupted: all that was finished is kept" in process.communicate(timeout=20)[1]
    assert len(log.read_text().splitlines()) == 2  # The second command was not begun.
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[-1]), 0)
