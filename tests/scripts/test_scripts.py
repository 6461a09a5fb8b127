"""The scripts as a user meets them on the command line."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.cli import new_folder
from tools.store.dataset import REPOSITORY

SCRIPTS = [
    ["preprocess.py"],
    ["generate_meta_data.py"],
    ["generate_dpo_data.py"],
    ["convert_to_swift.py"],
    ["-m", "tools.status"],
    ["-m", "toyworld"],
    ["evaluate_model.py"],
    ["-m", "reproduction.toyvl"],
    ["-m", "reproduction.temple.run"],
    ["-m", "reproduction.temple.rows"],
    ["-m", "reproduction.temple.report"],
]
LIGHT = ("--shot_detector", "adaptive", "--embedder", "color")


def refused(done):
    """The one line of a run that was refused."""
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def flags(manual):
    """flag -> its help, the title of its group and what it takes, out of a `--help`."""
    found = {}
    group = ""
    for line in manual.partition("\noptions:\n")[2].splitlines():
        if title := re.fullmatch(r"(\S.*):", line):
            group = title[1]
        elif flag := re.fullmatch(r"  (?:-\w, )?(--\w+)( \S.*?)?(?: {2,}(.*))?", line):
            name, value = flag[1], flag[2]
            found[name] = [flag[3] or "", group, value]
        elif line.startswith(" " * 20):
            found[name][0] += " " + line.strip()
    return found


@pytest.mark.parametrize("script", SCRIPTS, ids=" ".join)
def test_help_is_a_manual(run_script, script):
    # Started as a user does where that is quick: what is imported must say nothing.
    is_quick = not script[-1].startswith("reproduction")
    done = run_script(*script, "--help", env={"COLUMNS": "100"}, fresh=is_quick)
    assert (done.returncode, done.stderr) == (0, "")
    name = script[-1]
    assert f"python {'-m ' if script[0] == '-m' else ''}{name}" in done.stdout
    usage = done.stdout.partition("\n\n")[0]
    for flag, (text, group, value) in flags(done.stdout).items():
        assert len(text.split()) >= 3, f"{flag} says nothing"
        if value and f"[{flag} " in usage:
            assert "default" in text + group, f"{flag}: what is its default?"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["preprocess.py", "other", 1],
            "dataset 'other' is not known; known by name: lv178k_1_2m_ytb, lv178k_2_3m_ytb, mine;"
            " for a folder of your own add --video_dir DIR",
        ),
        (
            ["generate_meta_data.py", 1, "--dataset", "other", "--model", "dryrun"],
            "no dataset 'other' in ROOT; there are: mine",
        ),
        (
            ["generate_dpo_data.py", "other", 1, "--model", "dryrun"],
            "no dataset 'other' in ROOT; there are: mine",
        ),
        (
            ["convert_to_swift.py", "dryrun", 16, "--dataset", "other"],
            "no dataset 'other' in ROOT; there are: mine",
        ),
        (["-m", "tools.status", "other"], "no dataset 'other' in ROOT; there are: mine"),
        (
            ["generate_dpo_data.py", "mine", 1, "--model", "dryrun"],
            "mine has no clip captions by dryrun (there are: none yet): run generate_meta_data.py 1"
            " --dataset mine --model dryrun first",
        ),
        (
            ["generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun"],
            "ROOT/mine/anno/videos.jsonl is not there: run preprocess.py mine first",
        ),
        (
            ["preprocess.py", "../mine", 1],
            "dataset name '../mine': use letters, digits, '.', '_' and '-' only, 100 at most",
        ),
        (
            ["preprocess.py", "mine", 1, "--video_dir", "/no/such/folder"],
            "--video_dir /no/such/folder: no such folder",
        ),
        (
            ["preprocess.py", "mine", 1, "--redo", "scenes"],
            "--redo scenes: the steps here are scene, filter_scene, similarity, group,"
            " filter_group, extract_frame, finalize; did you mean 'scene'?",
        ),
        (
            ["preprocess.py", "mine"],
            "the following arguments are required: world_size (--help explains all flags)",
        ),
        (
            ["preprocess.py", "mine", 0],
            "argument world_size: '0' is not a whole number of 1 or more"
            " (--help explains all flags)",
        ),
        (
            ["preprocess.py", "mine", 1, "--embedder", "sigclip"],
            "argument --embedder: invalid choice: 'sigclip' (choose from 'siglip', 'clip',"
            " 'color'); did you mean 'siglip'? (--help explains all flags)",
        ),
        (
            ["preprocess.py", "mine", 1, "--embeder", "color"],
            "unrecognized arguments: --embeder color; did you mean '--embedder'?"
            " (--help explains all flags)",
        ),
        (
            ["-m", "tools.status", "--dataset", "mein"],
            "no dataset 'mein' in ROOT; there are: mine; did you mean 'mine'?",
        ),
        (
            ["preprocess.py", "--dataset", "mien", 1],
            "dataset 'mien' is not known; known by name: lv178k_1_2m_ytb, lv178k_2_3m_ytb, mine;"
            " for a folder of your own add --video_dir DIR; did you mean 'mine'?",
        ),
        (
            ["-m", "tools.status", "mine", "--dataset", "other"],
            "unrecognized arguments: mine (--help explains all flags)",
        ),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_with_the_names_there_are(
    run_script, tiny_videos, tmp_path, words, line
):
    (tmp_path / "mine").mkdir()
    remembered = json.dumps({"video_dir": str(tiny_videos)})
    (tmp_path / "mine" / "dataset.json").write_text(remembered)
    done = run_script(*words, "--data_root", tmp_path)
    assert refused(done) == line.replace("ROOT", str(tmp_path))


@pytest.mark.parametrize("script", ["generate_meta_data.py", "generate_dpo_data.py"])
def test_a_wrong_model_is_answered_with_the_models_there_are(run_script, tmp_path, script):
    (tmp_path / "mine" / "anno").mkdir(parents=True)
    (tmp_path / "mine" / "anno" / "videos.jsonl").touch()
    words = (script, 1, "--dataset", "mine", "--model", "dryrum")
    done = run_script(*words, "--data_root", tmp_path)
    line = refused(done)
    assert line.startswith("unknown model 'dryrum'; the models are: dryrun, qwen2vl7b,")
    assert line.endswith("; did you mean 'dryrun'?")


def test_a_dataset_that_nobody_named_is_printed(run_script, tmp_path):
    done = run_script("generate_meta_data.py", 1, "--model", "dryrun", "--data_root", tmp_path)
    assert done.stdout == "no --dataset given: using lv178k_1_2m_ytb\n"
    assert refused(done).startswith("no dataset 'lv178k_1_2m_ytb' in ")


def test_an_unknown_dataset_is_refused_before_a_model_is_looked_for(run_script, tmp_path):
    words = ("generate_dpo_data.py", "--dataset", "mine", 1, "--model", "no/such-model")
    assert refused(run_script(*words, "--data_root", tmp_path)).startswith("no dataset 'mine' in ")


def test_a_run_that_cannot_begin_leaves_no_dataset(run_script, tmp_path, make_video):
    (tmp_path / "empty").mkdir()
    words = ("preprocess.py", "mine", 1, "--data_root", tmp_path / "data", *LIGHT)
    assert "no video in it" in refused(run_script(*words, "--video_dir", tmp_path / "empty"))
    assert not (tmp_path / "data" / "mine").exists()

    # What a run has begun with stays for the next one.
    make_video(tmp_path / "videos" / "a.mp4", [("beach", 30)])
    assert run_script(*words, "--video_dir", tmp_path / "videos").returncode == 2
    assert (tmp_path / "data" / "mine" / "anno" / "scene.jsonl").exists()


FEW_SHOTS = (
    "as too_few_shots; --min_shots sets the limit: give less with --redo filter_scene; footage in"
    " one take can be cut into pieces: --shot_detector fixed --redo scene"
)


def test_a_step_that_is_given_nothing_says_why_and_writes_nothing(run_script, make_video, tmp_path):
    """Two videos of a single take; stage 1 and then stage 2 have nothing to go on with."""
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / "videos" / name, [("beach", 30)])
    words = ("preprocess.py", "--dataset", "mine", 1, "--video_dir", tmp_path / "videos", *LIGHT)
    reason = (
        "nothing to do for similarity: no video of filter_scene.jsonl was kept; 2 of 2 were"
        f" filtered, 2 {FEW_SHOTS}"
    )
    for _ in range(2):  # the second run, too
        done = run_script(*words, "--data_root", tmp_path)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"error: {reason}")
    made = {path.name.split(".")[0] for path in (tmp_path / "mine" / "anno").iterdir()}
    assert made == {"init", "files", "scene", "filter_scene"}  # a similarity.meta.json neither
    stage_two = ("generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun")
    line = refused(run_script(*stage_two, "--data_root", tmp_path))
    assert "nothing to do for raw_captions: no video of videos.jsonl was kept" in line


def test_of_videos_that_are_cut_into_pieces_shorter_pieces_are_advised(
    run_script, make_video, tmp_path
):
    """2.5 seconds make one piece of four."""
    make_video(tmp_path / "videos" / "a.mp4", [("beach", 30)])
    words = ("preprocess.py", "mine", 1, "--video_dir", tmp_path / "videos")
    done = run_script(*words, "--shot_detector", "fixed", "--data_root", tmp_path)
    assert done.stderr.splitlines()[-1].endswith(
        "1 as too_few_shots; --min_shots sets the limit: give less with --redo filter_scene;"
        " --shot_seconds with --redo scene cuts shorter pieces"
    )


def test_what_filtered_most_of_the_videos_is_said(run_script, make_video, tiny_videos, tmp_path):
    """Of three videos one has enough shots; that of two is noted, and of one is not."""
    videos = tmp_path / "videos"
    shutil.copytree(tiny_videos, videos)
    words = ("preprocess.py", "mine", 1, "--video_dir", videos, "--data_root", tmp_path, *LIGHT)
    strict = run_script(*words, "--min_shots", 6)
    assert strict.returncode == 0
    assert strict.stdout.splitlines()[-1] == f"note: 2 of 3 were filtered, 2 {FEW_SHOTS}"
    less = run_script(*words, "--min_shots", 5, "--redo", "filter_scene")
    assert less.returncode == 0
    assert "note:" not in less.stdout


def test_footage_in_one_take_becomes_pairs(run_script, make_video, tmp_path):
    """Ten seconds on a beach, cut into five pieces that look alike."""
    make_video(tmp_path / "videos" / "take.mp4", [("beach", 120)], rate=12)
    root = ("--data_root", tmp_path / "data")
    fixed = ("--shot_detector", "fixed", "--shot_seconds", 2)
    words = ("preprocess.py", "mine", 1, "--video_dir", tmp_path / "videos", *fixed, *root)
    assert run_script(*words).returncode == 0
    [line] = (tmp_path / "data" / "mine" / "anno" / "videos.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["filtered_cuts"] == [[n, 24 * n, 24 * n + 23] for n in range(5)]
    assert record["merged_groups"] == [[n, [n]] for n in range(5)]
    model = ("--model", "dryrun", *root)
    assert run_script("generate_meta_data.py", 1, "--dataset", "mine", *model).returncode == 0
    assert run_script("generate_dpo_data.py", "mine", 1, *model).returncode == 0
    out = tmp_path / "pairs.json"
    words = ("convert_to_swift.py", "dryrun", 16, "--dataset", "mine", "--output", out, *root)
    assert run_script(*words).returncode == 0
    assert json.loads(out.read_text())


@pytest.mark.parametrize("script", [words for words in SCRIPTS if words[0].endswith(".py")])
def test_help_takes_half_a_second_and_imports_no_large_library(script):
    """Of CPU; where the machine is slow, as long as three imports of NumPy."""
    program = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
large = {"torch", "cv2", "openvino", "transformers", "pyarrow", "av"} & sys.modules.keys()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(sorted(large), usage.ru_utime + usage.ru_stime, file=sys.stderr)
"""
    numpy = "import numpy, resource, sys; usage = resource.getrusage(resource.RUSAGE_SELF); "
    numpy += "print([], usage.ru_utime + usage.ru_stime, file=sys.stderr)"

    def measured(*words):
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        words = [sys.executable, "-c", *words]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        large, seconds = done.stderr.split("] ")
        assert large == "["
        return float(seconds)

    # The least of three: whatever else the machine does only adds to a run.
    floor = min(measured(numpy) for _ in range(3))
    words = [program, str(REPOSITORY / script[0]), "--help"]
    assert min(measured(*words) for _ in range(3)) <= max(0.5, 3 * floor)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["-m", "reproduction.temple.run", "--out", "{file}"], "{file} is a file, not a folder"),
        (
            ["-m", "reproduction.temple.run", "--exp", "{file}/exp"],
            "{file} is a file, not a folder",
        ),
        (["-m", "reproduction.temple.report", "{file}"], "{file} is a file, not a folder"),
        (["-m", "reproduction.toyvl", "--out", "{file}"], "{file} is a file, not a folder"),
        (
            ["evaluate_model.py", "toy", "--model", "toyvl", "--out", "{folder}"],
            "{folder} is a folder, not a file",
        ),
        (
            ["evaluate_model.py", "toy", "--model", "toyvl", "--out", "{file}/scores.json"],
            "{file} is a file, not a folder",
        ),
        (
            ["-m", "visualize.timeline", "mine", "0", "--out", "{folder}"],
            "{folder} is a folder, not a file",
        ),
        (
            ["-m", "tools.training.report", "{folder}", "--out", "{file}"],
            "{file} is a file, not a folder",
        ),
        (
            ["-m", "tools.training.sft_data", "--output", "{folder}"],
            "{folder} is a folder, not a file",
        ),
        (
            [
                "evaluate_model.py",
                "benchmark",
                "--tasks",
                "mlvu",
                "--model",
                "m",
                "--out",
                "{folder}",
            ],
            "{folder} is a folder, not a file",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_nothing_can_be_written_is_said_before_the_work(run_script, tmp_path, words, what):
    (tmp_path / "file").touch()
    names = {"file": tmp_path / "file", "folder": tmp_path}
    line = refused(run_script(*(word.format(**names) for word in words)))
    assert line.endswith(f": {what.format(**names)} (--help explains all flags)")


def test_a_folder_of_somebody_elses_is_refused(tmp_path, monkeypatch):
    assert new_folder(str(tmp_path / "new" / "newer")) == tmp_path / "new" / "newer"
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(argparse.ArgumentTypeError, match="gone is a file, not a folder"):
        new_folder(str(tmp_path / "gone"))
    # The tests may run as root, who may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=f"{tmp_path} cannot be written to"):
        new_folder(str(tmp_path / "new" / "newer"))


def test_an_output_that_is_closed_costs_no_traceback(tiny_videos, tmp_path):
    words = f"preprocess.py mine 1 --video_dir {tiny_videos} --data_root {tmp_path} --device cpu"
    command = f"{sys.executable} {words} {' '.join(LIGHT)}"
    for redirection in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(
            ["bash", "-c", f"{command} --redo finalize {redirection}"],
            capture_output=True, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    assert (tmp_path / "mine" / "anno" / "videos.jsonl").stat().st_size > 0
    piped = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} --redo scene | head -1"],
        capture_output=True, text=True, cwd=REPOSITORY,
    )  # fmt: skip
    assert piped.stdout.startswith("init: 3 videos")
    assert piped.returncode == 141
    assert "Error" not in piped.stderr


