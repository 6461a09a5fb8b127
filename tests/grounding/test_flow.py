"""The step that computes the flow of a dataset's videos, and its readers."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import get_model

from grounding.flow import read_flow
from tools.errors import UserError
from tools.features.flow import NORMALISATIONS, Dis, video_flow
from tools.status import funnel
from tools.store.arrays import read_arrays
from tools.store.dataset import Dataset
from tools.video.listing import list_videos

REPOSITORY = Path(__file__).resolve().parents[2]


def run_flow(run_script, dataset, *flags, world_size=1):
    words = ("mine", world_size, "--device", "cpu", "--data_root", dataset.root.parent, *flags)
    return run_script("-m", "grounding.flow", *words)


@pytest.fixture(scope="module")
def computed(tiny_videos, run_script, tmp_path_factory):
    """A data set of three videos of 6, 5 and 4 seconds with their flow; read it only."""
    dataset = Dataset("mine", tmp_path_factory.mktemp("data") / "mine")
    list_videos(dataset, tiny_videos)
    done = run_flow(run_script, dataset)
    assert (done.returncode, done.stdout) == (0, "flow: 3 done\n")
    return dataset


@pytest.fixture
def mine(computed, dataset):
    """A copy of it."""
    shutil.copytree(computed.root, dataset.root, dirs_exist_ok=True)
    return dataset


@pytest.fixture
def compute(run_script, mine):
    """Run the script on `mine`; its output, and the error's line where it ends in one."""
    return lambda *flags, **options: run_flow(run_script, mine, *flags, **options)


def ids(dataset):
    return {record["video_name"]: record["video_id"] for record in dataset.table("init").read()}


def files(dataset):
    """The flow files' content and time of change, by path."""
    found = sorted((dataset.root / "flow").rglob("*.safetensors"))
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_each_video_has_its_flow_in_a_file_and_a_record(mine):
    records = list(mine.table("flow_dis").read())
    pairs = {record["video_name"]: record["flow_pairs"] for record in records}
    assert pairs == {"one.mp4": 11, "three.mp4": 9, "two.mkv": 7}
    arrays, description = read_arrays(mine.flow("dis", ids(mine)["one.mp4"]))
    assert (arrays["flow"].shape, arrays["flow"].dtype) == ((11, 2, 14, 14), np.float16)
    assert (arrays["times"].shape, arrays["times"].dtype) == ((11, 2), np.float32)
    params = {"extractor": "dis", "flow_fps": 2.0, "grid": 14, "size": 112}
    assert description["params"] == params
    assert description["fingerprint"] == mine.table("flow_dis").meta()["fingerprint"]
    assert dict(funnel(mine))["flow dis"].line() == "3 done"


def test_files_with_the_times_of_frames_are_read_by_the_moments_of_pictures(dataset, write_flow):
    write_flow(dataset, "v", np.zeros((3, 2, 14, 14)))  # all times are 0, of a frame that stays
    assert read_flow(dataset, "dis", "v").times.tolist() == [[0, 0.5], [0.5, 1], [1, 1.5]]


def test_training_and_inference_read_the_same_bits(mine, tiny_videos):
    for name, video_id in ids(mine).items():
        trained = read_flow(mine, "dis", video_id)
        inferred = video_flow(tiny_videos / name, Dis())
        assert np.array_equal(trained.times, inferred.times)
        for how in NORMALISATIONS:
            assert trained.normalised(how).any()
            assert trained.normalised(how).tobytes() == inferred.normalised(how).tobytes()


def test_a_file_that_is_there_is_not_made_again(mine, compute):
    made = files(mine)
    table = mine.table("flow_dis")
    records = table.path.read_bytes()
    table.path.unlink()  # as if the run had been killed before it wrote the records
    assert compute(world_size=2).stdout == "flow: 3 done\n"
    assert files(mine) == made
    assert table.path.read_bytes() == records


def test_a_damaged_file_is_made_again_and_no_other(mine, compute):
    made = files(mine)
    damaged = mine.flow("dis", ids(mine)["one.mp4"])
    damaged.write_bytes(damaged.read_bytes()[:100])
    mine.table("flow_dis").path.unlink()
    assert compute().stdout == "flow: 3 done\n"
    now = files(mine)
    assert [path for path in made if now[path] != made[path]] == [damaged]
    assert now[damaged][0] == made[damaged][0]


def test_redo_makes_all_files_again(mine, compute):
    made = files(mine)
    assert compute("--redo", "flow", "--flow_fps", 4).stdout == "flow: 3 done\n"
    assert files(mine).keys() == made.keys()
    assert all(content != made[path][0] for path, (content, _) in files(mine).items())
    assert len(read_flow(mine, "dis", ids(mine)["one.mp4"], fps=4).times) == 23


def test_another_rate_is_refused_where_it_is_made_and_where_it_is_read(mine, compute):
    refused = compute("--flow_fps", 4)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: flow_dis.jsonl was made with flow_fps=2.0, this run")
    with pytest.raises(UserError, match=r"flow of flow_fps=2.0, wanted is flow_fps=4.0: give "):
        read_flow(mine, "dis", ids(mine)["one.mp4"], fps=4.0)
    with pytest.raises(UserError, match=r"flow of grid=14, wanted is grid=7: give "):
        read_flow(mine, "dis", ids(mine)["one.mp4"], grid=7)


