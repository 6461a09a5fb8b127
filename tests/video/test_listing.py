"""Which files of a folder are videos, and the ids they get and keep."""

import hashlib
import os
import shutil

import orjson
import pytest

from tools.errors import UserError
from tools.status import funnel
from tools.store.dataset import Dataset
from tools.video.listing import Listing, find_videos, list_videos, video_id


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "videos"


@pytest.fixture
def dataset(tmp_path):
    return Dataset("mine", tmp_path / "data" / "mine")


def touch(folder, *names):
    """Make files; the listing does not look into them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(dataset):
    """video_name -> record, of init.jsonl."""
    return {record["video_name"]: record for record in dataset.table("init").read()}


def lines(path):
    """The records of a JSONL file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


# What is a video


def test_videos_are_found_by_their_extension(folder):
    touch(folder, "a.mp4", "b.mkv", "c.webm", "d.mov", "e.avi", "f.m4v", "g.ts", "h.MP4", "i.MkV")
    touch(folder, "a.txt", "b.mp4.part", "mp4", "c.jpg", ".hidden.mp4", ".trash/a.mp4")
    assert [name[0] for name in find_videos(folder)] == list("abcdefghi")


def test_folders_are_walked_in_order(folder):
    touch(folder, "b.mp4", "a/c.mp4", "a/b/d.mp4", "z.mp4/e.mp4", "c/notes.txt")
    assert list(find_videos(folder)) == ["a/b/d.mp4", "a/c.mp4", "b.mp4", "z.mp4/e.mp4"]


def test_symlinks_are_followed_but_not_in_circles(folder, tmp_path):
    touch(folder, "a/b/c.mp4")
    touch(tmp_path / "elsewhere", "d.mp4")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "e.mp4").symlink_to(tmp_path / "elsewhere" / "d.mp4")
    (folder / "a" / "b" / "up").symlink_to(folder)
    (folder / "a" / "here").symlink_to(".")
    (folder / "itself.mp4").symlink_to("itself.mp4")
    (folder / "itself").symlink_to("itself")
    (folder / "nowhere.mp4").symlink_to("gone.mp4")
    # Links that lead to themselves or nowhere are listed, so that the scan can say why they fail.
    assert list(find_videos(folder)) == [
        "a/b/c.mp4",
        "e.mp4",
        "itself.mp4",
        "link/d.mp4",
        "nowhere.mp4",
    ]


