"""Workers that die, hang, or lose their parent, on the steps of toy_steps.py."""

import contextlib
import multiprocessing
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.runner.toy_steps import Act
from tools.runner.processes import Process, _interrupts_held_back
from tools.runner.worker import Item, StepRunner, WorkerDied
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.jsonl import Table

BAR = re.compile(r"\w+: +\d+%\|")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")


class Toy:
    """A dataset of numbers, and runs of toy_steps.py on it."""

    def __init__(self, root, run_script):
        self.root = root
        self.anno = root / "mine" / "anno"
        self.run_script = run_script
        self.runs = []

    def give(self, **numbers):
        """Write `numbers.jsonl`: name=number, or name=(number, deeds)."""
        pairs = {name: n if isinstance(n, tuple) else (n, {}) for name, n in numbers.items()}
        Table(self.anno / "numbers.jsonl").write(
            {"video_id": name, "number": number, "do": deeds}
            for name, (number, deeds) in pairs.items()
        )

    def start(self, world_size, *flags):
        """Start a run in a process group of its own."""
        script = REPOSITORY / "tests" / "runner" / "toy_steps.py"
        words = [sys.executable, script, "mine", world_size, "--data_root", self.root, *flags]
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        run = subprocess.Popen(
            [str(word) for word in words],
            env=env,
            start_new_session=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.runs.append(run)
        return run

    def run(self, world_size, *flags):
        """A run from start to end: (exit code, lines of stdout, lines of stderr but the bar's)."""
        words = ("tests/runner/toy_steps.py", "mine", world_size, "--data_root", self.root, *flags)
        done = self.run_script(*words)
        return done.returncode, *printed(done.stdout, done.stderr)

    def results(self, name="act"):
        """video_id -> number of what a step has made."""
        return {entry["video_id"]: entry["number"] for entry in Table(self.path(name)).read()}

    def failures(self, name="act"):
        failed = Table(self.path(name)).failed.read()
        return {key: (entry["error"], entry["attempts"]) for key, entry in failed.items()}

    def path(self, name):
        return self.anno / f"{name}.jsonl"


@pytest.fixture
def toy(tmp_path, run_script):
    toy = Toy(tmp_path, run_script)
    yield toy
    for run in toy.runs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def ended(run):
    out, err = run.communicate(timeout=60)
    return run.returncode, *printed(out, err)


def printed(out, err):
    """The lines of stdout without what workers print, those of stderr without the bar's."""
    said = [line for line in out.splitlines() if not line.startswith("set up")]
    errors = [line for line in err.splitlines() if line and not BAR.match(line)]
    return said, errors


def processes(group):
    """pid -> command of the living processes of a process group."""
    found = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                state, _, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_text()
    return found


def workers(run):
    return [pid for pid, command in processes(run.pid).items() if "spawn_main" in command]


def wait_until(condition, seconds=20.0):
    """Wait for a condition, and return how long that took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "did not happen"
        time.sleep(0.02)
    return time.monotonic() - start


def lines_of(toy, name="act"):
    """How many records stand in the parts of a table."""
    return sum(part.read_bytes().count(b"\n") for part in Table(toy.path(name)).parts())


def at_work(toy, run, count=1):
    """Wait until so many workers are set up, and give them a moment to take their records."""
    seen = [run.stdout.readline() for _ in range(count)]
    assert all(line.startswith("set up") for line in seen)
    time.sleep(0.2)
    return [int(line.split()[2]) for line in seen]


# How they work.


def test_a_worker_is_spawned_and_uses_the_threads_it_may(toy):
    toy.give(a=(1, {"look_around": True}))
    assert toy.run(1, "--threads", 2)[0] == 0  # Elsewhere here it is 1.
    (record,) = Table(toy.path("act")).read()
    assert record["seen"] == {
        "deaf_to": ["SIGINT", "SIGTERM"],  # It is the parent that ends it.
        "spawned": True,
        "variables": ["2"] * 3,
        "opencv": 2,
        "torch": 2,
    }


def test_a_slow_record_holds_no_other_back(toy):
    quick = {f"b{number}": (number, {"sign": True, "sleep": 0.02}) for number in range(10)}
    toy.give(a=(7, {"sign": True, "sleep": 2}), **quick)
    toy.run(2)
    pids = {entry["video_id"]: entry["pid"] for entry in Table(toy.path("act")).read()}
    assert len({pids[name] for name in quick}) == 1
    assert pids["a"] not in {pids[name] for name in quick}


def test_there_are_no_more_workers_than_batches(toy):
    toy.give(a=(1, {"sign": True, "sleep": 0.5}))
    run = toy.start(3)
    at_work(toy, run)
    assert len(workers(run)) == 1
    assert ended(run)[1] == ["act: 1 done"]


def test_a_large_batch_size_leaves_no_worker_without_work(toy):
    toy.give(**{f"v{number}": (number, {"sign": True, "sleep": 0.1}) for number in range(8)})
    assert toy.run(2, "--batch_size", 100)[0] == 0
    pids = [entry["pid"] for entry in Table(toy.path("act")).read()]
    assert len(set(pids)) == 2


def test_results_do_not_depend_on_world_size_and_batches(toy):
    numbers = {f"v{number:02}": number for number in range(40)}
    files = set()
    for world_size, batch_size in ((1, 1), (2, 7), (3, 32)):
        toy.give(**numbers)
        assert toy.run(world_size, "--batch_size", batch_size)[0] == 0
        files.add(toy.path("act").read_bytes())
        Table(toy.path("act")).clear()
    assert len(files) == 1


# Workers that die.


def test_a_record_whose_worker_died_is_tried_once_more(toy):
    toy.give(a=1, b=(2, {"die": 1}), c=3)
    assert toy.run(1) == (0, ["act: 3 done"], [])
    assert toy.results() == {"a": 2, "b": 4, "c": 6}


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_record_that_kills_two_workers_fails_alone(toy, batch_size):
    toy.give(a=1, b=(2, {"die": 99}), c=3, d=4)
    assert toy.run(1, "--batch_size", batch_size)[:2] == (
        0,
        ["act: 3 done, 1 failed (worker died)"],
    )
    assert toy.results() == {"a": 2, "c": 6, "d": 8}
    assert toy.failures() == {"b": ("worker died", 2)}


def test_the_next_run_retries_what_killed_its_workers_by_itself(toy):
    toy.give(a=1, b=(2, {"die": 2}))
    assert toy.run(1)[1] == ["act: 1 done, 1 failed (worker died)"]
    assert toy.run(1)[1] == ["act: 2 done"]
    assert toy.failures() == {}
    assert toy.run(1)[1] == ["act: nothing to do (2 done)"]


def test_a_worker_killed_at_work_is_replaced(toy):
    toy.give(**{f"v{number}": (number, {"sleep": 0.3}) for number in range(6)})
    run = toy.start(2)
    first, _ = at_work(toy, run, 2)
    os.kill(first, signal.SIGKILL)
    assert ended(run)[:2] == (0, ["act: 6 done"])
    assert toy.results() == {f"v{number}": 2 * number for number in range(6)}


def test_a_worker_killed_while_idle_is_replaced(toy):
    toy.give(a=(1, {"sleep": 1.5, "sign": True}), b=(2, {"sign": True}))
    run = toy.start(2, "--steps", "act", "pass_on")
    both = at_work(toy, run, 2)
    wait_until(lambda: lines_of(toy) == 1)
    (done,) = Table(toy.path("act")).read()
    assert done["video_id"] == "b"
    os.kill(done["pid"], signal.SIGKILL)
    assert ended(run)[:2] == (0, ["act: 2 done", "pass_on: 2 done"])
    assert {entry["pid"] for entry in Table(toy.path("pass_on")).read()} == set(both)


def test_a_worker_that_dies_while_it_starts_costs_no_record_an_attempt(toy):
    toy.give(a=(1, {"die": 1}), b=2)
    assert toy.run(1, "--setup", "die_once") == (0, ["act: 2 done"], [])


@pytest.mark.parametrize("world_size", [1, 2])
def test_workers_that_always_die_at_start_end_the_run(toy, world_size):
    toy.give(a=1, b=2, c=3)
    code, said, errors = toy.run(world_size, "--setup", "die")
    assert (code, said) == (2, [])
    (error,) = errors
    assert error in {
        f"error: step act: worker {rank} died 3 times in a row while it was starting (exit code 7)"
        for rank in range(world_size)
    }
    assert toy.failures() == {}
    assert toy.run(1)[1] == ["act: 3 done"]


def test_a_mistake_found_in_setup_is_one_line(toy):
    toy.give(a=1)
    assert toy.run(1, "--setup", "mistake") == (2, [], ["error: the weights are not here"])


def test_a_step_that_kills_every_worker_ends_the_run(toy):
    toy.give(**{f"v{number}": (1, {"die": 99}) for number in range(5)})
    assert toy.run(1) == (
        2,
        [],
        [
            "error: step act: 4 workers died before one record was finished"
            " (killed by signal 9; out of memory?)"
        ],
    )


def test_many_records_that_kill_do_not_end_the_run_of_a_step_that_works(toy):
    deadly = {f"v{number}": (1, {"die": 99}) for number in range(5)}
    toy.give(a=1, z=2, **deadly)
    assert toy.run(1)[1] == ["act: 2 done, 5 failed (worker died)"]
    assert toy.run(1)[1] == ["act: 2 done, 5 failed (worker died)"]
    assert toy.failures() == {name: ("worker died", 4) for name in deadly}


def test_what_killed_its_workers_comes_last_in_the_next_run(toy):
    toy.give(a=(1, {"die": 99}), b=(2, {"die": 99}), c=3, d=4)
    assert toy.run(1)[0] == 2
    assert toy.run(1)[1] == ["act: 2 done, 2 failed (worker died)"]
    assert toy.results() == {"c": 6, "d": 8}


def test_a_message_that_a_kill_has_cut_short_is_a_death():
    ours, theirs = multiprocessing.Pipe()
    os.write(theirs.fileno(), struct.pack("!i", 1000) + b"the first of a thousand bytes")
    theirs.close()
    ended = multiprocessing.get_context("spawn").Process(target=os._exit, args=(9,))
    ended.start()
    with pytest.raises(WorkerDied, match="exit code 9"):
        list(Process(ended, ours).messages())


# Messages.


@pytest.mark.parametrize(
    ("batch_size", "time_limit", "messages"),
    [(1, None, ["a", "b", "c"]), (3, None, ["abc"]), (3, 60.0, ["a", "b", "c"])],
)
def test_only_a_cheap_step_answers_a_batch_at_a_time(tmp_path, batch_size, time_limit, messages):
    step = Act(Dataset("mine", tmp_path), factor=2, version="1", batch_size=batch_size)
    step.time_limit = time_limit
    worker = StepRunner("cpu", 1)
    assert list(worker.answer(step)) == [[]]
    items = [Item(key, b'{"video_id":"%c","number":1}' % ord(key), ("act",)) for key in "abc"]
    answers = [[outcome.video_id for outcome in answer] for answer in worker.answer(items)]
    assert answers == [list(keys) for keys in messages]


# Records that take too long.


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_record_that_takes_too_long_fails_and_its_worker_is_replaced(toy, batch_size):
    toy.give(a=1, b=(2, {"native": True}), c=3, d=4)
    code, out, _ = toy.run(1, "--time_limit", 1.5, "--batch_size", batch_size)
    assert (code, out[-1]) == (0, "act: 3 done, 1 failed (timed out: not done after 1.5 s)")
    assert toy.results() == {"a": 2, "c": 6, "d": 8}
    assert toy.failures() == {"b": ("timed out: not done after 1.5 s", 1)}


def test_the_time_limit_is_a_records_and_not_a_batchs(toy):
    toy.give(**{name: (1, {"sleep": 0.5}) for name in "abcdef"})
    code, _, _ = toy.run(1, "--time_limit", 1.5, "--batch_size", 6)
    assert (code, len(toy.results())) == (0, 6)


def test_a_record_that_has_timed_out_is_tried_again_only_where_that_is_asked_for(toy):
    toy.give(a=(1, {"sleep": 3}))
    assert toy.run(1, "--time_limit", 1)[0] == 0
    code, *_ = toy.run(1)
    assert (code, toy.results()) == (0, {})
    assert toy.run(1, "--retry_failed")[0] == 0
    assert toy.results() == {"a": 2}


# The parent's end.


def test_resumes_after_interruptions_with_other_world_sizes(toy):
    names = [f"v{number:02}" for number in range(12)]
    toy.give(**{name: (number, {"sleep": 0.1}) for number, name in enumerate(names)})
    for world_size, done in ((1, 2), (3, 6)):
        run = toy.start(world_size)
        wait_until(lambda done=done: lines_of(toy) >= done)
        os.killpg(run.pid, signal.SIGINT)
        assert ended(run)[0] == 130
    before = lines_of(toy)
    assert [part.name for part in Table(toy.path("act")).parts()] == ["act.jsonl.0-1"]
    assert len(toy.results()) == before < 12
    assert toy.run(2)[:2] == (0, ["act: 12 done"])
    assert toy.results() == {name: 2 * number for number, name in enumerate(names)}
    assert Table(toy.path("act")).parts() == []
    lines = toy.path("act").read_text().splitlines()
    assert [line[13:16] for line in lines] == names


INTERRUPTED = ["interrupted: all that was finished is kept; the same command goes on"]


@pytest.mark.parametrize("deed", ["sleep", "native"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ends_soon_when_interrupted_at_work(toy, deed, sent):
    toy.give(a=1, b=(2, {deed: 60}), c=(3, {deed: 60}))
    run = toy.start(2)
    at_work(toy, run, 2)
    start = time.monotonic()
    os.killpg(run.pid, sent)
    code, said, errors = ended(run)
    assert (code, said, errors) == (130, [], INTERRUPTED)
    wait_until(lambda: not processes(run.pid))
    assert time.monotonic() - start < 5
    assert toy.results() == {"a": 2}


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.2])
def test_ends_soon_when_interrupted_while_workers_start(toy, delay):
    toy.give(a=1, b=2, c=3)
    run = toy.start(3, "--setup", "sleep")
    wait_until(lambda: workers(run))
    time.sleep(delay)
    start = time.monotonic()
    os.killpg(run.pid, signal.SIGINT)
    code, _, errors = ended(run)
    assert (code, errors) == (130, INTERRUPTED)
    wait_until(lambda: not processes(run.pid))
    assert time.monotonic() - start < 5


def test_an_interrupt_while_a_worker_is_spawned_is_answered_afterwards():
    """Else a worker could be left that nobody knows of, or be given half of what it needs."""
    reached = False
    with pytest.raises(KeyboardInterrupt), _interrupts_held_back():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        reached = True
    assert reached


def test_a_second_interrupt_changes_nothing(toy):
    toy.give(a=(1, {"sleep": 60}))
    run = toy.start(1)
    at_work(toy, run)
    for _ in range(20):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.002)
    code, _, errors = ended(run)
    assert (code, errors) == (130, INTERRUPTED)


@pytest.mark.parametrize("deed", ["sleep", "native"])
def test_workers_end_with_a_parent_that_was_killed(toy, deed):
    toy.give(a=(1, {deed: 60}), b=(2, {deed: 60}))
    run = toy.start(2)
    at_work(toy, run, 2)
    assert len(workers(run)) == 2
    run.kill()
    assert wait_until(lambda: not processes(run.pid), seconds=5) < 5


def test_workers_that_start_end_with_a_parent_that_was_killed(toy):
    toy.give(a=1, b=2)
    run = toy.start(2, "--setup", "sleep")
    wait_until(lambda: workers(run))
    run.kill()
    assert wait_until(lambda: not processes(run.pid), seconds=5) < 5


def test_a_run_killed_with_its_workers_is_completed(toy):
    toy.give(**{f"v{number}": (number, {"sleep": 0.1}) for number in range(8)})
    run = toy.start(2)
    wait_until(lambda: lines_of(toy) >= 3)
    os.killpg(run.pid, signal.SIGKILL)
    ended(run)
    assert toy.run(1)[:2] == (0, ["act: 8 done"])
    assert toy.results() == {f"v{number}": 2 * number for number in range(8)}
