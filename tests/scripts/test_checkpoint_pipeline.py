"""Stages 2 to 4 as a user types them, with a real checkpoint: a tiny Qwen2-VL."""

import json
import shutil

import pytest

from inference.tiny.checkpoints import qwen2vl


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return qwen2vl(tmp_path_factory.mktemp("checkpoint") / "tiny", compact=True)


@pytest.fixture
def run(tmp_path, tiny_videos, run_script, checkpoint):
    """(folder, world_size, batch) -> data root after stages 1 to 3, each made by scripts of their
    own; these two are stage 3's, the stages before it run once."""
    model = ("--model", checkpoint)
    for words in (
        (
            *("preprocess.py", "mine", 1, "--video_dir", tiny_videos),
            *("--embedder", "color", "--shot_detector", "adaptive"),
        ),
        ("generate_meta_data.py", 1, "--dataset", "mine", *model, "--batch", 8),
    ):
        done = run_script(*words, "--data_root", tmp_path / "captioned")
        assert done.returncode == 0, done.stderr

    def make(name, world_size, batch):
        root = shutil.copytree(tmp_path / "captioned", tmp_path / name)
        flags = (*model, "--batch", batch, "--max_new_tokens", 40, "--data_root", root)
        done = run_script("generate_dpo_data.py", "mine", world_size, *flags)
        assert done.returncode == 0, done.stderr
        return root

    return make


def files(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.jsonl"))
        if "tiny" in str(path.relative_to(root))
    }


def test_a_checkpoint_writes_pairs_and_neither_batch_nor_world_size_shows(
    run, run_script, tmp_path
):
    alone, together = run("alone", 1, batch=1), run("together", 2, batch=8)
    assert files(alone) == files(together)
    assert len(files(alone)) == 2 + 13

    captioned = files(alone)["mine/anno/clip_captions_tiny.jsonl"]
    records = [json.loads(line) for line in captioned.splitlines()]
    captions = [caption for record in records for caption in record.get("clip_captions", [])]
    assert len(set(captions)) > len(captions) / 2  # it looks at the frames
    clean = files(alone)["mine/dpo-tiny/iter_0/caption_caption_none_1_False_False.jsonl"]
    for row in map(json.loads, clean.splitlines()):
        assert row["info"]["sampling"] == {
            "temperature": 0.7,
            "top_p": 0.001,
            "top_k": 1,
            "repetition_penalty": 1.05,
            "max_new_tokens": 40,
        }
        cut_off = row["info"]["finish_reason"] == "length"
        assert cut_off == (row.get("filter_reason") == "cut_off")

    out = tmp_path / "pairs.json"
    done = run_script(
        *("convert_to_swift.py", "tiny", "16", "8", "4", "2", "--dataset", "mine"),
        *("--output", str(out), "--data_root", str(alone)),
    )
    assert done.returncode == 0, done.stderr
    funnel = json.loads(out.with_suffix(".funnel.json").read_text())["funnel"]
    assert sum(cell["made"] for cell in funnel) == 12 * len(clean.splitlines())
