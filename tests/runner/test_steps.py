"""What the runner promises of every step, shown on the steps of toy_steps.py."""

import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tools.runner.counts import Counts, count, kind_of
from tools.runner.fingerprints import forget
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.files import Appender, read_json, write_json
from tools.store.jsonl import Table, dumps

BAR = re.compile(r"\w+: +\d+%\|")


class Toy:
    """A dataset of numbers, and runs of toy_steps.py on it."""

    def __init__(self, root, run_script):
        self.root = root
        self.anno = root / "mine" / "anno"
        self.run_script = run_script

    def give(self, **numbers):
        """Write `numbers.jsonl`: name=number, or name=(number, deeds)."""
        pairs = {name: n if isinstance(n, tuple) else (n, {}) for name, n in numbers.items()}
        self.table("numbers").write(
            {"video_id": name, "number": number, "do": deeds}
            for name, (number, deeds) in pairs.items()
        )

    def run(self, world_size, *flags, **kwargs):
        """A run: its exit code, stdout's lines, stderr's lines without the bars."""
        words = ("tests/runner/toy_steps.py", "mine", world_size, "--data_root", self.root, *flags)
        done = self.run_script(*words, **kwargs)
        said = [line for line in done.stdout.splitlines() if not line.startswith("set up")]
        errors = [line for line in done.stderr.splitlines() if line and not BAR.match(line)]
        return done.returncode, said, errors

    def table(self, name):
        return Table(self.anno / f"{name}.jsonl")

    def forget_finished(self, *names):
        """Take out of the fingerprints that these tables are finished: they have to be read."""
        for name in names:
            made = read_json(self.table(name).meta_path)
            del made["finished"]
            write_json(self.table(name).meta_path, made)

    def results(self, name="act"):
        """video_id -> number of what a step has made."""
        return {entry["video_id"]: entry["number"] for entry in self.table(name).read()}

    def digests(self, tables=None):
        """name -> (digest, time of change) of every file of the dataset, or of some tables."""
        files = [path for path in self.anno.iterdir() if not path.name.startswith(".")]
        return {
            path.name: (hashlib.sha1(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in files
            if tables is None or path.name.split(".")[0] in tables
        }


@pytest.fixture
def toy(tmp_path, run_script):
    return Toy(tmp_path, run_script)


ALL = ("--steps", "act", "pass_on", "spread")


# Every record ends in one of three ways.


def test_done_filtered_and_failed_add_up(toy):
    toy.give(
        a=1,
        b=(2, {"filter": "dull"}),
        c=(3, {"fail": "boom: 17"}),
        d=(4, {"filter": "dull"}),
        e=(5, {"filter": "long"}),
        f=6,
    )
    code, said, _ = toy.run(2, "--steps", "act", "pass_on")
    assert code == 0
    assert said == [
        "act: 2 done, 2 filtered (dull), 1 filtered (long), 1 failed (ValueError: boom)",
        "pass_on: 2 done",
    ]
    assert toy.table("act").path.read_text() == (
        '{"video_id":"a","number":2,"do":{}}\n'
        '{"video_id":"b","number":2,"do":{"filter":"dull"},"filtered":true,"filter_reason":"dull"}\n'
        '{"video_id":"d","number":4,"do":{"filter":"dull"},"filtered":true,"filter_reason":"dull"}\n'
        '{"video_id":"e","number":5,"do":{"filter":"long"},"filtered":true,"filter_reason":"long"}\n'
        '{"video_id":"f","number":12,"do":{}}\n'
    )
    assert toy.results("pass_on") == {"a": 2, "f": 12}


def test_a_failure_is_recorded_once_with_step_error_and_attempts(toy):
    toy.give(a=1, b=(2, {"fail": "no such file: gone\n"}))
    toy.run(1)
    assert toy.table("act").failed.path.read_text() == (
        '{"video_id":"b","step":"act","error":"ValueError: no such file: gone","attempts":1}\n'
    )


def test_a_failed_record_is_left_alone_until_it_is_to_be_retried(toy):
    toy.give(a=1, b=(2, {"fail_once": "boom"}))
    assert toy.run(1)[1] == ["act: 1 done, 1 failed (ValueError: boom)"]
    assert toy.run(1)[1] == ["act: nothing to do (1 done, 1 failed (ValueError: boom))"]
    toy.forget_finished("act")
    assert toy.run(1)[1] == ["act: 1 done, 1 failed (ValueError: boom)"]
    assert toy.table("act").failed.read()["b"]["attempts"] == 1
    assert toy.run(1, "--retry_failed")[1] == ["act: 2 done"]
    assert not toy.table("act").failed.path.exists()


def test_attempts_add_up_over_runs(toy):
    toy.give(a=(1, {"fail": "boom"}))
    for attempts in (1, 2, 3):
        toy.run(1, "--retry_failed")
        assert toy.table("act").failed.read()["a"]["attempts"] == attempts


def test_a_batch_that_fails_as_a_whole_fails_the_record_alone_that_made_it_fail(toy):
    toy.give(a=1, b=-1, c=3, d=4)
    said = toy.run(1, "--batch_size", 4, *ALL)[1]
    assert re.fullmatch(
        r"spread: 6 done, 2 failed \(ArithmeticError: a negative number in the batch"
        r" \(toy_steps.py:\d+\)\)",
        said[-1],
    )
    assert toy.results("spread_a") == {"a": 2, "c": 6, "d": 8}


def test_counting_needs_no_order():
    table = Table(Path("nowhere.jsonl"))
    index = table.index()
    index.places = dict.fromkeys("abcx", 0)
    index.filtered = {"b": "dull", "x": "dull"}
    failures = {
        "d": {"error": "VideoError: truncated: 1 s of 2 s"},
        "e": {"error": "VideoError: truncated: 3 s of 4 s"},
        "a": {"error": "done since"},
    }
    counts = count("fedcba", index, failures)
    assert counts == Counts(2, {"dull": 1}, {"VideoError: truncated": 2}, 1)
    assert counts.total == 6


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("worker died", "worker died"),
        ("VideoError: truncated: 1.0 s of 9.0 s can be decoded", "VideoError: truncated"),
        ("KeyError: 'fps' (shots.py:3)", "KeyError: 'fps' (shots.py:3)"),
    ],
)
def test_errors_of_one_kind_are_counted_together(error, kind):
    assert kind_of(error) == kind


