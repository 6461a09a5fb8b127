"""A sharded data set gives what the same videos give without shards, and says what it does not."""

import shutil

import orjson
import pytest

from tools.store.dataset import Dataset, open_dataset

LIGHT = ("--shot_detector", "adaptive", "--embedder", "color")
SHARDS = ["3", "8", "d", "f"]  # of three.mp4, one.mp4, two.mkv and broken.mp4


@pytest.fixture(scope="module")
def videos(tmp_path_factory, tiny_videos):
    folder = tmp_path_factory.mktemp("shard_videos") / "videos"
    shutil.copytree(tiny_videos, folder)
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture(scope="module")
def roots(tmp_path_factory, videos, run_script):
    """(data root with shards, data root without, lines printed of the former): stages 1 to 3."""
    sharded, plain = tmp_path_factory.mktemp("sharded"), tmp_path_factory.mktemp("plain")
    printed = []

    def run(root, *words):
        done = run_script(*words, "--data_root", root)
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)

    run(sharded, "preprocess.py", "mine", 1, "--video_dir", videos, "--shard_digits", 1)
    run(plain, "preprocess.py", "mine", 1, "--video_dir", videos, *LIGHT)
    run(sharded, "preprocess.py", "mine", 1, "--shards", "8-f", *LIGHT)
    run(sharded, "preprocess.py", "mine", 1, *LIGHT)
    for root in (sharded, plain):
        run(root, "generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun")
        run(root, "generate_dpo_data.py", "mine", 1, "--model", "dryrun")
    return sharded, plain, printed


def records(dataset, name):
    """A table's lines, those of all shards one after the other."""
    files = [shard.table(name).path for shard in dataset.shards()]
    return b"".join(file.read_bytes() for file in files if file.exists())


def test_stage_one_takes_one_shard_by_its_name(roots, run_script):
    done = run_script("preprocess.py", "mine/8", 1, *LIGHT, "--data_root", roots[0])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("shard 8 of mine\nscene: nothing to do (1 done)")
    assert "shard 3" not in done.stdout


def test_no_shards_are_not_all_shards(roots, run_script):
    done = run_script("preprocess.py", "mine", 1, "--shards", "", "--data_root", roots[0])
    assert done.returncode == 2
    assert "the shards of mine are named by 1 hex digits, such as 3, 0-7 or 0,2,8-f" in done.stderr


def test_every_table_holds_the_same_lines(roots):
    sharded, plain, _ = roots
    with_shards, without = Dataset("mine", sharded / "mine"), Dataset("mine", plain / "mine")
    assert [shard.shard for shard in with_shards.shards()] == SHARDS
    for name in ("init", "files", "scene", "videos", "clip_captions_dryrun"):
        assert records(with_shards, name) == records(without, name) != b""


def test_a_shard_without_a_good_video_does_not_stop_the_others(roots):
    _, _, printed = roots
    assert "shard f of mine\nscene: 0 done, 1 failed (VideoError: " in printed[2]
    assert "note: nothing to do for filter_scene" in printed[2]
    assert "shard 3 of mine" not in printed[2]
    assert "shard 3 of mine\nscene: 1 done" in printed[3]
    assert "shard 8 of mine\nscene: nothing to do (1 done)" in printed[3]


def test_a_shard_without_a_good_video_is_done_in_every_stage(roots, run_script):
    for words in (
        ("preprocess.py", "mine/f", 1, *LIGHT),
        ("generate_meta_data.py", 1, "--dataset", "mine/f", "--model", "dryrun"),
        ("generate_dpo_data.py", "mine", 1, "--shards", "f", "--model", "dryrun"),
    ):
        done = run_script(*words, "--data_root", roots[0])
        assert done.returncode == 0, done.stderr
        assert "note: nothing to do for " in done.stdout


@pytest.mark.parametrize("flags", [(), ("--val", "0.3", "--distinct_levels")])
def test_the_pairs_are_the_same_bytes(roots, tmp_path, run_script, flags):
    written = []
    for number, root in enumerate(roots[:2]):
        output = tmp_path / str(number) / "pairs.json"
        done = run_script(
            *("convert_to_swift.py", "dryrun", 16, 8, 4, 2, "--dataset", "mine", *flags),
            *("--output", output, "--data_root", root),
        )
        assert done.returncode == 0, done.stderr
        written.append([path.read_bytes() for path in sorted(output.parent.glob("pairs*.json"))])
        funnel = orjson.loads(written[-1].pop(0))
        assert funnel["datasets"] == ["mine"]
        assert funnel.get("shards", []) == ([] if number else ["mine/3", "mine/8", "mine/d"])
    assert written[0] == written[1]
    rows = [len(orjson.loads(file)) for file in written[0]]
    assert len(rows) == (2 if flags else 1) and min(rows) > 0 and sum(rows) > 12


def test_convert_takes_some_shards(roots, tmp_path, run_script):
    output = tmp_path / "pairs.json"
    done = run_script(
        *("convert_to_swift.py", "dryrun", 16, "--dataset", "mine", "--shards", "0-8"),
        *("--output", output, "--data_root", roots[0]),
    )
    assert done.returncode == 0, done.stderr
    rows = orjson.loads(output.read_bytes())
    assert {row["videos"][0].rpartition("/")[2] for row in rows} == {"three.mp4", "one.mp4"}


