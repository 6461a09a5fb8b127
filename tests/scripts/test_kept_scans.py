"""--keep_scans: each script deletes the scans that nobody needs any more."""

import pytest

from tools.store.dataset import Dataset

LIGHT = ("--shot_detector", "adaptive", "--embedder", "color")


@pytest.fixture
def names_of_scans(tmp_path):
    """A function that gives the names of the videos that have scans."""

    def names():
        mine = Dataset("mine", tmp_path / "mine")
        listed = mine.table("init").read()
        return [
            record["video_name"] for record in listed if mine.scan_path(record["video_id"]).exists()
        ]

    return names


def test_scans_of_filtered_videos_then_of_captioned_ones_go(
    tmp_path, tiny_videos, run_script, names_of_scans
):
    flags = ("--dataset", "mine", "--data_root", tmp_path, "--keep_scans")
    first = ("preprocess.py", 1, *LIGHT, "--min_shots", 5, "--video_dir", tiny_videos)
    assert run_script(*first, *flags, "all").returncode == 0
    assert sorted(names_of_scans()) == ["one.mp4", "three.mp4", "two.mkv"]
    assert run_script(*first, *flags, "kept").returncode == 0
    assert sorted(names_of_scans()) == ["one.mp4", "three.mp4"]
    second = ("generate_meta_data.py", 1, "--model", "dryrun")
    assert run_script(*second, *flags, "kept").returncode == 0
    assert sorted(names_of_scans()) == ["one.mp4", "three.mp4"]
    assert run_script(*second, *flags, "none").returncode == 0
    assert names_of_scans() == []


def test_scans_go_where_all_videos_are_filtered(tmp_path, tiny_videos, run_script, names_of_scans):
    done = run_script(
        *("preprocess.py", "mine", 1, *LIGHT, "--min_shots", 7, "--video_dir", tiny_videos),
        *("--data_root", tmp_path, "--keep_scans", "kept"),
    )
    assert done.returncode == 2
    assert "error: nothing to do for similarity" in done.stderr
    assert names_of_scans() == []
    # Stage 1 is done, and stage 2 does not ask for it.
    done = run_script(
        *("generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun"),
        *("--data_root", tmp_path),
    )
    assert done.stderr.startswith("error: nothing to do for raw_captions: no video of videos.jsonl")