# The bar.


def test_one_bar_a_step_with_rate_and_time_left(toy, run_script):
    toy.give(a=(1, {"sleep": 0.3}), b=(2, {"filter": "dull"}), c=(3, {"fail": "boom"}))
    done = run_script(
        "tests/runner/toy_steps.py", "mine", 1, "--data_root", toy.root, "--steps", "act", "pass_on"
    )
    bars = [line for line in done.stderr.splitlines() if "100%" in line]
    end = r"\[00:0\d<00:00, +[\d.]+video/s, failed=%d, filtered=%d\]"
    assert len(bars) == 2
    assert re.fullmatch(r"act: 100%\|█+\| 3/3 " + end % (1, 1), bars[0])
    assert re.fullmatch(r"pass_on: 100%\|█+\| 1/1 " + end % (0, 0), bars[1])


def test_a_bar_goes_on_where_the_last_run_stopped(toy, run_script):
    toy.give(a=1, b=2, c=3)
    words = ("tests/runner/toy_steps.py", "mine", 1, "--data_root", toy.root)
    run_script(*words, "--limit", 2)
    assert "act:  67%|██████▋   | 2/3 [00:00<?, ?video/s]\n" in run_script(*words).stderr


# What is done stays done.


def test_a_finished_step_is_not_done_again(toy):
    toy.give(a=1, b=2)
    toy.run(1, *ALL)
    before = toy.digests()
    assert toy.run(3, *ALL) == (
        0,
        [
            "act: nothing to do (2 done)",
            "pass_on: nothing to do (2 done)",
            "spread: nothing to do (4 done)",
        ],
        [],
    )
    toy.forget_finished("act", "pass_on", "spread_a", "spread_b")
    assert toy.run(3, *ALL) == (0, ["act: 2 done", "pass_on: 2 done", "spread: 4 done"], [])
    assert {name: digest for name, (digest, _) in toy.digests().items()} == {
        name: digest for name, (digest, _) in before.items()
    }


