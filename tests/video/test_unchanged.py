"""When the folder is known to be as it was listed, without a look at each record."""

import os

import pytest

from tools.video.listing import Listing, list_videos
from tools.video.unchanged import is_unchanged


@pytest.fixture
def folder(tmp_path, dataset):
    """Three videos that are listed, and a file that is none."""
    videos = tmp_path / "videos"
    for number, name in enumerate(("a.mp4", "b/a.mp4", "b/c.mkv")):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        (videos / name).write_bytes(b"x" * number)
    (videos / "film.mpg").touch()
    list_videos(dataset, videos)
    return videos


def test_a_folder_as_it_was_listed_is_unchanged_and_the_lines_are_the_same(folder, dataset, capsys):
    capsys.readouterr()
    assert is_unchanged(dataset, folder, Listing())
    ours = capsys.readouterr().out
    list_videos(dataset, folder)
    assert ours == capsys.readouterr().out
    assert ours.startswith(f"init: 3 videos, 0 of them new, in {folder}\ninit: 1 .mpg skipped")


def fill(path):
    path.write_bytes(b"longer than before")


CHANGES = {
    "a new video": lambda folder: fill(folder / "d.mp4"),
    "a video gone": lambda folder: (folder / "a.mp4").unlink(),
    "another size": lambda folder: fill(folder / "a.mp4"),
    "another name": lambda folder: (folder / "a.mp4").rename(folder / "e.mp4"),
    "a hard link": lambda folder: os.link(folder / "b/c.mkv", folder / "c.mkv"),
    "a link": lambda folder: (folder / "c.mkv").symlink_to(folder / "b/c.mkv"),
    "a linked folder": lambda folder: (folder / "d").symlink_to(folder / "b"),
    "a name that is not UTF-8": lambda folder: (folder / os.fsdecode(b"\xff.mp4")).touch(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_noticed(folder, dataset, change):
    CHANGES[change](folder)
    assert not is_unchanged(dataset, folder, Listing())


@pytest.mark.parametrize("change", ["a video gone", "another name", "a name that is not UTF-8"])
def test_what_needs_a_look_at_its_record_is_not_passed_over_later(folder, dataset, change):
    CHANGES[change](folder)
    list_videos(dataset, folder)
    assert not is_unchanged(dataset, folder, Listing())


def test_copies_are_looked_for_each_time(folder, dataset):
    assert not is_unchanged(dataset, folder, Listing(find_copies=True))


def test_a_file_whose_content_is_not_noted_is_looked_at(folder, dataset):
    records = list(dataset.table("files").read())
    dataset.table("files").write(records[1:])
    assert not is_unchanged(dataset, folder, Listing())
