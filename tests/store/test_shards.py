"""Which shard a video belongs to, how people name shards, and folders that are half sharded."""

import orjson
import pytest

from tools.errors import UserError
from tools.store.dataset import open_dataset, open_shards
from tools.store.shards import hash_of

# Ids of one video a shard.
IDS = ("big_00000000000a", "big_0700000000bb", "big_3a00000000cc", "big_ff00000000dd")


@pytest.fixture
def root(tmp_path):
    """A data root with `big`, four shards of two digits, and `plain`, without shards."""
    folder = tmp_path / "big"
    for video_id in IDS:
        anno = folder / "shards" / video_id[4:6] / "anno"
        anno.mkdir(parents=True)
        record = {"video_id": video_id, "video_path": f"/v/{video_id}.mp4", "filtered": False}
        (anno / "init.jsonl").write_bytes(orjson.dumps(record) + b"\n")
    (folder / "dataset.json").write_text('{"shard_digits": 2, "ids": "big", "video_dir": "/v"}')
    (tmp_path / "plain" / "anno").mkdir(parents=True)
    return tmp_path


def test_a_video_belongs_to_the_shard_that_its_id_names(root):
    big = open_dataset("big", root, whole=True)
    assert big.shard_of(IDS[2]).root == root / "big/shards/3a"
    assert big.scan_path(IDS[2]) == root / f"big/shards/3a/scan/3a/{IDS[2]}.npz"
    assert str(big.video_path({"video_id": IDS[2], "video_path": "/before"})) == f"/v/{IDS[2]}.mp4"
    assert str(big.video_dir()) == str(big.shard_of(IDS[0]).video_dir()) == "/v"
    assert big.shard_of(IDS[0]).judgements == root / "big/judgements.jsonl"


def test_ids_of_other_programs_are_spread_by_their_hash():
    assert hash_of("mine_0a1b2c3d4e5f") == "0a1b2c3d4e5f"
    assert hash_of("video_000017") == "851b45229a16"


@pytest.mark.parametrize(
    ("selection", "shards"),
    [
        (None, ["00", "07", "3a", "ff"]),
        ("00-0f", ["00", "07"]),
        ("3a", ["3a"]),
        ("00,07,10-3a", ["00", "07", "3a"]),
        ("08-ff", ["3a", "ff"]),
    ],
)
def test_shards_are_taken_one_by_one_and_by_ranges(root, selection, shards):
    assert [shard.shard for shard in open_shards("big", root, selection)] == shards


def test_one_shard_is_a_dataset_by_its_name(root):
    shard = open_dataset("big/3a", root)
    assert (shard.root, shard.title) == (root / "big/shards/3a", "big/3a")
    assert shard.shards() == [shard]


@pytest.mark.parametrize(
    ("name", "selection", "message"),
    [
        ("plain", "00", "--shards 00: plain has no shards"),
        ("big", "3", "--shards 3: the shards of big are named by 2 hex digits, such as 3a, 00-0f"),
        ("big", "0f-00", "--shards 0f-00: the shards of big are named by 2 hex digits"),
        ("big", "3A", "--shards 3A: the shards of big are named by 2 hex digits"),
        ("big", "10-1f", "big has no video in shards 10-1f"),
        ("big/00-0f", None, "dataset name 'big/00-0f': use letters"),
    ],
)
def test_shards_that_are_not_there_are_a_mistake(root, name, selection, message):
    with pytest.raises(UserError, match=message):
        open_shards(name, root, selection)


def test_what_takes_no_shards_says_so(root):
    with pytest.raises(UserError, match="big has shards: this command takes one of them, such as"):
        open_dataset("big", root)


def test_a_shard_of_another_dataset_is_refused(root):
    (root / "big/shards/3a").rename(root / "big/shards/3b")
    with pytest.raises(UserError, match=r"3b/anno/init.jsonl holds videos that are not of big/3b"):
        open_shards("big", root, None)
    assert [shard.shard for shard in open_shards("big", root, "00-0f")] == ["00", "07"]


@pytest.mark.parametrize("made", ["anno/init.jsonl", "shards/abc/anno/init.jsonl"])
def test_a_folder_that_is_half_sharded_is_refused(root, made):
    file = root / "big" / made
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(UserError, match=r"big is half sharded: .* move one of the two away"):
        open_dataset("big", root, whole=True)


def test_shards_that_dataset_json_does_not_name_are_refused(root):
    (root / "big" / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"big is half sharded: .* dataset.json names no shards"):
        open_dataset("big", root, whole=True)