def test_shards_are_made_with_the_same_settings(roots, tmp_path, run_script):
    shutil.copytree(roots[0], tmp_path, dirs_exist_ok=True)
    end = ("--data_root", tmp_path)

    def refused(*words):
        done = run_script(*words, *end)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        return done.stderr.removeprefix("error: ")

    # Shard d is made anew, with other settings than 3, 8 and f.
    shutil.rmtree(tmp_path / "mine/shards/d/dpo-dryrun")
    for table in (tmp_path / "mine/shards/d/anno").glob("*"):
        if table.name.split(".")[0] not in ("init", "files"):
            table.unlink()
    light, other = ("preprocess.py", "mine/d", 1, *LIGHT), ("--min_shots", 3)
    assert refused(*light, *other) == (
        "filter_scene.jsonl of mine/3 was made with min_shots=4, this run has min_shots=3: give the"
        " old value, or rebuild all shards with --redo filter_scene\n"
    )
    captions = ("generate_meta_data.py", 1, "--dataset", "mine/d", "--model", "dryrun")
    responses = ("generate_dpo_data.py", "mine/d", 1, "--model", "dryrun")
    # The user wants it so.
    for words in ((*light, *other, "--redo", "scene"), captions, responses):
        assert run_script(*words, *end).returncode == 0
    convert = ("convert_to_swift.py", "dryrun", 16, "--dataset", "mine")
    convert += ("--output", tmp_path / "pairs.json")
    shards = tmp_path / "mine/shards"
    assert refused(*convert) == (
        f"{shards}/d/anno/filter_scene.jsonl and {shards}/3/anno/filter_scene.jsonl were not made"
        " alike (min_shots differ): run one of these shards again with --redo filter_scene\n"
    )
    assert run_script(*convert, "--shards", "3,8", *end).returncode == 0
    assert refused(*responses, "--seed", 1).startswith(
        "caption_caption_none_1_False_False.jsonl of"
    )


def test_convert_takes_no_shard_twice(roots, tmp_path, run_script):
    done = run_script(
        *("convert_to_swift.py", "dryrun", 16, "--dataset", "mine", "mine/8"),
        *("--output", tmp_path / "pairs.json", "--data_root", roots[0]),
    )
    assert done.returncode == 2
    assert done.stderr == "error: a shard is named twice: mine/8, in --dataset mine mine/8\n"


def test_convert_does_not_replace_pairs_of_shards_that_are_left_out(roots, tmp_path, run_script):
    def convert(*words):
        output = ("--output", tmp_path / "pairs.json", "--data_root", roots[0])
        return run_script("convert_to_swift.py", "dryrun", 16, *words, *output)

    assert convert("--dataset", "mine/8").returncode == 0
    assert convert("--dataset", "mine").returncode == 0
    before = (tmp_path / "pairs.json").read_bytes()
    for words in (("mine/8",), ("mine", "--shards", "8,d")):
        done = convert("--dataset", *words)
        assert done.returncode == 2
        assert "was made from shards that are left out now, such as mine/3" in done.stderr
    assert (tmp_path / "pairs.json").read_bytes() == before


def test_status_adds_up(roots, run_script):
    funnels = []
    for root in roots[:2]:
        done = run_script("-m", "tools.status", "mine", "--json", "--data_root", root)
        status = orjson.loads(done.stdout)
        assert (status["videos"], status["kept"], status["failed"]) == (4, 3, 1)
        funnels.append(status["steps"])
    assert funnels[0] == funnels[1]


def test_the_viewer_opens_all_shards_or_one(roots, cache):
    from visualize.index.index import DatasetIndex
    from visualize.index.view import Filters, View

    names = {"mine": 4, "mine/8": 1}
    pairs = {}
    for name, videos in names.items():
        index = DatasetIndex(open_dataset(name, roots[0], whole=True))
        view = View(index, index.renew())
        assert sum(row["videos"] for row in view.statuses()) == videos
        pairs[name] = len(view.select(Filters()))
        [one] = view.videos(text="one.mp4")
        assert view.video(one["video_id"])["video_name"] == "one.mp4"
    assert pairs == {"mine": 36, "mine/8": 12}


def test_the_viewer_lists_the_shards_after_their_dataset(roots):
    from visualize.session import _titles

    assert list(_titles(roots[0])) == ["mine", *(f"mine/{shard}" for shard in SHARDS)]
    assert list(_titles(roots[1])) == ["mine"]


def test_a_step_that_takes_no_shards_says_so(roots, run_script):
    for words in (
        ("-m", "tools.publish", "mine", "--to", roots[0] / "published"),
        ("-m", "qa.read", "mine", "--format", "nextqa", "--questions", "q.csv"),
        ("-m", "grounding.flow", "mine", 1),
    ):
        done = run_script(*words, "--data_root", roots[0])
        assert done.returncode == 2
        assert done.stderr.splitlines() == [done.stderr.strip()]
    assert done.stderr.strip() == (
        "error: mine has shards: this command takes one of them, such as mine/3"
    )
    assert not (roots[0] / "published").exists()


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--shard_digits", 4], "--shard_digits 4: 1, 2 or 3, for 16, 256 or 4096 shards"),
        (["--shards", "0-3"], "no dataset 'new' in"),
        (["--shards", "0", "--shard_digits", 1], "--shards takes videos that are listed"),
    ],
)
def test_a_mistake_about_shards_writes_nothing(tmp_path, videos, run_script, flags, error):
    words = ("preprocess.py", "new", 1, *flags, "--data_root", tmp_path)
    if "--shards" not in flags:
        words += ("--video_dir", videos)
    done = run_script(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {error}")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_keeps_the_shards_that_it_has_or_has_not(roots, videos, run_script):
    for root, digits, error in (
        (roots[0], 2, "error: --shard_digits 2: mine has shards of 1 digits\n"),
        (roots[1], 1, "error: --shard_digits 1: mine is there without shards; give the sharded"),
    ):
        done = run_script("preprocess.py", "mine", 1, "--shard_digits", digits, "--data_root", root)
        assert done.returncode == 2
        assert done.stderr.startswith(error)
