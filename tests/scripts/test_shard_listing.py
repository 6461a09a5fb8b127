"""The listing of a sharded data set, when its videos change or it is interrupted, and shards that
are not ready for the next stage."""

import shutil

import pytest

from tools.errors import UserError
from tools.store.dataset import open_shards

LIGHT = ("--shot_detector", "adaptive", "--embedder", "color")
SHARDS = ["3", "8", "d", "f"]  # of three.mp4, one.mp4, two.mkv and broken.mp4


@pytest.fixture(scope="module")
def videos(tmp_path_factory, tiny_videos):
    folder = tmp_path_factory.mktemp("shard_videos") / "videos"
    shutil.copytree(tiny_videos, folder)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


def test_new_and_moved_videos_go_to_their_shards(tmp_path, videos, run_script):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    begin = ("preprocess.py", "mine", 1, "--data_root", tmp_path, "--shard_digits", 1)
    assert run_script(*begin, "--video_dir", folder).returncode == 0
    untouched = tmp_path / "mine/shards/3/anno/init.jsonl"
    before = untouched.stat().st_ino
    (folder / "one.mp4").rename(folder / "renamed.mp4")
    (folder / "four.mp4").write_bytes(b"new")
    done = run_script(*begin)
    assert "init: 5 videos, 1 of them new" in done.stdout
    assert "renamed.mp4 is one.mp4, by its content; it keeps its id" in done.stdout
    shards = open_shards("mine", tmp_path, None)
    assert [shard.shard for shard in shards] == ["3", "8", "d", "e", "f"]
    [one] = shards[1].table("init").read()
    assert one["video_path"] == str(folder / "renamed.mp4")
    assert untouched.stat().st_ino == before

    folder.rename(tmp_path / "elsewhere")
    moved = ("mine", folder, tmp_path / "elsewhere", "--data_root", tmp_path)
    done = run_script("-m", "tools.relocate", *moved)
    assert done.stdout.startswith(f"5 of 5 videos of mine are in {tmp_path / 'elsewhere'} now")
    [one] = shards[1].table("init").read()
    assert one["video_path"] == str(tmp_path / "elsewhere" / "renamed.mp4")
    assert shards[0].video_dir() == tmp_path / "elsewhere"


def test_a_data_set_under_another_name_gives_new_videos_ids_like_the_others(
    tmp_path, videos, run_script
):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    flags = (1, "--data_root", tmp_path, "--shard_digits", 1)
    assert run_script("preprocess.py", "mine", *flags, "--video_dir", folder).returncode == 0
    (tmp_path / "mine").rename(tmp_path / "renamed")
    (folder / "four.mp4").write_bytes(b"new, and in a shard of its own")
    for new in (1, 0):
        done = run_script("preprocess.py", "renamed", *flags)
        assert f"init: 5 videos, {new} of them new" in done.stdout
    shards = open_shards("renamed", tmp_path, None)
    ids = [record["video_id"] for shard in shards for record in shard.table("init").read()]
    assert [video_id[:6] for video_id in ids] == ["mine_3", "mine_8", "mine_d", "mine_e", "mine_f"]


def test_some_shards_of_an_interrupted_first_listing_do_not_pass_for_all(
    tmp_path, videos, run_script, monkeypatch
):
    written = []

    def remember(table, *_):
        written.append(table)
        if len(written) == 2:
            raise UserError("interrupted")

    begin = ("preprocess.py", "mine", 1, "--data_root", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("tools.video.recognition.remember", remember)
        done = run_script(*begin, "--video_dir", videos, "--shard_digits", 1)
        assert done.stderr == "error: interrupted\n"
    assert [shard.shard for shard in open_shards("mine", tmp_path, None)] == ["8", "f"]
    for words in (("mine", "--shards", "0-f"), ("mine/8",)):
        done = run_script("preprocess.py", 1, "--dataset", *words, "--data_root", tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("error: the videos of mine are not all listed")
    # The folder is known, so that the command without --shards lists all of them.
    done = run_script(*begin, "--limit", 1, *LIGHT)
    assert done.returncode == 0, done.stderr
    assert "init: 4 videos, 2 of them new" in done.stdout
    assert [shard.shard for shard in open_shards("mine", tmp_path, None)] == SHARDS
    assert run_script(*begin, "--shards", "3", *LIGHT).returncode == 0


def test_a_listing_waits_for_a_run_on_a_shard_that_would_change(tmp_path, videos, run_script):
    folder = tmp_path / "videos"
    shutil.copytree(videos, folder)
    begin = ("preprocess.py", "mine", 1, "--data_root", tmp_path, "--shard_digits", 1)
    assert run_script(*begin, "--video_dir", folder).returncode == 0
    (folder / "four.mp4").write_bytes(b"new, and in a shard of its own")
    [three, *_, last] = open_shards("mine", tmp_path, None)
    with three.lock("scene"):
        assert run_script(*begin).returncode == 0
    (folder / "broken.mp4").unlink()
    with last.lock("scene"):
        done = run_script(*begin)
    assert done.returncode == 2
    assert "another run is working on scene of mine/f" in done.stderr


def test_unfinished_shards_are_noted_and_refused_where_they_are_named(tmp_path, videos, run_script):
    begin = ("preprocess.py", "mine", 1, "--data_root", tmp_path)
    run_script(*begin, "--video_dir", videos, "--shard_digits", 1)
    assert run_script(*begin, "--shards", "8-f", *LIGHT).returncode == 0
    for script, lack in (
        ("generate_meta_data.py", "videos.jsonl, the end of stage 1"),
        ("generate_dpo_data.py", "clip captions by dryrun"),
    ):
        words = (script, 1, "--dataset", "mine", "--model", "dryrun", "--data_root", tmp_path)
        line = f"1 shards of mine have no {lack}, such as 3"
        done = run_script(*words, "--shards", "3,8")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {line}")
        done = run_script(*words)
        assert done.returncode == 0, done.stderr
        assert f"note: {line}\n" in done.stdout