ODD_NAMES = [
    "spaces in the name.mp4",
    "new\nline.mp4",
    "-dash.mp4",
    "co:lon.mp4",
    "per%cent%03d.mp4",
    "question?hash#.mp4",
    'quo"te\\back.mp4',
    "ünïcödé 日本語 🎬.mp4",
    "n" * 251 + ".mp4",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(name, folder, dataset):
    touch(folder, name)
    list_videos(dataset, folder)
    record = listed(dataset)[name]
    assert record["video_path"] == str(folder / name)


# Ids


def test_a_record_of_init(folder, dataset):
    touch(folder, "a/b.mp4")
    list_videos(dataset, folder)
    assert listed(dataset)["a/b.mp4"] == {
        "video_id": "mine_26c7cf8b9527",
        "video_path": str(folder / "a/b.mp4"),
        "video_name": "a/b.mp4",
        "filtered": False,
    }


def test_one_name_in_two_folders_is_two_videos(folder, dataset):
    touch(folder, "a/x.mp4", "b/x.mp4")
    list_videos(dataset, folder)
    assert len({record["video_id"] for record in listed(dataset).values()}) == 2


def test_a_rerun_adds_what_is_new(folder, dataset, capsys):
    touch(folder, "b.mp4", "c.mp4")
    list_videos(dataset, folder)
    before = listed(dataset)
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    after = listed(dataset)
    assert set(after) == {"a.mp4", "b.mp4", "c.mp4"}
    assert {name: after[name] for name in before} == before
    assert "init: 3 videos, 1 of them new" in capsys.readouterr().out


def test_a_rerun_with_nothing_new_writes_nothing(folder, dataset):
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    before = dataset.table("init").path.stat()
    list_videos(dataset, folder)
    assert dataset.table("init").path.stat().st_ino == before.st_ino


def test_another_folder_with_the_same_names_is_refused(folder, dataset, tmp_path):
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    before = dataset.table("init").path.read_bytes()
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    with pytest.raises(UserError, match="two datasets"):
        list_videos(dataset, other)
    assert dataset.table("init").path.read_bytes() == before


def test_a_folder_that_has_moved_keeps_its_ids(folder, dataset, tmp_path, capsys):
    touch(folder, "a.mp4", "deep/b.mp4")
    list_videos(dataset, folder)
    before = listed(dataset)
    moved = tmp_path / "elsewhere" / "films"
    moved.parent.mkdir()
    shutil.move(folder, moved)
    list_videos(dataset, moved)
    after = listed(dataset)
    assert {name: after[name]["video_id"] for name in after} == {
        name: before[name]["video_id"] for name in before
    }
    assert after["deep/b.mp4"]["video_path"] == str(moved / "deep/b.mp4")
    assert "init: 2 videos have moved" in capsys.readouterr().out


def test_a_folder_given_from_higher_up_keeps_its_ids(folder, dataset, tmp_path):
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    before = listed(dataset)["a.mp4"]["video_id"]
    touch(tmp_path / "others", "a.mp4")
    list_videos(dataset, tmp_path)
    assert listed(dataset)["a.mp4"]["video_id"] == before
    assert set(listed(dataset)) == {"a.mp4", "others/a.mp4"}


def test_two_videos_never_share_an_id(folder, dataset, tmp_path):
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    touch(tmp_path, "a.mp4")
    with pytest.raises(UserError, match=r"a\.mp4 would get the id of .*rename one of them$"):
        list_videos(dataset, tmp_path)


# Folders made by the reference


def reference(dataset, *paths):
    """An init.jsonl as the reference writes it: numbered, in listing order, names without
    folders."""
    dataset.table("init").write(
        {
            "video_id": f"mine_{number}",
            "video_path": path,
            "video_name": os.path.basename(path),
            "filtered": False,
        }
        for number, path in enumerate(paths)
    )


@pytest.mark.parametrize("root", ["{folder}/", "/gone/videos/", "data/mine/video/", ""])
def test_numbered_ids_stay(root, folder, dataset):
    root = root.format(folder=folder)
    reference(dataset, f"{root}a.mp4", f"{root}deep/er/b.mp4", f"{root}other/b.mp4")
    touch(folder, "a.mp4", "deep/er/b.mp4", "other/b.mp4", "new.mp4")
    for _ in range(2):
        list_videos(dataset, folder)
        ids = {record["video_path"]: record["video_id"] for record in dataset.table("init").read()}
        assert ids == {
            f"{folder}/a.mp4": "mine_0",
            f"{folder}/deep/er/b.mp4": "mine_1",
            f"{folder}/other/b.mp4": "mine_2",
            f"{folder}/new.mp4": video_id("mine", "new.mp4"),
        }


def test_a_part_of_init_is_read_too(folder, dataset):
    reference(dataset, "/gone/a.mp4")
    dataset.table("init").path.rename(dataset.table("init").part(0, 1))
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    assert listed(dataset)["a.mp4"]["video_id"] == "mine_0"
    assert dataset.table("init").parts() == []


# What cannot be listed


NOT_UTF8 = os.fsdecode(b"caf\xe9.mp4")


def test_a_name_that_is_not_utf8_is_a_failure_with_its_reason(folder, dataset, capsys):
    touch(folder, "a.mp4", NOT_UTF8)
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"a.mp4"}
    failed = dataset.table("init").failed.path
    assert lines(failed) == [
        {
            "video_id": "mine_" + hashlib.sha1(b"caf\xe9.mp4").hexdigest()[:12],
            "step": "init",
            "error": "VideoError: name is not UTF-8: rename caf\\xe9.mp4",
            "attempts": 1,
        }
    ]
    assert "init: 1 failed" in capsys.readouterr().out
    counts = dict(funnel(dataset))["init"]
    assert (counts.done, counts.total) == (1, 2)
    assert counts.failed == {"VideoError: name is not UTF-8": 1}
    (folder / NOT_UTF8).rename(folder / "café.mp4")
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"a.mp4", "café.mp4"}
    assert not failed.exists()