def test_another_extractors_flow_is_refused(mine):
    (mine.root / "flow" / "dis").rename(mine.root / "flow" / "raft_large")
    with pytest.raises(UserError, match=r"flow of extractor=dis, wanted is extractor=raft_large"):
        read_flow(mine, "raft_large", ids(mine)["one.mp4"])
    with pytest.raises(UserError, match=r"is not there: run python -m grounding.flow mine WORLD"):
        read_flow(mine, "dis", ids(mine)["one.mp4"])


def test_raft_with_weights_of_a_file(mine, compute, tmp_path):
    torch.manual_seed(0)
    torch.save(get_model("raft_small").state_dict(), tmp_path / "raft.pth")
    weights = ("--extractor", "raft_small", "--checkpoint", tmp_path / "raft.pth")
    done = compute(*weights, "--size", 128, "--flow_fps", 0.4, "--limit", 1)
    assert (done.returncode, done.stdout) == (0, "flow: 1 done\n")
    (path,) = (mine.root / "flow" / "raft_small").iterdir()
    arrays, description = read_arrays(path)
    assert arrays["flow"].shape[1:] == (2, 14, 14) and np.isfinite(arrays["flow"]).all()
    assert description["params"]["updates"] == 12
    assert description["params"]["weights"].startswith("sha256 ")


def test_precomputed_flow_is_found_by_the_name_of_the_video_or_its_id(mine, compute, tmp_path):
    folder = tmp_path / "flow"
    folder.mkdir()
    np.save(folder / "one_raft.npy", np.full((11, 2, 32, 32), 4.0))
    np.save(folder / f"{ids(mine)['two.mkv']}_raft.npy", np.full((7, 2, 32, 32), -4.0))
    done = compute("--extractor", "precomputed", "--flow_dir", folder)
    assert done.stdout == "flow: 2 done, 1 failed (VideoError: no precomputed flow)\n"
    flow = read_flow(mine, "precomputed", ids(mine)["one.mp4"])
    assert flow.speed.shape == (11, 2, 14, 14) and (flow.speed == 0.25).all()
    assert read_flow(mine, "precomputed", ids(mine)["two.mkv"]).speed[0, 0, 0, 0] == -0.25


def test_bad_videos_are_failed_and_add_up(dataset, run_script, make_video, tmp_path):
    folder = tmp_path / "videos"
    make_video(folder / "single.mp4", [("beach", 1)])
    make_video(folder / "good.mp4")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n" * 100)
    list_videos(dataset, folder)
    done = run_script("-m", "grounding.flow", "mine", 2, "--data_root", dataset.root.parent)
    assert done.returncode == 0
    counts = dict(funnel(dataset))["flow dis"]
    assert (counts.done, counts.failed.total(), counts.total) == (2, 2, 4)
    assert counts.failed == {
        "VideoError: empty file": 1,
        "VideoError: not a video": 1,
    }
    assert not read_flow(dataset, "dis", ids(dataset)["single.mp4"]).speed.any()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--extractor", "raft_smal"], "did you mean 'raft_small'?"),
        (["--extractor", "precomputed"], "--flow_dir DIR and --extractor precomputed go together"),
        (["--flow_dir", "/nowhere"], "--flow_dir DIR and --extractor precomputed go together"),
        (
            ["--extractor", "precomputed", "--flow_dir", "/nowhere"],
            "--flow_dir /nowhere: no such folder",
        ),
        (["--checkpoint", "/raft.pth"], "--checkpoint /raft.pth: dis has no weights"),
        (
            ["--extractor", "raft_large", "--checkpoint", "/raft.pth"],
            "--checkpoint /raft.pth: no such file",
        ),
        (
            ["--extractor", "raft_large", "--size", "130"],
            "--size 130: raft_large takes multiples of 8, from 128 on",
        ),
        (["--size", "8", "--grid", "4"], "--size 8: dis takes multiples of 1, from 12 on"),
        (["--grid", "200"], "--grid 200: a picture of 112 pixels has fewer cells"),
        (["--flow_fps", "0"], "'0' is not a number above 0"),
    ],
)
def test_a_mistake_is_one_line(flags, line, compute):
    done = compute(*flags)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_dataset_without_listed_videos_is_one_line(dataset, run_script):
    done = run_script("-m", "grounding.flow", "mine", 1, "--data_root", dataset.root.parent)
    assert done.returncode == 2
    assert "init.jsonl is not there: run preprocess.py mine first" in done.stderr


def test_after_a_kill_the_same_command_leaves_the_same_bytes(
    dataset, make_video, run_script, tmp_path
):
    first = make_video(tmp_path / "videos" / "00.mp4", [("beach", 240)])
    for number in range(1, 6):
        shutil.copy(first, first.with_name(f"{number:02}.mp4"))
    whole = Dataset("whole", tmp_path / "data" / "whole")
    for target in (dataset, whole):
        list_videos(target, first.parent)

    def words(target):
        flags = ("--device", "cpu", "--data_root", target.root.parent)
        return ["-m", "grounding.flow", target.name, 1, *flags]

    assert run_script(*words(whole)).returncode == 0
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, *map(str, words(dataset))]
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not files(dataset) and killed.poll() is None:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    time.sleep(0.5)  # workers end after their parent
    made = files(dataset)
    assert 0 < len(made) < 6
    assert run_script(*words(dataset)).returncode == 0
    now = files(dataset)
    assert len(now) == 6
    assert {path: now[path] for path in made} == made
    contents = [{content for content, _ in files(target).values()} for target in (dataset, whole)]
    assert contents[0] == contents[1]
    pairs = [[row["flow_pairs"] for row in t.table("flow_dis").read()] for t in (dataset, whole)]
    assert pairs[0] == pairs[1] == [39] * 6