def test_new_records_of_the_input_are_picked_up(toy):
    toy.give(b=2)
    toy.run(1, *ALL)
    toy.give(a=1, b=2)
    assert toy.run(1, *ALL)[1] == [
        "act: 2 done",
        "pass_on: 2 done",
        "spread: 4 done",
    ]
    assert list(toy.results("spread_b")) == ["a", "b"]


@pytest.mark.parametrize("edited", [{"a": 1, "b": 2000}, {"a": 1}], ids=["edited", "deleted"])
def test_records_that_were_edited_by_hand_are_noted_once(toy, edited):
    toy.give(a=1, b=2)
    toy.run(1)
    toy.give(**edited)
    note, done = toy.run(1)[1]
    assert note == (
        "note: numbers.jsonl was edited after act was done: what was made of the records as they"
        " were is kept; --redo act makes it again"
    )
    assert done == f"act: {len(edited)} done"
    assert toy.results()["a"] == 2
    assert toy.run(1)[1] == [f"act: nothing to do ({len(edited)} done)"]


def test_the_first_n_records_alone(toy):
    toy.give(c=3, a=1, b=2)
    assert toy.run(1, "--limit", 2)[1] == ["act: 2 done"]
    assert toy.results() == {"a": 2, "b": 4}
    assert toy.run(1)[1] == ["act: 3 done"]


def test_of_several_tables_only_those_that_lack_a_record_get_it(toy):
    toy.give(a=1, b=2)
    toy.run(1, *ALL)
    kept = toy.digests(["spread_a"])
    whole = toy.table("spread_b").path.read_bytes()
    toy.table("spread_b").path.write_bytes(whole.splitlines(keepends=True)[0])
    assert toy.run(1, *ALL)[1][-1] == "spread: 4 done"
    assert toy.digests(["spread_a"]) == kept
    assert toy.table("spread_b").path.read_bytes() == whole


def test_a_table_made_by_other_scripts_is_added_to(toy):
    """Parts of the reference, in its own formatting and without a fingerprint."""
    toy.give(a=1, b=2, c=3)
    theirs = '{"video_id": "b", "number": 400}\n'
    toy.table("act").part(1, 4).write_text(theirs)
    assert toy.run(2)[1] == [
        "act.jsonl: made by other scripts (no fingerprint), kept as it is",
        "act: 3 done",
    ]
    assert toy.results() == {"a": 2, "b": 400, "c": 6}
    assert theirs in toy.table("act").path.read_text()


# As the release before left it: workers had parts of their own, finished steps stood in `.state`.
EARLIER = {
    "anno/act.jsonl.0-2": '{"video_id":"c","number":300}\n',
    "anno/act.jsonl.1-2": '{"video_id":"a","number":100}\n{"video_id":"e","num',
    "anno/act.failed.jsonl": (
        '{"video_id":"d","step":"act","error":"ValueError: boom","attempts":2}\n'
    ),
    "anno/act.meta.json": """{"fingerprint": "a0a0a0a0a0a0a0a0", "step": "act", "build": 1,
        "params": {"factor": 2, "sampling": {"top_k": 1, "twice": 4}},
        "versions": {"av": "0.9", "revision": "1"}, "input": {"numbers": null}}""",
    "anno/pass_on.jsonl": '{"video_id":"a","number":100,"passed":"of old"}\n',
    "anno/pass_on.meta.json": """{"fingerprint": "b1b1b1b1b1b1b1b1", "step": "pass_on", "build": 1,
        "params": {"suffix": "!"}, "versions": {"revision": "1"},
        "input": {"act": "a0a0a0a0a0a0a0a0"}}""",
    ".state/act.json": """{"fingerprint": "a0a0a0a0a0a0a0a0", "input": [1, 1],
        "output": {"act": [1, 1]}, "done": 2, "filtered": {}, "failed": {}, "remaining": 3}""",
}


