"""Stages 1 to 4 as a user types them, on small real videos."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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


@pytest.fixture
def published(run, run_script, tmp_path):
    """The folder that tools.publish makes of the pairs."""
    words = ("-m", "tools.publish", "mine", "--to", tmp_path / "out", "--license", "cc-by-4.0")
    done = run_script(*words, "--data_root", run[0])
    assert done.returncode == 0, done.stderr
    return tmp_path / "out"


def test_published_pairs_need_nothing_outside_their_folder(run, published, tmp_path):
    from datasets import load_dataset

    folder = published.rename(tmp_path / "elsewhere")
    assert {path.name for path in folder.iterdir()} == {
        *("README.md", "clips.jsonl", "funnel.json", "key_frames", "pairs.parquet", "videos"),
    }
    file = str(folder / "pairs.parquet")
    pairs = load_dataset("parquet", data_files=file, split="train", cache_dir=str(tmp_path / "hf"))
    converted = [json.loads((run[1] / f"dryrun_i0_r{n}.json").read_text()) for n in (16, 8, 4, 2)]
    assert sorted(pairs["rejected"]) == sorted(
        row["rejected_response"] for own in converted for row in own
    )
    videos = {folder / name for name in pairs["video"]}
    assert videos == set((folder / "videos").iterdir())
    originals = {Path(row["videos"][0]).read_bytes() for row in converted[0]}
    assert {video.read_bytes() for video in videos} == originals
    for row in rows(folder / "clips.jsonl"):
        assert folder / row["video"] in videos
        for clip in row["clips"]:
            assert clip["start"] < clip["end"]
            assert clip["caption"]
            assert all((folder / name).stat().st_size for name in clip["key_frames"])
    assert str(run[0]) not in "".join(
        path.read_text() for path in folder.iterdir() if path.suffix in (".md", ".jsonl", ".json")
    )


def test_the_card_says_what_the_pairs_were_made_of(run, published):
    import yaml

    _, front, text = (published / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0"
    assert yaml.safe_load(front)["configs"][0]["data_files"] == "pairs.parquet"
    meta = json.loads((run[0] / "mine" / "anno" / "videos.meta.json").read_text())
    assert f"| videos | {meta['fingerprint']} |" in text
    funnel = json.loads((published / "funnel.json").read_text())["funnel"]
    assert f"{sum(cell['kept'] for cell in funnel)} pairs about 3 videos" in text
    assert "$" not in text


def test_a_published_folder_goes_to_the_hub(run, tmp_path):
    """A hub on loopback takes every file of the folder in one commit."""
    files, repositories = {}, []

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer: dict[str, Any] = {}
            if self.path == "/api/repos/create":
                repositories.append(json.loads(body))
                answer = {"url": f"http://{self.headers['Host']}/datasets/me/pairs"}
            elif "/preupload/" in self.path:
                paths = [file["path"] for file in json.loads(body)["files"]]
                modes = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
                answer = {"files": [{"path": path, **modes} for path in paths]}
            elif "/commit/" in self.path:
                for entry in map(json.loads, body.splitlines()):
                    if entry["key"] == "file":
                        value = entry["value"]
                        files[value["path"]] = base64.b64decode(value["content"])
                address = f"http://{self.headers['Host']}/datasets/me/pairs/commit/1"
                answer = {"commitUrl": address, "commitOid": "1", "hookOutput": ""}
            self._reply(answer)

        def do_GET(self):
            self._reply({"id": "me/pairs", "sha": "0"})

        def _reply(self, answer):
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    words = ["-m", "tools.publish", "mine", "--to", str(tmp_path / "out"), "--push", "me/pairs"]
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{hub.server_port}"
        env = {**os.environ, "HF_ENDPOINT": address, "HF_TOKEN": "hf_x", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, *words, "--data_root", str(run[0])],
            env={**env, "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        hub.shutdown()
    assert done.returncode == 0, done.stderr
    assert [(row["name"], row["private"]) for row in repositories] == [("pairs", True)]
    own = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in own}


def test_a_hub_that_is_not_there_is_one_line(run, tmp_path):
    words = ["-m", "tools.publish", "mine", "--to", str(tmp_path / "out"), "--push", "me/pairs"]
    done = subprocess.run(
        [sys.executable, *words, "--data_root", str(run[0])],
        env={
            **os.environ,
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_TOKEN": "hf_x",
            "HF_HUB_OFFLINE": "0",
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: me/pairs cannot be written to at http://127.0.0.1:9: ")
    assert "Traceback" not in done.stderr
