import hashlib
import os
import re
import subprocess
import sys
import threading

import numpy as np
import orjson
import pytest

from tools.errors import StorageError, UserError
from tools.store import index
from tools.store.dataset import REPOSITORY
from tools.store.files import Appender, CorruptLine, read_json, replace_atomically, write_json
from tools.store.jsonl import Table, dumps


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path / "scene.jsonl")


def append(table, rank, world_size, *records):
    part = Appender(table.part(rank, world_size))
    for record in records:
        part.append(dumps(record))
    part.close()


def merge(table):
    index = table.index()
    table.merge(index)
    return index


def record(name, **fields):
    return {"video_id": name, **fields}


def digests(folder):
    """Every file under a folder, with a digest of its bytes."""
    return {
        path.relative_to(folder): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_parts_of_any_world_size_become_one_sorted_file(table):
    append(table, 0, 3, record("c"), record("a"))
    append(table, 2, 3, record("d"))
    append(table, 0, 1, record("b"))
    merge(table)
    assert table.path.read_bytes() == (
        b'{"video_id":"a"}\n{"video_id":"b"}\n{"video_id":"c"}\n{"video_id":"d"}\n'
    )
    assert [path.name for path in table.path.parent.iterdir()] == ["scene.jsonl"]


def test_merging_adds_parts_to_what_was_merged_before(table):
    table.write([record("a"), record("c")])
    append(table, 0, 1, record("b"))
    merge(table)
    assert [entry["video_id"] for entry in table.read()] == ["a", "b", "c"]


def test_a_line_is_kept_as_it_was_written(table):
    table.path.write_bytes(b'{"n": 1e3, "video_id": "b"}\n{"video_id":"a","text":"\\u00e9"}\n')
    merge(table)
    assert table.path.read_bytes() == (
        b'{"video_id":"a","text":"\\u00e9"}\n{"n": 1e3, "video_id": "b"}\n'
    )


def test_only_the_table_and_its_parts_are_read(table):
    table.write([record("a")])
    append(table, 1, 2, record("b"))
    for name in (
        "scene.jsonl.filtered",
        "scene.jsonl.0-2.bak",
        "scene.jsonl.0",
        "scene.failed.jsonl",
        "filter_scene.jsonl.0-1",
        "xscene.jsonl.0-1",
        "scenexjsonl.0-1",
        ".scene.jsonl.tmp",
    ):
        table.path.with_name(name).write_bytes(b'{"video_id":"swallowed"}\n')
    assert sorted(entry["video_id"] for entry in table.read()) == ["a", "b"]
    assert sorted(table.index().places) == ["a", "b"]


def test_a_table_of_parts_alone_is_read(table):
    append(table, 0, 2, record("a"))
    assert table.exists()
    assert len(table.index()) == 1


def test_a_table_without_records_is_an_empty_file(table):
    assert not table.exists()
    assert len(merge(table)) == 0
    assert table.path.read_bytes() == b""


def test_a_record_found_twice_counts_once(table):
    append(table, 0, 2, record("a", n=1))
    append(table, 1, 2, record("a", n=1), record("b", n=2))
    assert len(table.index()) == 2
    merge(table)
    assert table.path.read_bytes() == b'{"video_id":"a","n":1}\n{"video_id":"b","n":2}\n'


def test_filtered_records_are_kept_and_listed_once_more(table):
    append(
        table,
        0,
        1,
        record("b", filtered=True, filter_reason="shot_too_long"),
        record("a", filtered=True),
        record("c", filtered=False),
    )
    index = merge(table)
    assert index.kept() == ["c"]
    assert index.filtered == {"a": "no reason recorded", "b": "shot_too_long"}
    assert table.filtered_path.read_bytes() == (
        b'{"video_id":"a","filtered":true}\n'
        b'{"video_id":"b","filtered":true,"filter_reason":"shot_too_long"}\n'
    )
    assert len(table.path.read_bytes().splitlines()) == 3


def test_the_list_of_filtered_records_goes_with_the_last_of_them(table):
    append(table, 0, 1, record("a", filtered=True))
    merge(table)
    table.clear()
    append(table, 0, 1, record("a"))
    merge(table)
    assert not table.filtered_path.exists()


# A torn last line.

THREE = [record("a", text="first"), record("b", text="zweite, größer"), record("c", n=[1, 2])]
MERGED = b"".join(dumps(entry) + b"\n" for entry in THREE)
LAST = len(dumps(THREE[-1]) + b"\n")


@pytest.mark.parametrize("kept", range(LAST + 1))
def test_a_part_torn_at_any_byte_is_completed(table, kept):
    append(table, 0, 2, *THREE)
    part = table.part(0, 2)
    os.truncate(part, len(MERGED) - LAST + kept)

    index = table.index()
    assert ("c" in index) == (kept == LAST)
    assert sorted(index.places)[:2] == ["a", "b"]
    append(table, 0, 2, THREE[-1])
    merge(table)
    assert table.path.read_bytes() == MERGED


@pytest.mark.parametrize("kept", range(LAST + 1))
def test_a_part_torn_at_any_byte_is_completed_by_another_world_size(table, kept):
    append(table, 0, 2, *THREE)
    os.truncate(table.part(0, 2), len(MERGED) - LAST + kept)
    append(table, 0, 1, THREE[-1])
    merge(table)
    assert table.path.read_bytes() == MERGED
    assert table.parts() == []


@pytest.mark.parametrize("kept", range(LAST + 1))
def test_a_merged_file_torn_at_any_byte_is_completed(table, kept):
    """As a copy that broke off leaves it. Without its newline alone, the line is whole."""
    table.path.write_bytes(MERGED[: len(MERGED) - LAST + kept])
    assert ("c" in table.index()) == (kept >= LAST - 1)
    append(table, 0, 1, THREE[-1])
    merge(table)
    assert table.path.read_bytes() == MERGED


def test_zeros_that_a_power_failure_left_at_the_end_are_torn(table):
    append(table, 0, 1, *THREE[:2])
    with open(table.part(0, 1), "ab") as part:
        part.write(bytes(5000))
    append(table, 0, 1, THREE[2])
    merge(table)
    assert table.path.read_bytes() == MERGED


def test_a_hole_that_a_crash_left_in_the_middle_of_a_part_is_torn(table):
    """As over NFS, where later pages may reach the disk before earlier ones."""
    first, second, third = MERGED.splitlines(keepends=True)
    holed = second[:9] + bytes(20) + second[29:]
    table.part().write_bytes(first + holed + third)
    assert sorted(table.index().places) == ["a", "c"]
    append(table, 0, 1, THREE[1])
    merge(table)
    assert table.path.read_bytes() == MERGED


def test_zeros_in_a_merged_file_are_no_torn_end(table):
    table.path.write_bytes(b'{"video_id":"a"}\n\0\0\0\n{"video_id":"c"}\n')
    with pytest.raises(CorruptLine, match=r"scene.jsonl line 2 is not a record"):
        table.index()


# A corrupt line in the middle.


@pytest.mark.parametrize("name", ["scene.jsonl", "scene.jsonl.1-2"])
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"video_id":"b","te', r"unexpected .*, column 20"),
        (b'{"video_id":"b","te{"video_id":"c"}', r"unexpected .*, column 22"),
        (b"garbage", r"unexpected .*, column 1"),
        (b'{"video_id":"b\xff"}', r"str is not valid UTF-8.*, column 1"),
        (b'{"video_id":"b","text":"\xff"}', r"str is not valid UTF-8.*, column 1"),
        (b'{"id":"b"}', "no video_id"),
        (b'["b"]', "no video_id"),
        (b"7", "no video_id"),
    ],
)
def test_a_corrupt_line_is_named_and_nothing_is_overwritten(table, name, line, what):
    append(table, 0, 2, record("d"))
    file = table.path.with_name(name)
    file.write_bytes(b'{"video_id":"a"}\n' + line + b'\n{"video_id":"c"}\n')
    before = digests(table.path.parent)
    message = (
        rf"^{re.escape(str(file))} line 2 is not a record \({what}\): fix or delete that line$"
    )
    with pytest.raises(CorruptLine, match=message):
        merge(table)
    with pytest.raises(CorruptLine, match=message):
        list(table.read())
    assert digests(table.path.parent) == before


