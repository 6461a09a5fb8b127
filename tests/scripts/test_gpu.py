"""The GPU benchmark with tiny models on the CPU; a program in swift's place trains in no time."""

import json
import os
import sys

import pytest

from benchmarks.gpu import read_steps

SWIFT = """#!{python}
import json, pathlib, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
pairs = json.loads(pathlib.Path(value("--dataset")).read_text())
assert words[:3] == ["rlhf", "--rlhf_type", "dpo"] and "--deepspeed" not in words
assert len(pairs) == 6 and pathlib.Path(pairs[0]["videos"][0]).stat().st_size > 1000
assert pathlib.Path(value("--model"), "config.json").is_file()
if {fails}:
    sys.exit("no memory left")
folder = pathlib.Path(value("--output_dir"), "v0-20260101-000000")
folder.mkdir(parents=True)
(folder / "logging.jsonl").write_text({log!r})
"""
# Three steps of 9, 2 and 4 seconds, as swift logs them, and its last line.
LOG = "".join(
    json.dumps(entry) + "\n"
    for entry in (
        {"loss": 1.0, "memory(GiB)": 20.5, "train_speed(s/it)": 9.0},
        {"loss": 1.0, "memory(GiB)": 41.5, "train_speed(s/it)": 5.5},
        {"loss": 1.0, "memory(GiB)": 41.5, "train_speed(s/it)": 5.0},
        {"train_runtime": 15.0, "train_speed(s/it)": 5.0},
    )
)


@pytest.fixture
def measure(run_script, tmp_path):
    """Run the benchmark with tiny models beside a program in swift's place; its table."""

    def run(*words, fails=False):
        program = tmp_path / "swift"
        program.write_text(SWIFT.format(python=sys.executable, log=LOG, fails=fails))
        program.chmod(0o755)
        ended = run_script(
            *("-m", "benchmarks.gpu", "--tiny", "--threads", 1, *words),
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        )
        assert ended.returncode == 0, ended.stderr
        first, *lines = ended.stdout.splitlines()
        assert first.startswith("tiny models on the CPU; torch ")
        return {line[:76].strip(): line[76:].strip() for line in lines}

    return run


def test_every_part_is_measured_with_tiny_models(measure):
    sizes = ("--alone", 2, "--requests", 4, "--batch", 4, "--max_new_tokens", 2, "--repeat", 1)
    table = measure(*sizes, "--steps", 3)
    batched, ratio = table.pop("clip captions, tokens/s in batches of 4 over one at a time").split(
        " = "
    )
    together, alone = map(float, batched.split(" / "))
    assert together > 0 and alone > 0 and float(ratio) > 0
    assert table.pop("the same, vLLM").startswith("not measured: vLLM is not installed here")
    step = "DPO, s a step of 2 pairs, 50000 pixels a video, sdpa"
    assert table.pop(step) == "3.00, peak 41.5 GiB"
    numbers = [float(number) for cell in table.values() for number in cell.split(" / ")]
    assert [line for line in table if line.startswith("flow by ")] == [
        "flow by dis on one CPU thread, s / flow and bridge over the tower",
        "flow by raft_small on one CPU thread, s / flow and bridge over the tower",
        "flow by raft_large on one CPU thread, s / flow and bridge over the tower",
    ]
    assert len(numbers) == 1 + 3 + 2 + 3 * 2 and min(numbers) >= 0


def test_what_cannot_be_trained_says_why(measure):
    table = measure("--parts", "training", "--steps", 3, fails=True)
    step = "DPO, s a step of 2 pairs, 50000 pixels a video, sdpa"
    assert table[step] == "not measured: no memory left"


def test_nothing_is_begun_after_the_minutes_are_over(measure):
    table = measure("--parts", "flow", "--minutes", 1e-6)
    del table["flow, all of it, s"]
    assert table == {"what may be left of this part": "not measured: --minutes are over"}


def test_without_a_gpu_one_line_names_the_choice_that_needs_none(run_script):
    ended = run_script("-m", "benchmarks.gpu")
    assert ended.returncode == 2
    assert ended.stderr == (
        "error: there is no GPU that torch can use; --tiny runs tiny models on the CPU\n"
    )


def test_the_first_step_does_not_count(tmp_path):
    (tmp_path / "logging.jsonl").write_text(LOG)
    assert read_steps(tmp_path / "logging.jsonl") == (3.0, 41.5)
