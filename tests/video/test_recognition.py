"""Videos that were renamed, moved, deleted or brought back: what the listing makes of them."""

import pytest

from tools.runner.counts import Counts, remember, step_counts
from tools.status import funnel
from tools.store.dataset import Dataset
from tools.video.listing import list_videos


@pytest.fixture
def folder(tmp_path):
    """Two files of one size and different content; the listing does not decode them."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"a" * 200_000)
    (tmp_path / "videos" / "b.mp4").write_bytes(b"a" * 199_999 + b"b")
    return tmp_path / "videos"


@pytest.fixture
def dataset(tmp_path, folder):
    """Both are listed, and have captions."""
    dataset = Dataset("mine", tmp_path / "data" / "mine")
    list_videos(dataset, folder)
    records = list(dataset.table("init").read())
    for name in ("scene", "videos", "raw_clip_captions_m"):
        dataset.table(name).write(records)
    remember(dataset.videos(), dataset.table("raw_clip_captions_m"), Counts(2))
    return dataset


def paths(dataset):
    return {record["video_id"]: record["video_path"] for record in dataset.table("init").read()}


def captions(dataset):
    return step_counts(dataset.videos(), [dataset.table("raw_clip_captions_m")])


def test_a_renamed_file_keeps_its_id_and_all_that_was_made_of_it(dataset, folder, capsys):
    before = paths(dataset)
    (folder / "deep").mkdir()
    (folder / "b.mp4").rename(folder / "deep" / "new.mp4")
    list_videos(dataset, folder)
    assert paths(dataset) == {
        video_id: path.replace("b.mp4", "deep/new.mp4") for video_id, path in before.items()
    }
    assert captions(dataset) == Counts(2)
    out = capsys.readouterr().out
    assert "init: 2 videos, 0 of them new" in out
    assert f"init: {folder}/deep/new.mp4 is b.mp4, by its content; it keeps its id" in out
    list_videos(dataset, folder)
    assert "moved" not in capsys.readouterr().out


def test_a_file_of_other_content_is_another_video(dataset, folder, capsys):
    (folder / "b.mp4").unlink()
    (folder / "c.mp4").write_bytes(b"a" * 199_999 + b"c")
    list_videos(dataset, folder)
    assert "init: 3 videos, 1 of them new" in capsys.readouterr().out


def test_of_two_equal_files_nobody_guesses(dataset, folder, capsys):
    content = (folder / "b.mp4").read_bytes()
    (folder / "b.mp4").unlink()
    for name in ("c.mp4", "d.mp4"):
        (folder / name).write_bytes(content)
    list_videos(dataset, folder)
    assert "init: 4 videos, 2 of them new" in capsys.readouterr().out


def test_a_video_that_is_gone_does_not_count_until_it_is_back(dataset, folder, capsys):
    assert captions(dataset) == Counts(2)
    before = dataset.table("init").path.read_bytes()
    (folder / "b.mp4").rename(folder.parent / "b.mp4")
    list_videos(dataset, folder)
    assert f"init: 1 of them gone, such as {folder}/b.mp4" in capsys.readouterr().out
    steps = dict(funnel(dataset))
    assert steps["init"] == Counts(1, {"gone": 1})
    assert steps["scene"] == Counts(1)
    assert captions(dataset) == Counts(1)

    (folder.parent / "b.mp4").rename(folder / "b.mp4")
    list_videos(dataset, folder)
    assert "of them gone" not in capsys.readouterr().out
    assert dataset.table("init").path.read_bytes() == before
    assert captions(dataset) == Counts(2)


def test_relocate_changes_the_paths_and_the_folder_alone(dataset, folder, run_script):
    dataset.remember_video_dir(folder)
    new = folder.rename(folder.with_name("films"))
    words = ("-m", "tools.relocate", "mine", folder, new, "--data_root", dataset.root.parent)
    done = run_script(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 of 2 videos of mine are in {new} now\n"
    assert sorted(paths(dataset).values()) == [f"{new}/a.mp4", f"{new}/b.mp4"]
    assert dataset.video_dir() == new
    assert captions(dataset) == Counts(2)
    assert run_script(*words).stderr == (
        f"error: mine has no video in {folder}; one is {new}/a.mp4\n"
    )


def test_relocate_to_where_a_video_is_not_says_so(dataset, folder, tmp_path, run_script):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").touch()
    words = ("-m", "tools.relocate", "mine", folder, tmp_path / "films")
    done = run_script(*words, "--data_root", dataset.root.parent)
    assert done.stdout.splitlines()[-1] == (
        f"note: 1 are not there, such as {tmp_path}/films/b.mp4"
    )
    assert captions(dataset) == Counts(1)
    missing = run_script(*words[:-1], tmp_path / "none", "--data_root", dataset.root.parent)
    assert missing.stderr == f"error: {tmp_path}/none: no such folder or file\n"