def test_empty_lines_are_passed_over_but_counted(table):
    table.path.write_bytes(b'{"video_id":"a"}\n\n  \n{"video_id":"b"\n')
    with pytest.raises(CorruptLine, match=r"scene.jsonl line 4 is not a record"):
        table.index()


# Kills and readers in the middle of a merge.


def test_a_merge_killed_before_the_parts_are_gone_is_completed(table):
    append(table, 0, 2, record("b"))
    append(table, 1, 2, record("a"))
    parts = {path: path.read_bytes() for path in table.parts()}
    merge(table)
    whole = table.path.read_bytes()
    path, content = parts.popitem()
    path.write_bytes(content)
    table.path.with_name(f".scene.jsonl.{os.uname().nodename}.tmp").write_bytes(whole + b"x")
    merge(table)
    assert table.path.read_bytes() == whole
    assert [path.name for path in table.path.parent.iterdir()] == ["scene.jsonl"]


def test_two_processes_of_one_machine_have_stand_ins_of_their_own(tmp_path):
    path = tmp_path / "scan.npz"
    with replace_atomically(path) as ours:
        ours.write(b"ours, ")
        child = os.fork()
        if child == 0:
            with replace_atomically(path) as theirs:
                theirs.write(b"theirs")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert path.read_bytes() == b"theirs"
        ours.write(b"whole")
    assert path.read_bytes() == b"ours, whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("order", ["handed out by workers", "the first one last", "reversed"])
