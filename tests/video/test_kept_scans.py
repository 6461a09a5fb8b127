"""Which scans a run leaves on disk."""

import pytest

from tools.store.jsonl import Table
from tools.video.decode import VideoError
from tools.video.kept_scans import KeptScans
from tools.video.scan import kept_scan, scan_file


@pytest.fixture
def scans(dataset):
    """The ids of the videos whose scans are there: `a` is filtered, `b` and `c` are kept."""
    for name in "abc":
        path = dataset.scan_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    record = {"video_id": "a", "filtered": True, "filter_reason": "too_few_shots"}
    Table(dataset.table("filter_scene").filtered_path).write([record])
    dataset.table("clip_captions_m").write([{"video_id": "b"}])

    def left():
        return [path.stem for path in sorted(dataset.root.glob("scan/*/*.npz"))]

    assert sorted(left()) == ["a", "b", "c"]
    return left


@pytest.mark.parametrize(
    ("keep", "after_stage_one", "after_captions"),
    [("all", "abc", "abc"), ("kept", "bc", "bc"), ("none", "bc", "c")],
)
def test_scans_go_once_nothing_needs_them(dataset, scans, keep, after_stage_one, after_captions):
    stay = KeptScans(keep)
    stay.delete_others(dataset, [dataset.table("scene"), dataset.table("filter_scene")])
    assert sorted(scans()) == list(after_stage_one)
    captions = dataset.table("clip_captions_m")
    stay.delete_others(dataset, [captions], captions)
    assert sorted(scans()) == list(after_captions)


def test_scans_lie_in_folders_by_the_hash_in_the_id(dataset):
    assert dataset.scan_path("mine_3ab4c5d6e7f8") == dataset.root / "scan/3a/mine_3ab4c5d6e7f8.npz"


def test_a_scan_of_an_earlier_release_is_used_where_it_is(dataset):
    before = dataset.root / "scan" / "mine_3ab4c5d6e7f8.npz"
    before.parent.mkdir()
    before.touch()
    assert dataset.scan_path("mine_3ab4c5d6e7f8") == before


@pytest.mark.parametrize("has_scan", [True, False])
def test_a_file_that_was_replaced_is_not_the_video_with_a_scan_or_without(
    dataset, make_video, tmp_path, has_scan
):
    video = make_video(tmp_path / "v.mp4", [("beach", 12)])
    size = video.stat().st_size
    dataset.table("files").write([{"video_id": "v", "bytes": size, "digest": "0"}])
    if has_scan:
        scan_file(video, dataset.scan_path("v"))
    scan = kept_scan(dataset, "v", video)
    assert (len(scan) == 12) if has_scan else scan is None
    make_video(video, [("fire", 24)])
    seen = "scanned" if has_scan else "listed"
    with pytest.raises(VideoError, match=f"^changed: the file is not the one that stage 1 {seen}$"):
        kept_scan(dataset, "v", video)


def test_a_video_of_which_no_size_is_noted_is_taken_as_it_is(dataset, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 12)])
    assert kept_scan(dataset, "v", video) is None
    dataset.table("files").write([{"video_id": "w", "bytes": 1, "digest": "0"}])
    assert kept_scan(dataset, "v", video) is None
