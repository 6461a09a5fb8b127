"""tools.publish: what it leaves of a folder that holds something already."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tools.pairs.perturbation import configs, select
from tools.store.dataset import Dataset

FRAMES = 24


def frame_indices(first):
    """Two key frames for each of four clips of six frames."""
    return [[6 * clip + first, 6 * clip + first + 2] for clip in range(4)]


@pytest.fixture
def mine(make_video, tmp_path):
    """Pairs about two real videos of a second, with four clips each."""
    dataset = Dataset("mine", tmp_path / "data" / "mine")
    cuts = [[clip, 6 * clip, 6 * clip + 5] for clip in range(4)]
    records = [
        {
            "video_id": f"mine_{name}",
            "video_path": str(tmp_path / "films" / f"{name}.mp4"),
            "video_name": f"{name}.mp4",
            "filtered": False,
            "fps": FRAMES,
            "filtered_cuts": cuts,
            "merged_groups": [[clip, [clip]] for clip in range(4)],
            "frame_indices": frame_indices(1),
            "clip_captions": ["Rain falls.", "A cat sleeps.", "A bus stops.", "The sun sets."],
        }
        for name in ("first", "second")
    ]
    for record in records:
        make_video(Path(record["video_path"]), [("beach", FRAMES)], rate=FRAMES)
    for name in ("init", "videos", "clip_captions_dryrun"):
        dataset.table(name).write(records)
    for config in configs():
        rows = []
        for record in records:
            order = select(config, 4, 0, record["video_id"]).indices
            text = " ".join(record["clip_captions"][clip] for clip in order)
            rows.append({**record, "response": text, "info": {"selected_indices": order}})
        dataset.responses("dryrun", config.name).write(rows)
    return dataset


@pytest.fixture
def publish(mine, run_script, tmp_path):
    """Run tools.publish into tmp_path/out; what it prints as an error."""

    def run(*flags, code=0, to=tmp_path / "out"):
        words = ("-m", "tools.publish", "mine", "--to", to, *flags)
        done = run_script(*words, "--data_root", tmp_path / "data")
        assert done.returncode == code, done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        return errors[0] if errors else ""

    return run


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_that_is_published_again_holds_what_its_card_says(mine, publish, tmp_path):
    out = tmp_path / "out"
    publish()
    key_frames = [f"{index:06}.jpg" for index in (1, 3, 7, 9, 13, 15, 19, 21)]
    assert files(out) == sorted(
        [
            *("README.md", "clips.jsonl", "funnel.json", "pairs.parquet"),
            *(f"videos/mine_{name}.mp4" for name in ("first", "second")),
            *(f"key_frames/mine_{name}/{f}" for name in ("first", "second") for f in key_frames),
        ]
    )
    (tmp_path / "films" / "first.mp4").unlink()  # its pairs are dropped as video_gone
    publish()
    assert files(out / "videos") == ["mine_second.mp4"]
    assert files(out / "key_frames") == [f"mine_second/{name}" for name in key_frames]
    publish("--videos", "none")
    assert not files(out / "videos")
    assert "the videos are not here" in (out / "README.md").read_text()


def test_other_key_frames_replace_those_of_before(mine, publish, tmp_path, read_stamp):
    import cv2

    publish()
    captions = mine.table("clip_captions_dryrun")
    captions.write([{**row, "frame_indices": frame_indices(2)} for row in captions.read()])
    publish()
    clips = [json.loads(line) for line in (tmp_path / "out/clips.jsonl").read_text().splitlines()]
    for row in clips:
        named = [tmp_path / "out" / name for clip in row["clips"] for name in clip["key_frames"]]
        pictures = [cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB) for file in named]
        assert [read_stamp(picture) for picture in pictures] == [2, 4, 8, 10, 14, 16, 20, 22]
        assert sorted(named[0].parent.iterdir()) == named


def test_links_to_videos_are_followed(mine, publish, tmp_path):
    films = tmp_path / "films"
    films.rename(tmp_path / "store")
    films.mkdir()
    for name in ("first", "second"):
        (films / f"{name}.mp4").symlink_to(Path("..", "store", f"{name}.mp4"))
    publish()
    video = tmp_path / "out" / "videos" / "mine_first.mp4"
    assert not video.is_symlink()
    assert os.path.samefile(video, tmp_path / "store" / "first.mp4")
    publish("--videos", "copy")
    assert not os.path.samefile(video, tmp_path / "store" / "first.mp4")
    assert video.read_bytes() == (tmp_path / "store" / "first.mp4").read_bytes()


def test_a_folder_of_somebody_elses_stays_as_it_is(mine, publish, tmp_path):
    out = tmp_path / "out"
    (out / "videos").mkdir(parents=True)
    (out / "README.md").write_text("a project")
    error = f"error: --to {out} holds other files, such as README.md: name a new folder"
    assert publish(code=2) == error
    assert files(out) == ["README.md"]
    assert (out / "README.md").read_text() == "a project"
    shutil.rmtree(out)
    publish()
    funnel = json.loads((out / "funnel.json").read_text())
    (out / "funnel.json").write_text(json.dumps({**funnel, "datasets": ["yours"]}))
    error = f"error: --to {out} holds pairs of yours: name a new folder"
    assert publish(code=2) == error


def test_a_folder_that_was_not_finished_has_no_card_and_is_gone_on_with(mine, publish, tmp_path):
    out, second = tmp_path / "out", tmp_path / "films" / "second.mp4"
    publish()
    good = second.read_bytes()
    second.write_bytes(b"no video")
    error = publish(code=2)
    assert error.startswith(f"error: videos that cannot be read: 1, such as {second} (")
    assert not (out / "README.md").exists()
    second.write_bytes(good)
    publish()
    assert (out / "README.md").exists()


def test_where_no_pair_is_left_the_finished_folder_stays_finished(mine, publish, tmp_path):
    publish()
    before = files(tmp_path / "out")
    assert "README.md" in before
    for config in configs():
        table = mine.responses("dryrun", config.name)
        table.write([{**row, "response": ""} for row in table.read()])
    assert publish(code=2).startswith("error: no pair is left, so nothing was written")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["videos", "key_frames", "clips.jsonl"])
def test_a_file_for_a_folder_is_one_line(mine, publish, tmp_path, name):
    publish("--videos", "none")
    if (path := tmp_path / "out" / name).is_file():
        path.unlink()
        path.mkdir()
    else:
        shutil.rmtree(path, ignore_errors=True)
        path.touch()
    assert publish(code=2).startswith(f"error: cannot write {path}: ")


def test_an_iteration_without_responses_names_those_there_are(publish):
    assert publish("--iteration", 3, code=2) == (
        "error: mine has no responses of iteration 3; there are: dryrun (iter 0)"
    )
