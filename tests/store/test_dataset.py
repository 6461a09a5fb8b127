import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tools.errors import UserError
from tools.store.dataset import REPOSITORY, open_dataset
from tools.store.named import named_datasets


def make(dataset, *names):
    """Empty files in a dataset's folder, by their paths in it."""
    for name in names:
        path = dataset.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def mine(tmp_path):
    return open_dataset("mine", tmp_path, may_be_new=True)


def test_where_everything_lies(mine, tmp_path):
    assert mine.table("scene").path == tmp_path / "mine/anno/scene.jsonl"
    assert mine.table("scene").part(1, 4).name == "scene.jsonl.1-4"
    assert mine.table("scene").filtered_path.name == "scene.jsonl.filtered"
    assert mine.table("scene").failed.path.name == "scene.failed.jsonl"
    config = "caption_caption_drop_2_False_False"
    assert mine.responses("dryrun", config).path == (
        tmp_path / "mine/dpo-dryrun/iter_0/caption_caption_drop_2_False_False.jsonl"
    )
    assert mine.responses("dryrun", config, 3).path.parent.name == "iter_3"


def test_a_folder_of_the_reference_ends_in_finalize(mine):
    assert mine.videos().path.name == "videos.jsonl"
    make(mine, "anno/finalize.jsonl")
    assert mine.videos().path.name == "finalize.jsonl"
    make(mine, "anno/videos.jsonl.0-2")
    assert mine.videos().path.name == "videos.jsonl"


def test_the_parts_of_finalize_will_do(mine):
    make(mine, "anno/finalize.jsonl.3-8")
    assert mine.videos().path.name == "finalize.jsonl"


def test_who_has_captioned_a_dataset(mine):
    assert mine.caption_models() == []
    make(
        mine,
        "anno/clip_captions_qwen2vl7b.jsonl",
        "anno/raw_clip_captions_qwen2.5-vl.jsonl.1-2",
        "anno/raw_clip_captions_dryrun.jsonl",
        "anno/raw_clip_captions_dryrun.jsonl.filtered",
        "anno/raw_clip_captions_dryrun.failed.jsonl",
        "anno/raw_clip_captions_other.meta.json",
    )
    assert mine.caption_models() == ["dryrun", "qwen2.5-vl", "qwen2vl7b"]


def test_which_responses_there_are(mine):
    assert mine.response_runs() == []
    make(
        mine,
        "dpo-dryrun/iter_0/caption_caption_none_1_False_False.jsonl",
        "dpo-dryrun/iter_0/caption_caption_drop_2_True_False.jsonl.0-2",
        "dpo-dryrun/iter_0/caption_caption_drop_4_True_False.failed.jsonl",
        "dpo-dryrun/iter_0/caption_caption_drop_8_True_False.jsonl.filtered",
        "dpo-dryrun/iter_1/caption_caption_none_1_False_False.meta.json",
    )
    assert mine.response_runs() == [("dryrun", 0), ("dryrun", 1)]
    assert mine.response_configs("dryrun", 0) == [
        "caption_caption_drop_2_True_False",
        "caption_caption_none_1_False_False",
    ]
    assert mine.response_configs("dryrun", 1) == []


def test_the_video_folder_given_last_is_remembered(mine, tmp_path):
    assert mine.video_dir() is None
    mine.remember_video_dir(tmp_path / "Vidéos 1")
    assert mine.video_dir() == tmp_path / "Vidéos 1"


def test_a_dataset_known_by_name_has_its_folder_in_the_data_root(tmp_path):
    assert {"lv178k_1_2m_ytb", "lv178k_2_3m_ytb"} <= named_datasets().keys()
    dataset = open_dataset("lv178k_1_2m_ytb", tmp_path, may_be_new=True)
    assert dataset.video_dir() == tmp_path / "lv178k_1_2m_ytb/video"
    dataset.remember_video_dir(tmp_path / "elsewhere")
    assert dataset.video_dir() == tmp_path / "elsewhere"


@pytest.mark.parametrize("name", ["", "a b", "../mine", "a/b", ".hidden", "-x", "a=b", "ä", "a\n"])
def test_a_name_that_is_no_folder_s_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=re.escape(f"dataset name {name!r}: use letters")):
        open_dataset(name, tmp_path, may_be_new=True)


def test_a_folder_with_questions_alone_is_a_dataset(tmp_path):
    (tmp_path / "texts" / "qa").mkdir(parents=True)
    assert open_dataset("texts", tmp_path).name == "texts"


def test_a_wrong_name_is_answered_with_the_names_there_are(tmp_path):
    with pytest.raises(UserError, match="there are: none yet"):
        open_dataset("mine", tmp_path / "nowhere")
    make(open_dataset("ours", tmp_path, may_be_new=True), "anno/init.jsonl")
    make(open_dataset("theirs", tmp_path, may_be_new=True), "dataset.json")
    make(open_dataset("none", tmp_path, may_be_new=True), "video/a.mp4")
    with pytest.raises(UserError) as caught:
        open_dataset("mine", tmp_path)
    assert str(caught.value) == f"no dataset 'mine' in {tmp_path}; there are: ours, theirs"


HOLD = """
import sys
from pathlib import Path
from tools.store.dataset import open_dataset
with open_dataset("mine", Path(sys.argv[1]), may_be_new=True).lock("scene"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(mine):
    """Another process that holds the lock on `scene`."""
    command = [sys.executable, "-c", HOLD, str(mine.root.parent)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lock_names_who_holds_it(mine, holder):
    with (
        pytest.raises(UserError, match=rf"working on scene of mine \(pid {holder.pid} on .+ since"),
        mine.lock("scene"),
    ):
        pass


def test_locks_of_other_steps_and_models_are_free(mine, holder):
    with mine.lock("clip_captions_a"), mine.lock("clip_captions_b"), mine.lock("filter_scene"):
        pass


def test_a_lock_goes_with_a_process_that_was_killed(mine, holder):
    holder.kill()
    holder.wait()
    with mine.lock("scene"):
        assert f"pid {os.getpid()} on" in Path(mine.root / ".locks" / "scene.lock").read_text()


def test_a_lock_that_a_child_of_the_killed_still_holds_is_waited_for(mine):
    """As between fork and exec of a worker, only longer."""
    code = (
        "import os, sys, time; from tools.store.dataset import open_dataset\n"
        "with open_dataset('mine', sys.argv[1]).lock('scene'):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(0.5); os._exit(0)\n"
        "    print(flush=True); time.sleep(60)\n"
    )
    (mine.root / "anno").mkdir(parents=True)
    words = [sys.executable, "-c", code, str(mine.root.parent)]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
        holder.wait()
        with mine.lock("scene"):
            pass


def test_a_lock_is_free_after_its_block(mine):
    with mine.lock("scene"), pytest.raises(UserError, match="another run"), mine.lock("scene"):
        pass
    with mine.lock("scene"):
        pass


def test_an_error_inside_a_lock_is_not_the_lock_s(mine):
    with pytest.raises(OSError, match="No space left"), mine.lock("scene"):
        raise OSError(28, "No space left on device")