def test_names_are_utf8_whatever_the_locale(run_script, make_video, tmp_path):
    make_video(tmp_path / "videos" / "café.mp4", [("beach", 12)])
    latin = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_script(
        *("preprocess.py", "mine", 1, "--video_dir", tmp_path / "videos", "--data_root", tmp_path),
        *(*LIGHT, "--device", "cpu"), env=latin, fresh=True,
    )  # fmt: skip
    assert "init: 1 videos" in done.stdout
    assert "failed" not in done.stdout
    assert "filter_scene: 0 done, 1 filtered" in done.stdout
    assert "nothing to do for similarity" in done.stderr


def test_the_name_of_a_dataset_fits_into_names_of_files(run_script, tmp_path):
    words = ("preprocess.py", "a" * 260, 1, "--video_dir", tmp_path, "--data_root", tmp_path)
    assert refused(run_script(*words)).endswith("'_' and '-' only, 100 at most")


def test_a_video_that_takes_too_long_fails_as_timed_out(run_script, tiny_videos, tmp_path):
    done = run_script(
        *("preprocess.py", "mine", 1, "--video_dir", tiny_videos, "--data_root", tmp_path),
        *(*LIGHT, "--device", "cpu", "--video_timeout", "0.001"),
    )
    assert done.returncode == 2
    assert "scene: 0 done, 3 failed (timed out: not done after 0.001 s)" in done.stdout