def test_a_folder_of_an_earlier_release_loses_nothing(toy):
    toy.give(a=1, b=2, c=3, d=(4, {"fail": "boom"}), e=5)
    (toy.root / "mine" / ".state").mkdir()
    for name, content in EARLIER.items():
        (toy.root / "mine" / name).write_text(content)
    flags = ("--steps", "act", "pass_on")
    note = "note: act was made with av 0.9, this run has av 1.0"
    act = "4 done, 1 failed (ValueError: boom)"
    assert toy.run(2, *flags) == (0, [note, f"act: {act}", "pass_on: 4 done"], [])
    assert toy.results() == {"a": 100, "b": 4, "c": 300, "e": 10}
    assert toy.table("act").failed.read()["d"]["attempts"] == 2
    passed = {entry["video_id"]: entry["passed"] for entry in toy.table("pass_on").read()}
    assert passed == {"a": "of old", "b": "4!", "c": "300!", "e": "10!"}
    assert toy.table("act").parts() == []
    nothing = [note, f"act: nothing to do ({act})", "pass_on: nothing to do (4 done)"]
    assert toy.run(2, *flags)[1] == nothing


# Torn and corrupt files.


@pytest.mark.parametrize("kept", [0, 1, 20, -2, -1])
def test_a_torn_last_line_is_done_again(toy, kept):
    toy.give(a=1, b=2, c=3)
    toy.run(1)
    whole = toy.table("act").path.read_bytes()
    first, second, third = whole.splitlines(keepends=True)
    toy.table("act").path.unlink()
    toy.table("act").part(0, 1).write_bytes(third + first + second[:kept])
    assert toy.run(2)[1] == ["act: 3 done"]
    assert toy.table("act").path.read_bytes() == whole


@pytest.mark.parametrize(
    "name", ["numbers.jsonl", "act.jsonl", "act.jsonl.0-1", "act.failed.jsonl"]
)
def test_a_corrupt_line_in_the_middle_stops_the_run_before_it_writes(toy, name):
    toy.give(a=1, b=2, c=3, d=(4, {"fail": "boom"}))
    toy.run(1)
    toy.give(a=1, b=2, c=3, d=(4, {"fail": "boom"}), e=5)
    lines = [dumps({"video_id": name, "error": "", "number": 0}) for name in "abd"]
    lines[1] = lines[1][:-3]
    (toy.anno / name).write_bytes(b"\n".join(lines) + b"\n")
    before = toy.digests()
    code, said, (error,) = toy.run(2)
    assert (code, said) == (2, [])
    assert error.startswith(f"error: {toy.anno / name} line 2 is not a record (")
    assert error.endswith("): fix or delete that line")
    assert toy.digests() == before


# Fingerprints.


def test_other_parameters_are_refused(toy):
    toy.give(a=1)
    toy.run(1)
    before = toy.digests()
    message = (
        "act.jsonl was made with factor=2, sampling.twice=4, this run has factor=3,"
        " sampling.twice=6: give the old values, or rebuild with --redo act"
    )
    assert toy.run(1, "--factor", 3) == (2, [], [f"error: {message}"])
    assert toy.digests() == before


def test_another_revision_of_the_step_is_refused(toy):
    toy.give(a=1)
    toy.run(1)
    made = read_json(toy.table("act").meta_path)
    write_json(toy.table("act").meta_path, made | {"versions": {"revision": "0"}})
    code, said, (error,) = toy.run(1)
    assert (code, said) == (2, [])
    assert "act.jsonl was made with revision=0, this run has revision=1" in error


