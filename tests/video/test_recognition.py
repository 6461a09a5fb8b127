"""Videos that were renamed, moved, deleted or brought back: what the listing makes of them."""

import os
import time
from pathlib import Path

import pytest

from tools.errors import UserError
from tools.relocate import relocate
from tools.runner.counts import Counts, remember, step_counts
from tools.status import funnel
from tools.store.dataset import Dataset
from tools.store.named import named_datasets
from tools.video.listing import list_videos, video_id
from tools.video.recognition import recognised


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


def owners(dataset, folder):
    """Path relative to the folder -> video_id, of the videos that are there."""
    return {
        str(Path(record["video_path"]).relative_to(folder)): record["video_id"]
        for record in dataset.table("init").read()
        if not record["filtered"]
    }


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


def test_equal_files_that_move_together_keep_their_ids(dataset, folder, capsys):
    content = (folder / "b.mp4").read_bytes()
    (folder / "c.mp4").write_bytes(content)
    list_videos(dataset, folder)
    before = owners(dataset, folder)
    for name in ("b.mp4", "c.mp4"):
        (folder / name).unlink()
    for name in ("deep/a new name.mp4", "deep/c.mp4", "deep/d.mp4"):
        (folder / "deep").mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    list_videos(dataset, folder)
    assert "init: 4 videos, 1 of them new" in capsys.readouterr().out
    after = owners(dataset, folder)
    assert after["deep/c.mp4"] == before["c.mp4"]  # its name decides
    assert after["deep/a new name.mp4"] == before["b.mp4"]
    assert after["deep/d.mp4"] == video_id("mine", "deep/d.mp4")


@pytest.mark.parametrize("sizes", [(101, 202, 303), (100, 100, 100), (100, 200, 100)])
def test_renumbered_files_keep_their_ids(sizes, folder, dataset, capsys):
    for number, size in zip("123", sizes, strict=True):
        (folder / f"{number}.mp4").write_bytes(number.encode() * size)
    list_videos(dataset, folder)
    before = owners(dataset, folder)
    first = (folder / "1.mp4").read_bytes()
    (folder / "2.mp4").rename(folder / "1.mp4")
    (folder / "3.mp4").rename(folder / "2.mp4")
    for _ in range(2):
        list_videos(dataset, folder)
        assert owners(dataset, folder) == {
            "a.mp4": before["a.mp4"],
            "b.mp4": before["b.mp4"],
            "1.mp4": before["2.mp4"],
            "2.mp4": before["3.mp4"],
        }
    out = capsys.readouterr().out
    assert f"init: {folder}/1.mp4 is 2.mp4, by its content" in out
    assert f"init: 1 of them gone, such as {folder}/1.mp4" in out
    (folder / "0.mp4").write_bytes(first)
    list_videos(dataset, folder)
    assert owners(dataset, folder)["0.mp4"] == before["1.mp4"]


def test_two_files_that_change_names_keep_their_ids(folder, dataset):
    (folder / "b.mp4").write_bytes(b"short")
    dataset.table("files").path.unlink()
    list_videos(dataset, folder)
    before = owners(dataset, folder)
    (folder / "a.mp4").rename(folder / "c.mp4")
    (folder / "b.mp4").rename(folder / "a.mp4")
    (folder / "c.mp4").rename(folder / "b.mp4")
    list_videos(dataset, folder)
    assert owners(dataset, folder) == {"a.mp4": before["b.mp4"], "b.mp4": before["a.mp4"]}


def test_a_file_of_new_content_keeps_its_id_and_is_named_once(folder, dataset, capsys):
    before = paths(dataset)
    (folder / "b.mp4").write_bytes(b"encoded again")
    list_videos(dataset, folder)
    assert paths(dataset) == before
    assert (
        f"init: 1 files have other content than before, such as {folder}/b.mp4; they keep their"
        " ids, but what was made from them is of the old content: python preprocess.py mine 1"
        " --redo scene makes it again\n"
    ) in capsys.readouterr().out
    list_videos(dataset, folder)
    assert "other content" not in capsys.readouterr().out
    (folder / "b.mp4").rename(folder / "c.mp4")
    list_videos(dataset, folder)
    assert sorted(owners(dataset, folder)) == ["a.mp4", "c.mp4"]


def test_a_run_that_was_killed_while_it_read_digests_is_made_good(folder, dataset):
    files = dataset.table("files")
    before = files.path.read_bytes()
    files.write(list(files.read())[:1])
    list_videos(dataset, folder)
    assert files.path.read_bytes() == before


def test_where_no_content_was_noted_nothing_is_recognised_and_a_line_says_so(
    folder, dataset, capsys
):
    dataset.table("files").path.unlink()
    (folder / "b.mp4").rename(folder / "c.mp4")
    list_videos(dataset, folder)
    assert capsys.readouterr().out.endswith(
        f"init: 1 of them gone, such as {folder}/b.mp4; what was made from them is kept, and does"
        " not count until they are back; if they are elsewhere: python -m tools.relocate mine OLD"
        f" NEW\ninit: 1 of those cannot be recognised under a new name: {dataset.anno}/files.jsonl"
        " does not have their content\n"
    )