def test_damaged_inputs_are_all_accounted_for(run_script):
    done = run_script("-m", "benchmarks.fuzz", "--inputs", 60, "--seed", 1, fresh=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 of 60 inputs are accounted for" in done.stdout


def test_a_bug_keeps_its_traceback_and_an_end_of_its_own(run_script):
    code = "from tools.cli import run_script\ndef main(): [][1]\nrun_script(main)"
    done = run_script("-c", code)
    assert done.returncode == 1
    assert done.stderr.endswith("IndexError: list index out of range\n")


def test_the_pipeline_runs_from_any_working_directory(tiny_videos, tmp_path):
    """As a user calls it: with nothing but the scripts' own paths, relative folders included."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "videos").symlink_to(tiny_videos)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    dryrun = ("--model", "dryrun", "--data_root", "../data")
    for words in (
        ["preprocess.py", "mine", "1", *LIGHT, "--video_dir", "videos", "--data_root", "../data"],
        ["generate_meta_data.py", "1", "--dataset", "mine", *dryrun],
        ["generate_dpo_data.py", "mine", "1", *dryrun],
        [
            *("convert_to_swift.py", "dryrun", "16", "8", "4", "2", "--dataset", "mine"),
            *("--data_root", "../data", "--output", "pairs.json"),
        ],
    ):
        command = [sys.executable, str(REPOSITORY / words[0]), *words[1:]]
        done = subprocess.run(
            command, cwd=tmp_path / "here", env=env, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
    pairs = json.loads((tmp_path / "here" / "pairs.json").read_text())
    assert len(pairs) > 10
    assert all(Path(row["videos"][0]).is_absolute() for row in pairs)
    assert all(Path(row["videos"][0]).exists() for row in pairs)
    # The folder is remembered as an absolute path: the next run may start elsewhere.
    again = [sys.executable, str(REPOSITORY / "preprocess.py"), "mine", "1", *LIGHT]
    done = subprocess.run(
        [*again, "--data_root", str(tmp_path / "data")], cwd="/", env=env, capture_output=True
    )
    assert done.returncode == 0
    assert b"finalize: nothing to do (3 done)" in done.stdout


def test_a_relative_data_root_means_the_same_in_a_process_that_runs_elsewhere(
    tmp_path, monkeypatch
):
    from preprocess import parse_arguments
    from tools.status import main

    (tmp_path / "here" / "data" / "mine" / "anno").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for words in (["../here/data"], ["data/"], ["./data"]):
        args = parse_arguments(["mine", "1", "--data_root", *words])
        assert args.data_root == tmp_path / "here" / "data"  # as a worker of Ray is given it
    main(["mine", "--data_root", "data"])


def test_two_models_may_caption_one_dataset_at_once(tiny_videos, tmp_path, run_script):
    """The locks are on what is written: a run of one model is not in the way of another's."""
    from tools.store.dataset import Dataset

    root = ("--data_root", tmp_path)
    run_script("preprocess.py", "mine", 1, *LIGHT, "--video_dir", tiny_videos, *root)
    dataset = Dataset("mine", tmp_path / "mine")
    words = ("generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun", *root)
    with dataset.lock("raw_clip_captions_other"), dataset.lock("clip_captions_other"):
        assert run_script(*words).returncode == 0
    with dataset.lock("clip_captions_dryrun"):
        line = refused(run_script(*words))
    assert line.startswith("another run is working on clip_captions_dryrun of mine (pid ")


@pytest.mark.parametrize(
    ("words", "library"),
    [
        (["convert_to_swift.py", "dryrun", "16"], "orjson"),
        (["-m", "tools.status"], "orjson"),
        (["-m", "distillation.suite"], "torch"),
    ],
    ids=str,
)
def test_ctrl_c_during_an_import_is_one_line(run_script, words, library, tmp_path):
    (tmp_path / f"{library}.py").write_text("import os\nos.kill(os.getpid(), 2)\n")
    env = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = run_script(*words, fresh=True, env=env)
    line = "\ninterrupted: all that was finished is kept; the same command goes on\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", line)


def test_ctrl_c_in_a_program_of_the_users_own_keeps_its_traceback(tmp_path):
    program = tmp_path / "mine.py"
    program.write_text("import os, tools.errors\nos.kill(os.getpid(), 2)\n")
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, program], env=env, capture_output=True, text=True)
    assert done.returncode == -2
    assert done.stderr.startswith("Traceback")


def test_ctrl_c_in_the_end_of_an_object_is_not_forgotten(run_script, tmp_path):
    # Python prints an exception out of a destructor and goes on.
    (tmp_path / "orjson.py").write_text(
        "import os\n"
        "class Deleted:\n    def __del__(self):\n        os.kill(os.getpid(), 2)\n"
        "Deleted()\nprint('went on')\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"}
    done = run_script("-m", "tools.status", fresh=True, env=env)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("\ninterrupted: ")