def test_a_folder_whose_name_is_not_utf8(folder, dataset):
    touch(folder, "a.mp4", os.fsdecode(b"\xff\xfe/b.mp4"))
    list_videos(dataset, folder)
    (failure,) = lines(dataset.table("init").failed.path)
    assert failure["error"] == "VideoError: name is not UTF-8: rename \\xff\\xfe/b.mp4"
    with pytest.raises(UserError, match=r"\\xff\\xfe: its path is not UTF-8: rename it$"):
        list_videos(dataset, folder / os.fsdecode(b"\xff\xfe"))


def test_no_video(folder, dataset):
    with pytest.raises(UserError, match=r"no such folder; name one with --video_dir, or"):
        list_videos(dataset, folder)
    touch(folder, "a.txt")
    with pytest.raises(UserError, match=r"no video in it \(avi m4v mkv mov mp4 ts webm\)$"):
        list_videos(dataset, folder)
    touch(folder, NOT_UTF8)
    with pytest.raises(UserError, match="no video in it but 1 whose names are not UTF-8"):
        list_videos(dataset, folder)


# Files with several names, and files of other kinds


def test_a_file_is_listed_once_whatever_its_names(folder, dataset, capsys):
    touch(folder, "day 1/a.mp4")
    (folder / "latest").symlink_to("day 1")
    (folder / "b favourite.mp4").symlink_to("day 1/a.mp4")
    os.link(folder / "day 1/a.mp4", folder / "z hard.mp4")
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"day 1/a.mp4"}
    assert (
        "init: 3 files left out, because they are listed under another name, such as"
        " b favourite.mp4, which is day 1/a.mp4"
    ) in capsys.readouterr().out


def test_a_name_that_is_listed_stays_the_file_s_own(folder, dataset, capsys):
    touch(folder, "b.mp4")
    list_videos(dataset, folder)
    os.link(folder / "b.mp4", folder / "a.mp4")
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"b.mp4"}
    assert "such as a.mp4, which is b.mp4" in capsys.readouterr().out


def test_two_names_of_a_file_that_are_listed_already_stay(folder, dataset, capsys):
    touch(folder, "a.mp4")
    list_videos(dataset, folder)
    touch(folder, "b.mp4")
    list_videos(dataset, folder)
    (folder / "b.mp4").unlink()
    os.link(folder / "a.mp4", folder / "b.mp4")
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"a.mp4", "b.mp4"}
    assert "; 1 more were listed before and stay" in capsys.readouterr().out


def test_copies_are_found_by_their_content_where_that_is_asked_for(folder, dataset):
    folder.mkdir()
    contents = {"a": "one", "copy of a": "one", "b": "two", "longer": "three"}
    for name, content in contents.items():
        (folder / f"{name}.mp4").write_text(content)
    list_videos(dataset, folder, Listing(find_copies=True))
    assert set(listed(dataset)) == {"a.mp4", "b.mp4", "longer.mp4"}
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"a.mp4", "b.mp4", "copy of a.mp4", "longer.mp4"}


def test_files_with_other_extensions_are_named_and_taken_where_they_are_asked_for(
    folder, dataset, capsys
):
    touch(folder, "a.mp4", "b.MPG", "c.mpg", "d.wmv", "e.txt")
    list_videos(dataset, folder)
    assert set(listed(dataset)) == {"a.mp4"}
    assert (
        "init: 2 .mpg, 1 .wmv skipped; --more_extensions mpg wmv includes them\n"
        in capsys.readouterr().out
    )
    list_videos(dataset, folder, Listing(more_extensions=["mpg", ".WMV"]))
    assert set(listed(dataset)) == {"a.mp4", "b.MPG", "c.mpg", "d.wmv"}
    assert "skipped" not in capsys.readouterr().out


def test_a_folder_of_other_extensions_alone_says_so(folder, dataset):
    touch(folder, "a.mpg")
    with pytest.raises(
        UserError, match=r"no video in it .*; 1 \.mpg skipped; --more_extensions mpg"
    ):
        list_videos(dataset, folder)