def test_a_merge_holds_few_lines_in_memory_whatever_their_order(table, monkeypatch, order):
    """And it reads each file from its start to its end."""
    monkeypatch.setattr(index, "WAITING_BYTES", 4000)
    entries = [record(f"v{number:04}", text="x" * (number % 90)) for number in range(1000)]
    table.write(entries[::7])
    late = [entry for number, entry in enumerate(entries) if number % 7]
    shuffled = [entry for start in range(0, 900, 8) for entry in late[start : start + 8][::-1]]
    orders = {"reversed": late[::-1], "the first one last": late[1:] + late[:1]}
    append(table, 0, 1, *orders.get(order, shuffled))
    spilled = []
    run = index._scratch_run
    monkeypatch.setattr(index, "_scratch_run", lambda *args: spilled.append(1) or run(*args))
    merge(table)
    assert table.path.read_bytes() == b"".join(dumps(entry) + b"\n" for entry in entries)
    assert [path.name for path in table.path.parent.iterdir()] == ["scene.jsonl"]
    assert bool(spilled) == (order in orders)


def test_a_reader_sees_all_records_while_another_run_merges(tmp_path):
    names = [f"v{number}" for number in range(8)]
    for attempt in range(60):
        table = Table(tmp_path / str(attempt) / "scene.jsonl")
        for rank, name in enumerate(names):
            append(table, rank, 8, record(name))
        other = threading.Thread(target=merge, args=[table])
        other.start()
        while other.is_alive():
            assert sorted(table.index().places) == names
            assert sorted(entry["video_id"] for entry in table.read()) == names
        other.join()


def test_lines_of_a_table_that_was_rewritten_since_are_not_taken_for_its_own(table):
    table.write([record("b"), record("c")])
    index = table.index()
    table.write([record("a"), record("b"), record("c")])
    with pytest.raises(UserError, match=r"scene.jsonl has changed while it was being read"):
        list(index.lines(["b", "c"]))