def test_a_video_whose_new_name_is_not_utf8_is_gone(folder, dataset, capsys):
    (folder / "b.mp4").rename(folder / os.fsdecode(b"caf\xe9.mp4"))
    list_videos(dataset, folder)
    assert sorted(owners(dataset, folder)) == ["a.mp4"]
    out = capsys.readouterr().out
    assert "by its content" not in out
    assert "init: 1 failed: their names are not UTF-8" in out


def test_a_hundred_thousand_lost_videos_are_looked_up_at_once():
    ids = [f"m_{number:06d}" for number in range(100_000)]
    noted = {key: (1000 + number, key) for number, key in enumerate(ids)}
    lost = {key: {"video_id": key, "video_path": f"/gone/{key}.mp4"} for key in ids}
    started = time.process_time()
    assert list(recognised(noted, lost, [])) == []
    assert time.process_time() - started < 10  # comparing each with each takes an hour


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


@pytest.mark.parametrize("place", ["empty", "notes.txt"])
def test_relocate_to_where_no_video_is_changes_nothing(dataset, folder, tmp_path, place):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    before = dataset.table("init").path.read_bytes()
    new = tmp_path / place
    with pytest.raises(UserError) as error:
        relocate(dataset, folder, new)
    assert str(error.value) == (
        f"{new}: no video of mine would be there, such as {new}/a.mp4; nothing was changed"
    )
    assert dataset.table("init").path.read_bytes() == before


def test_a_video_that_was_listed_anew_gets_its_old_id_back(folder, dataset, capsys):
    before = owners(dataset, folder)
    dataset.table("files").path.unlink()
    new = folder / "deep" / "b.mp4"
    new.parent.mkdir()
    (folder / "b.mp4").rename(new)
    list_videos(dataset, folder)
    relocate(dataset, folder / "b.mp4", new)
    second = video_id("mine", "deep/b.mp4")
    assert capsys.readouterr().out.endswith(
        f"1 of 3 videos of mine are in {new} now\n"
        f"note: 1 count as gone, since another video has their path, such as {new}: it is"
        f" {before['b.mp4']}, not {second}\n"
    )
    for _ in range(2):
        assert owners(dataset, folder) == {
            "a.mp4": before["a.mp4"],
            "deep/b.mp4": before["b.mp4"],
        }
        assert captions(dataset) == Counts(2)
        list_videos(dataset, folder)


def test_relocate_puts_one_video_into_a_folder(folder, dataset):
    (folder / "deep").mkdir()
    (folder / "b.mp4").rename(folder / "deep" / "b.mp4")
    relocate(dataset, folder / "b.mp4", folder / "deep")
    assert sorted(owners(dataset, folder)) == ["a.mp4", "deep/b.mp4"]


def test_relocate_into_a_subfolder_moves_nothing_twice(folder, dataset):
    dataset.remember_video_dir(folder)
    (folder / "sub").mkdir()
    for name in ("a.mp4", "b.mp4"):
        (folder / name).rename(folder / "sub" / name)
    relocate(dataset, folder, folder / "sub")
    with pytest.raises(UserError, match=r"has no video in .*videos outside .*videos/sub; one is"):
        relocate(dataset, folder, folder / "sub")
    assert sorted(owners(dataset, folder)) == ["sub/a.mp4", "sub/b.mp4"]
    assert dataset.video_dir() == folder / "sub"


def test_relocate_to_where_a_folder_has_a_video_s_name_says_so(dataset, folder, tmp_path, capsys):
    (tmp_path / "films" / "a.mp4").mkdir(parents=True)
    (tmp_path / "films" / "b.mp4").touch()
    relocate(dataset, folder, tmp_path / "films")
    assert capsys.readouterr().out.endswith(
        f"note: 1 are not there, such as {tmp_path}/films/a.mp4\n"
    )


def test_relocate_finds_the_folder_of_a_named_dataset_in_a_relative_data_root(
    tmp_path, monkeypatch
):
    name, video_dir = next(iter(named_datasets().items()))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / video_dir
    folder.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(b"a")
    dataset = Dataset(name, Path("data") / name)
    list_videos(dataset, folder)
    new = folder.rename(tmp_path / "films")
    relocate(dataset, folder, new)
    assert dataset.video_dir() == new


def test_a_new_file_under_the_name_of_a_renamed_video_stops_the_run(folder, dataset):
    (folder / "b.mp4").rename(folder / "c.mp4")
    (folder / "b.mp4").write_bytes(b"another video")
    before = dataset.table("init").path.read_bytes()
    with pytest.raises(
        UserError, match=r"b\.mp4 would get the id of .*/c\.mp4, mine_\w+: rename one of them"
    ):
        list_videos(dataset, folder)
    assert dataset.table("init").path.read_bytes() == before