def test_another_version_of_a_library_is_shown_and_refuses_nothing(toy):
    toy.give(a=1)
    toy.run(1, "--steps", "act", "pass_on")
    toy.give(a=1, b=2)
    note = "note: act was made with av 1.0, this run has av 1.1"
    assert toy.run(1, "--steps", "act", "pass_on", "--version", "1.1") == (
        0,
        [note, "act: 2 done", "pass_on: 2 done"],
        [],
    )
    assert read_json(toy.table("act").meta_path)["versions"]["av"] == "1.0"


def test_of_nested_parameters_the_one_that_differs_is_named(toy):
    toy.give(a=1)
    toy.run(1)
    meta = toy.table("act").meta_path
    meta.write_text(meta.read_text().replace('"twice": 4', '"twice": 5'))
    assert "was made with sampling.twice=5, this run has sampling.twice=4:" in toy.run(1)[2][0]


def test_parameters_are_checked_before_the_first_step_runs(toy):
    toy.give(a=1)
    toy.run(1, *ALL)
    toy.give(a=1, b=2)
    code, said, errors = toy.run(1, *ALL, "--suffix", "?")
    assert (code, said) == (2, [])
    assert errors == [
        "error: pass_on.jsonl was made with suffix=!, this run has suffix=?: give the old value,"
        " or rebuild with --redo pass_on"
    ]
    assert toy.results() == {"a": 2}


def test_redo_rebuilds_a_step_and_all_after_it(toy):
    toy.give(a=1, b=2)
    toy.run(1, *ALL)
    kept = toy.digests(["numbers", "act"])
    assert toy.run(2, *ALL, "--redo", "pass_on", "--suffix", "?")[1] == [
        "act: nothing to do (2 done)",
        "pass_on: 2 done",
        "spread: 4 done",
    ]
    assert toy.digests(["numbers", "act"]) == kept
    assert [entry["passed"] for entry in toy.table("pass_on").read()] == ["2?", "4?"]
    assert toy.run(2, *ALL, "--suffix", "?")[1][-1] == "spread: nothing to do (4 done)"


def test_redo_of_what_shaped_the_failures_forgets_them(toy):
    toy.give(a=(1, {"fail_once": "boom"}))
    toy.run(1)
    assert toy.run(1, "--redo", "act")[1] == ["act: 1 done"]


