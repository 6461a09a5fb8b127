"""Stages 1 to 4 as a user types them, on small real videos."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tools.store.dataset import REPOSITORY


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_videos, run_script):
    """Everything a user gets out of a folder of videos: (data root, swift folder)."""
    root, swift = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("swift")
    here = ("--data_root", str(root))
    for words in (
        ("preprocess.py", "--dataset", "mine", "2", "--video_dir", str(tiny_videos)),
        ("generate_meta_data.py", "2", "--dataset", "mine", "--model", "dryrun"),
        ("generate_dpo_data.py", "mine", "2", "--model", "dryrun", "--seed", "0"),
        (
            *("convert_to_swift.py", "dryrun", "16", "8", "4", "2", "--dataset", "mine"),
            *("--per_level", "--output", str(swift)),
        ),
    ):
        light = ("--shot_detector", "adaptive", "--embedder", "color")
        flags = light if words[0] == "preprocess.py" else ()
        done = run_script(*words, *flags, *here)
        assert done.returncode == 0, done.stderr
    return root, swift


def rows(path: Path):
    """The records of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_step_leaves_its_file(run):
    root, _ = run
    for name in (
        *("init", "scene", "filter_scene", "similarity", "group", "filter_group"),
        *("extract_frame", "videos", "raw_clip_captions_dryrun", "clip_captions_dryrun"),
    ):
        assert len(rows(root / "mine" / "anno" / f"{name}.jsonl")) == 3
    responses = sorted((root / "mine" / "dpo-dryrun" / "iter_0").glob("*.jsonl"))
    assert len(responses) == 13
    assert all(len(rows(path)) == 3 for path in responses)


def test_no_part_is_left(run):
    root, _ = run
    assert not [path for path in root.rglob("*.jsonl.*") if path.suffix != ".filtered"]


def test_a_video_s_record_grows_from_step_to_step(run):
    root, _ = run
    record = rows(root / "mine" / "anno" / "clip_captions_dryrun.jsonl")[0]
    clips = len(record["merged_groups"])
    assert clips >= 4
    assert {len(record[key]) for key in ("frame_indices", "frame_times", "clip_captions")} == {
        clips
    }
    for pair, times in zip(record["frame_indices"], record["frame_times"], strict=True):
        assert pair == sorted(pair)
        assert times == pytest.approx([index / record["fps"] for index in pair], abs=1e-3)


def written_down(name):
    """{field: whether the reference writes it} of a file, by docs/files.md."""
    page = (REPOSITORY / "docs" / "files.md").read_text(encoding="utf-8")
    sections = page.split("\n### ")[1:]
    fields = {}
    for section in sections:
        own = re.findall(r"^\| `(\w+)` \| (yes|no) \|", section, flags=re.MULTILINE)
        fields = dict(own) if section.startswith("`dpo-") else fields | dict(own)
        if section.startswith(f"`{name}`"):
            return {field: reference == "yes" for field, reference in fields.items()}
    raise AssertionError(f"{name} is not on the page")


@pytest.mark.parametrize(
    "name",
    [
        "anno/init.jsonl",
        "anno/scene.jsonl",
        "anno/similarity.jsonl",
        "anno/group.jsonl",
        "anno/videos.jsonl",
        "anno/raw_clip_captions_<model>.jsonl",
        "anno/clip_captions_<model>.jsonl",
        "dpo-<model>/iter_<k>/<config>.jsonl",
    ],
)
def test_a_record_has_the_fields_that_are_written_down(run, name):
    root, _ = run
    fields = written_down(name)
    config = "caption_caption_drop_2_False_False"
    file = name.replace("<model>", "dryrun").replace("<k>", "0").replace("<config>", config)
    for record in rows(root / "mine" / file):
        assert {field for field, reference in fields.items() if reference} <= record.keys()
        assert record.keys() <= fields.keys()


