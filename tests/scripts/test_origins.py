"""What has been rebuilt is known to have been, across scripts: nothing stale goes on silently."""

import shutil

import pytest

STAGE_1 = ("--shot_detector", "adaptive", "--embedder", "color")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_videos, run_script):
    """A dataset that has been through stages 1 to 3."""
    root = tmp_path_factory.mktemp("origins")
    here = ("--data_root", root)
    for words in (
        ("preprocess.py", "mine", 1, "--video_dir", tiny_videos, *STAGE_1),
        ("generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun"),
        ("generate_dpo_data.py", "mine", 1, "--model", "dryrun"),
    ):
        assert run_script(*words, *here).returncode == 0
    return root


@pytest.fixture
def root(finished, tmp_path):
    """A copy of it to change."""
    shutil.copytree(finished, tmp_path / "data")
    return tmp_path / "data"


def refused(done, *words):
    """A run that stops with one line that holds these words."""
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)


def test_captions_of_a_stage_1_that_has_been_rebuilt_are_refused(root, run_script):
    here = ("--data_root", root)
    assert (
        run_script("preprocess.py", "mine", 1, *STAGE_1, "--redo", "scene", *here).returncode == 0
    )
    made = "raw_clip_captions_dryrun.jsonl is out of date: videos.jsonl has been rebuilt since"
    captions = run_script(
        "generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun", *here
    )
    refused(captions, made, "--redo raw_captions")
    refused(run_script("generate_dpo_data.py", "mine", 1, "--model", "dryrun", *here), made)
    pairs = ("convert_to_swift.py", "dryrun", 2, "--dataset", "mine", "--output", root / "x.json")
    refused(run_script(*pairs, *here), made)
    assert not (root / "x.json").exists()


def test_responses_of_two_different_runs_do_not_become_pairs(root, run_script):
    here = ("--data_root", root)
    other = ("--redo", "responses", "--by_similarity", "--max_new_tokens", 60)
    made = run_script("generate_dpo_data.py", "mine", 1, "--model", "dryrun", *other, *here)
    assert made.returncode == 0, made.stderr
    pairs = ("convert_to_swift.py", "dryrun", 2, "--dataset", "mine", "--output", root / "x.json")
    refused(run_script(*pairs, *here), "were not made alike", "--redo responses")


def test_a_video_that_is_another_since_stage_1_is_not_captioned(root, tiny_videos, run_script):
    here = ("--data_root", root)
    videos = shutil.copytree(tiny_videos, root.parent / "videos")
    made = run_script("preprocess.py", "new", 1, "--video_dir", videos, *STAGE_1, *here)
    assert made.returncode == 0
    first, second, *_ = sorted(videos.iterdir())
    shutil.copy(first, second)
    run_script("generate_meta_data.py", 1, "--dataset", "new", "--model", "dryrun", *here)
    shown = run_script("-m", "tools.status", "new", *here, env={"COLUMNS": "150"}).stdout
    assert "1 failed: VideoError: changed" in shown