def test_redo_of_no_step_is_one_line_and_deletes_nothing(toy):
    toy.give(a=1)
    toy.run(1, *ALL)
    before = toy.digests()
    message = "error: --redo atc: the steps here are act, pass_on, spread; did you mean 'act'?"
    assert toy.run(1, *ALL, "--redo", "atc") == (2, [], [message])
    assert toy.digests() == before


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--limit", "1"), "error: --redo act deletes what was made of all videos, --limit 1"),
        (("--device", "cuda"), "error: --device cuda: no GPU that torch can use is here"),
    ],
)
def test_redo_deletes_nothing_where_it_could_not_be_made_again(toy, flags, line, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    toy.give(a=1, b=2)
    toy.run(1)
    before = toy.digests()
    code, said, (error,) = toy.run(1, "--redo", "act", *flags)
    assert (code, said) == (2, [])
    assert error.startswith(line)
    assert toy.digests() == before


def test_redo_deletes_nothing_where_an_earlier_step_is_refused(toy):
    toy.give(a=1)
    toy.run(1, *ALL)
    before = toy.digests()
    code, _, (error,) = toy.run(1, *ALL, "--redo", "pass_on", "--factor", 3)
    assert code == 2
    assert error.endswith("rebuild with --redo act")
    assert toy.digests() == before


def test_redo_deletes_the_last_step_first(toy):
    """So that one that breaks off leaves no step behind that was made from what is gone."""
    toy.give(a=1)
    toy.run(1, *ALL)
    kept = toy.digests(["act"])
    toy.table("pass_on").failed.path.mkdir()
    assert toy.run(1, *ALL, "--redo", "act")[0] == 1
    assert toy.digests(["act"]) == kept
    assert not toy.table("spread_a").exists()


def test_tables_made_from_what_has_changed_since_are_refused(toy):
    toy.give(a=1)
    toy.run(1, "--steps", "act")
    toy.run(1, "--steps", "pass_on")
    toy.run(1, "--steps", "act", "--redo", "act", "--factor", 5)
    before = toy.digests()
    message = (
        "error: pass_on.jsonl is out of date: act.jsonl has been rebuilt since; run again with"
        " --redo pass_on"
    )
    assert toy.run(1, "--steps", "pass_on") == (2, [], [message])
    assert toy.digests() == before
    toy.run(1, "--steps", "pass_on", "--redo", "pass_on")
    assert toy.results("pass_on") == {"a": 5}


def test_a_redo_that_was_killed_half_way_is_made_good(toy, monkeypatch):
    """However few of its files --redo has deleted by then: no old record lives on."""
    for deleted in range(4):
        toy.give(a=1, b=(2, {"filter": "dull"}), c=(3, {"fail": "boom"}))
        assert toy.run(1)[0] == 0
        log = Appender(toy.table("act").part(0, 2))
        log.append(dumps({"video_id": "z", "number": 9}))
        log.close()
        files = iter(range(deleted))

        def unlink(path, missing_ok=False, files=files):
            next(files)
            if path.exists() or not missing_ok:
                os.unlink(path)

        with monkeypatch.context() as patch, suppress(StopIteration):
            patch.setattr(Path, "unlink", unlink)
            forget(toy.table("act"))
        assert toy.run(1)[0] == 0
        assert {entry["video_id"] for entry in toy.table("act").read()} == {"a", "b"}
        toy.table("act").clear()


def test_what_was_made_from_an_earlier_build_is_refused_though_the_parameters_are_equal(toy):
    toy.give(a=1)
    toy.run(1, "--steps", "act")
    toy.run(1, "--steps", "pass_on")
    assert toy.run(1, "--steps", "act", "--redo", "act")[0] == 0
    refused = toy.run(1, "--steps", "pass_on")
    assert refused[0] == 2
    assert "pass_on.jsonl is out of date: act.jsonl has been rebuilt since" in refused[2][0]


def test_the_whole_chain_before_a_step_is_looked_at(toy):
    toy.give(a=1)
    for step in ("act", "pass_on", "spread"):
        assert toy.run(1, "--steps", step)[0] == 0
    toy.run(1, "--steps", "act", "--redo", "act")
    refused = toy.run(1, "--steps", "spread")
    assert refused[0] == 2
    assert "pass_on.jsonl is out of date: act.jsonl has been rebuilt since" in refused[2][0]


# One run at a time.


def test_a_second_run_on_the_same_step_is_one_line(toy):
    toy.give(a=(1, {"sleep": 5}))
    command = [
        sys.executable,
        "tests/runner/toy_steps.py",
        "mine",
        "1",
        "--data_root",
        str(toy.root),
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as first:
        assert first.stdout.readline().startswith(b"set up")
        code, said, (error,) = toy.run(1)
        assert (code, said) == (2, [])
        assert re.fullmatch(
            rf"error: another run is working on act of mine \(pid {first.pid} on .+ since"
            r" \d{4}-\d\d-\d\d \d\d:\d\d\): wait for it or stop it",
            error,
        )
        assert "nothing to do for pass_on" in toy.run(1, "--steps", "pass_on")[2][0]
    assert toy.results() == {"a": 2}
    assert toy.run(1)[0] == 0


# Disks that refuse.


def limited(size):
    """For the child: no file may grow beyond `size` bytes, as on a disk that is full."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


THIRTY = {f"v{number:02}": number for number in range(30)}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory, run_script):
    """The bytes of `act` and `pass_on` of THIRTY."""
    toy = Toy(tmp_path_factory.mktemp("unbroken"), run_script)
    toy.give(**THIRTY)
    toy.run(1, "--steps", "act", "pass_on")
    return [toy.table(name).path.read_bytes() for name in ("act", "pass_on")]


@pytest.mark.parametrize("size", [0, 100, 700, 1000, 1400, 1600])
def test_a_full_disk_is_one_line_and_tears_nothing(toy, unbroken, size):
    toy.give(**THIRTY)
    steps = ("--steps", "act", "pass_on")
    code, _, errors = toy.run(2, *steps, preexec_fn=limited(size))
    assert code == 2
    (error,) = errors
    assert re.fullmatch(
        rf"error: cannot write {toy.root}/mine/\S+: File too large; nothing is torn, free some"
        r" space and run the same command again",
        error,
    )
    for path in (path for path in toy.anno.iterdir() if "jsonl" in path.name):
        assert path.read_bytes()[-1:] in (b"", b"\n")
        assert not path.name.endswith(".tmp")
    assert toy.run(2, *steps)[0] == 0
    assert [toy.table(name).path.read_bytes() for name in ("act", "pass_on")] == unbroken


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_disk_that_is_really_full(small_disk, run_script):
    toy = Toy(small_disk, run_script)
    toy.give(**{f"v{number:02}": number for number in range(100)})
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - 16384))
    code, _, (error,) = toy.run(2, "--steps", "act", "pass_on")
    assert code == 2
    assert "No space left on device; nothing is torn" in error
    ballast.unlink()
    assert toy.run(2, "--steps", "act", "pass_on")[1] == ["act: 100 done", "pass_on: 100 done"]
    assert toy.results("pass_on") == {f"v{number:02}": 2 * number for number in range(100)}


@pytest.fixture
def read_only(tmp_path, run_script):
    """A toy on a disk mounted read-only where the tests run as root, else in a read-only folder."""
    toy = Toy(tmp_path / "disk", run_script)
    toy.root.mkdir()
    if os.geteuid():
        toy.give(a=1)
        toy.root.joinpath("mine").chmod(0o555)
        yield toy
        toy.root.joinpath("mine").chmod(0o755)
        return
    mount = ["mount", "-t", "tmpfs", "tmpfs", toy.root]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("root can write everywhere, and may not mount here")
    toy.give(a=1)
    subprocess.run(["mount", "-o", "remount,ro", toy.root], check=True)
    yield toy
    subprocess.run(["umount", "--lazy", toy.root], check=True)


def test_a_data_root_that_must_not_be_written_to_is_one_line(read_only):
    code, said, (error,) = read_only.run(1)
    assert (code, said) == (2, [])
    assert re.fullmatch(
        rf"error: cannot write {read_only.root}/mine/.locks/act.lock:"
        r" (Read-only file system|Permission denied)",
        error,
    )


def test_a_data_root_that_is_a_file_is_one_line(tmp_path, run_script):
    (tmp_path / "file").write_text("in the way")
    code, said, (error,) = Toy(tmp_path / "file", run_script).run(1)
    assert (code, said) == (2, [])
    assert error.startswith(f"error: cannot write {tmp_path}/file/mine/.locks/act.lock: ")


def test_the_key_of_a_lock_names_the_output(tmp_path):
    from tools.runner.run import lock_key

    dataset = Dataset("mine", tmp_path / "mine")
    assert lock_key(dataset, "scene", [dataset.table("scene")]) == "scene"
    captions = [dataset.table("clip_captions_dryrun")]
    assert lock_key(dataset, "captions", captions) == "clip_captions_dryrun"
    responses = [dataset.responses("dryrun", name, 1) for name in ("a", "b")]
    assert lock_key(dataset, "responses", responses) == "dpo-dryrun-iter_1-responses"