def test_a_pair_is_two_tellings_of_one_video(run):
    _, swift = run
    pairs = json.loads((swift / "dryrun_i0_r2.json").read_text())
    assert len(pairs) == 9
    for pair in pairs:
        assert list(pair) == ["messages", "rejected_response", "videos"]
        user, assistant = pair["messages"]
        assert user["role"] == "user"
        assert user["content"].startswith("<video>")
        assert assistant["role"] == "assistant"
        assert assistant["content"] != pair["rejected_response"]
        assert Path(pair["videos"][0]).is_file()


def test_status_shows_where_every_video_is(run, run_script):
    root, _ = run
    shown = run_script("-m", "tools.status", "mine", "--data_root", str(root)).stdout
    assert "3 videos = 3 kept + 0 filtered + 0 failed + 0 left" in shown
    assert "responses dryrun" in shown


def test_a_second_run_has_nothing_to_do(run, run_script):
    root, _ = run
    before = {path: path.read_bytes() for path in root.rglob("*.jsonl")}
    done = run_script(
        *("preprocess.py", "mine", "3", "--embedder", "color", "--shot_detector", "adaptive"),
        *("--data_root", str(root)),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nothing to do") == 7
    assert {path: path.read_bytes() for path in root.rglob("*.jsonl")} == before


def test_a_folder_of_videos_that_has_moved_keeps_its_captions(
    run, tiny_videos, run_script, tmp_path
):
    root, _ = run
    shutil.copytree(root, tmp_path / "data")
    anno, here = tmp_path / "data" / "mine" / "anno", ("--data_root", tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.jsonl"):
        path.write_text(path.read_text().replace(str(tiny_videos), "/before"))
    captions = (anno / "clip_captions_dryrun.jsonl").read_bytes()
    light = ("--embedder", "color", "--shot_detector", "adaptive")
    done = run_script("preprocess.py", "mine", 1, "--video_dir", tiny_videos, *light, *here)
    assert "init: 3 videos have moved; what was made from them stays valid" in done.stdout
    out = tmp_path / "pairs.json"
    done = run_script(
        "convert_to_swift.py", "dryrun", 2, "--dataset", "mine", "--output", out, *here
    )
    assert done.returncode == 0, done.stderr
    pairs = json.loads(out.read_text())
    assert len(pairs) == 9
    assert {Path(pair["videos"][0]).parent for pair in pairs} == {tiny_videos}
    # What is made again is made from the videos where they are now.
    words = ("generate_meta_data.py", 1, "--dataset", "mine", "--model", "dryrun")
    assert run_script(*words, "--redo", "raw_captions", *here).returncode == 0
    assert (anno / "clip_captions_dryrun.jsonl").read_bytes() == captions


def test_a_timeline_can_be_drawn(run, run_script, tmp_path):
    from PIL import Image

    root, _ = run
    out = tmp_path / "timeline.png"
    done = run_script(
        "-m", "visualize.timeline", "mine", "--data_root", str(root), "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert Image.open(out).width == 1800


def test_two_files_more_are_asked_for_and_become_level_r1(run, run_script, tmp_path):
    root, _ = run
    shutil.copytree(root, tmp_path / "data")
    here = ("--data_root", tmp_path / "data")
    made = run_script(
        *("generate_dpo_data.py", "mine", 1, "--model", "dryrun", "--seed", 0, "--fine"), *here
    )
    assert made.returncode == 0, made.stderr
    folder = tmp_path / "data/mine/dpo-dryrun/iter_0"
    swapped, repeated = (
        rows(folder / f"caption_caption_{noise}_1_False_False.jsonl")
        for noise in ("swap", "repeat")
    )
    for row in [*swapped, *repeated]:
        order = row["info"]["selected_indices"]
        assert order != list(range(len(order)))
        assert all(abs(place - clip) <= 1 for place, clip in enumerate(order))
    out = tmp_path / "r1.json"
    done = run_script(
        *("convert_to_swift.py", "dryrun", 1, "--dataset", "mine", "--output", out), *here
    )
    assert done.returncode == 0, done.stderr
    rejected = {row["response"] for row in [*swapped, *repeated]}
    assert {row["rejected_response"] for row in json.loads(out.read_text())} == rejected