# Writing.


def test_numbers_of_numpy_are_numbers():
    assert dumps({"a": np.float32(0.5), "b": np.array([1, 2])}) == b'{"a":0.5,"b":[1,2]}'


def test_an_error_in_the_middle_of_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"n": 1})
    with pytest.raises(RuntimeError), replace_atomically(path) as file:
        file.write(b"half of")
        raise RuntimeError
    assert read_json(path) == {"n": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_document_that_is_not_json_is_named(tmp_path):
    path = tmp_path / "dataset.json"
    assert read_json(path) is None
    path.write_text('{"video_dir": ')
    with pytest.raises(CorruptLine, match=r"dataset\.json is not JSON .* fix or delete it"):
        read_json(path)


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*/file/anno/a.jsonl: Not a directory"):
        Table(tmp_path / "file" / "anno" / "a.jsonl").write([record("a")])
    with pytest.raises(StorageError, match=r"cannot write .*/file/a.jsonl.0-1: File exists"):
        Appender(Table(tmp_path / "file" / "a.jsonl").part(0, 1))


APPEND_UNTIL_FULL = """
import resource, sys
from pathlib import Path
from tools.errors import StorageError
from tools.store.files import Appender
from tools.store import jsonl
from tools.store.files import replace_atomically
from tools.store.jsonl import dumps
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
part = Appender(Path(sys.argv[1]))
try:
    for number in range(100):
        part.append(dumps({"video_id": f"v{number:02}", "text": "x" * 20 * number}))
except StorageError as error:
    print(error)
"""


def test_a_record_that_does_not_fit_leaves_none_of_its_bytes(table):
    part = table.part(0, 1)
    command = [sys.executable, "-c", APPEND_UNTIL_FULL, str(part)]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout == (
        f"cannot write {part}: File too large; nothing is torn, free some space"
        " and run the same command again\n"
    )
    lines = part.read_bytes().splitlines(keepends=True)
    assert [orjson.loads(line)["video_id"] for line in lines] == [f"v0{n}" for n in range(9)]
    assert lines[-1].endswith(b"\n")


# Failures.


def test_the_last_failure_of_a_record_counts(table):
    log = Appender(table.failed.path)
    log.append(dumps({"video_id": "a", "step": "scene", "error": "old", "attempts": 1}))
    log.append(dumps({"video_id": "b", "step": "scene", "error": "torn", "attempts": 1}))
    log.append(dumps({"video_id": "a", "step": "scene", "error": "new", "attempts": 2}))
    log.close()
    assert table.failed.read()["a"]["error"] == "new"
    assert table.failed.read()["a"]["attempts"] == 2


def test_a_failure_is_forgotten_once_the_record_is_done(table):
    log = Appender(table.failed.path)
    for name in "cab":
        log.append(dumps({"video_id": name, "step": "scene", "error": "e", "attempts": 1}))
    log.close()
    append(table, 0, 1, record("b"))
    merge(table)
    assert table.failed.path.read_bytes() == (
        b'{"video_id":"a","step":"scene","error":"e","attempts":1}\n'
        b'{"video_id":"c","step":"scene","error":"e","attempts":1}\n'
    )
    append(table, 0, 1, record("a"), record("c", filtered=True))
    merge(table)
    assert not table.failed.path.exists()


def test_a_cleared_table_has_no_records_and_no_lists(table):
    append(table, 0, 2, record("a", filtered=True))
    merge(table)
    append(table, 1, 2, record("b"))
    write_json(table.meta_path, {})
    Appender(table.failed.path).close()
    table.path.with_name("other.jsonl").write_text("")
    table.clear()
    left = sorted(path.name for path in table.path.parent.iterdir())
    assert left == sorted([table.meta_path.name, "other.jsonl"])
