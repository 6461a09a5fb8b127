import json
import re
import shutil

import pytest

from tools.runner.counts import Counts
from tools.status import funnel
from tools.store.dataset import Dataset
from tools.store.files import Appender
from tools.store.jsonl import Table, dumps


@pytest.fixture
def mine(tmp_path):
    """Six videos on their way: one table merged, one in parts, one not begun."""
    dataset = Dataset("mine", tmp_path / "mine")
    videos = [{"video_id": name, "video_path": f"/{name}.mp4"} for name in "abcdef"]
    dataset.table("init").write(videos)
    dataset.table("scene").write({**video, "fps": 25} for video in videos[:4])
    fail(dataset.table("scene"), "e", "VideoError: truncated: 1.0 s of 9.0 s can be decoded")
    part = Appender(dataset.table("filter_scene").part(1, 3))
    part.append(dumps({**videos[0], "fps": 25}))
    for video in videos[1:3]:
        part.append(dumps({**video, "filtered": True, "filter_reason": "too_few_shots"}))
    part.close()
    return dataset


def fail(table, name, error):
    log = Appender(table.failed.path)
    log.append(dumps({"video_id": name, "step": table.name, "error": error, "attempts": 1}))
    log.close()


def test_every_step_adds_up_to_what_it_was_given(mine):
    steps = dict(funnel(mine))
    assert steps["scene"] == Counts(4, {}, {"VideoError: truncated": 1}, 1)
    assert steps["filter_scene"] == Counts(1, {"too_few_shots": 2}, {}, 1)
    assert steps["similarity"] == Counts(0, {}, {}, 1)
    assert "group" not in steps
    assert [counts.total for counts in steps.values()][-3:] == [6, 4, 1]


def rows(text):
    """The cells of a printed table's rows: whatever two blanks or more keep apart."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return [line for line in lines if len(line) > 5]


def test_the_funnel_as_a_table(mine, run_script):
    done = run_script(
        "-m", "tools.status", "mine", "--data_root", mine.root.parent, env={"COLUMNS": "120"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"mine: {mine.root}")
    shown = rows(done.stdout)
    assert shown[0] == ["step", "given", "done", "filtered", "failed", "remaining", "why"]
    assert shown[-3:] == [
        ["scene", "6", "4", "0", "1", "1", "1 failed: VideoError: truncated"],
        ["filter_scene", "4", "1", "2", "0", "1", "2 too_few_shots"],
        ["similarity", "1", "0", "0", "0", "1"],
    ]
    assert done.stdout.splitlines()[-1] == "6 videos = 0 kept + 2 filtered + 1 failed + 3 left"


def test_models_and_rounds_have_rows_of_their_own(mine):
    mine.table("videos").write([{"video_id": name} for name in "abc"])
    mine.table("raw_clip_captions_x").write([{"video_id": name} for name in "ab"])
    mine.table("clip_captions_x").write([{"video_id": "a"}, {"video_id": "b", "filtered": True}])
    fail(mine.table("raw_clip_captions_x"), "c", "worker died")
    for name in ("caption_caption_none_1_False_False", "caption_caption_drop_2_False_False"):
        mine.responses("x", name, 2).write([{"video_id": "a"}])
    mine.responses("x", "caption_caption_drop_2_False_False", 2).clear()
    steps = dict(funnel(mine))
    assert steps["raw_captions x"] == Counts(2, {}, {"worker died": 1}, 0)
    assert steps["captions x"] == Counts(1, {"no reason recorded": 1}, {}, 0)
    assert steps["responses x iter_2"] == Counts(1, {}, {}, 0)


def test_steps_over_questions_have_rows_of_their_own(mine):
    for split in ("test", "test_small"):
        mine.questions(split).parent.mkdir(exist_ok=True)
        mine.questions(split).touch()
        mine.table(f"questions_{split}").write([{"video_id": key} for key in ("q1", "q2")])
    mine.table("frame_answers_test_x").write([{"video_id": "q1"}])
    without = {"video_id": "q1", "filtered": True, "filter_reason": "no_label"}
    mine.table("labels_test_x").write([without])
    mine.table("spans_test_small_b").write([{"video_id": "q1"}])
    fail(mine.table("spans_test_small_b"), "q2", "VideoError: no flow")
    mine.table("answers_test_x-grounded4").write([{"video_id": "q1"}])
    mine.table("choices_test").write([{"video_id": "q1"}])
    mine.table("judged_test_videollava_text").write([{"video_id": "q1"}])
    steps = dict(funnel(mine))
    assert steps["frame_answers test x"] == Counts(1, {}, {}, 1)
    assert steps["labels test x"] == Counts(0, {"no_label": 1}, {}, 0)
    assert steps["spans test_small b"] == Counts(1, {}, {"VideoError: no flow": 1}, 0)
    assert steps["answers test x-grounded4"] == Counts(1, {}, {}, 1)
    assert steps["judged test videollava_text"] == Counts(1, {}, {}, 0)


def test_text_videos_their_vectors_and_captions_have_rows_of_their_own(mine):
    mine.table("tideo_seeds").write([{"video_id": name} for name in "xyz"])
    mine.table("raw_tideos_m").write([{"video_id": name} for name in "xy"])
    without = {"video_id": "y", "filtered": True, "filter_reason": "no_json"}
    mine.table("tideos").write([{"video_id": "x"}, without])
    mine.table("tideo_shards").write([{"video_id": "000000"}])
    mine.table("text_vectors_clip-b").write([{"video_id": "000000"}])
    mine.questions("val").parent.mkdir()
    mine.questions("val").touch()
    mine.table("question_videos_val").write([{"video_id": name} for name in "ab"])
    mine.table("image_vectors_val_clip-b").write([{"video_id": "a"}])
    fail(mine.table("image_vectors_val_clip-b"), "b", "VideoError: no such file")
    mine.table("described_videos_val").write([{"video_id": name} for name in "ab"])
    mine.table("video_captions_run").write([{"video_id": "a"}])
    mine.table("video_captions_run").meta_path.write_bytes(dumps({"params": {"split": "val"}}))
    steps = dict(funnel(mine))
    assert steps["raw_tideos m"] == Counts(2, {}, {}, 1)
    assert steps["tideos"] == Counts(1, {"no_json": 1}, {}, 0)
    assert steps["text_vectors clip-b (shards)"] == Counts(1, {}, {}, 0)
    assert steps["image_vectors val clip-b"] == Counts(1, {}, {"VideoError: no such file": 1}, 0)
    assert steps["video_captions run"] == Counts(1, {}, {}, 1)


def test_folders_of_the_reference_are_read(mine):
    mine.table("extract_frame").write([{"video_id": "a"}, {"video_id": "b"}])
    mine.table("finalize").write([{"video_id": "a"}])
    assert dict(funnel(mine))["finalize"] == Counts(1, {}, {}, 1)


def test_a_finished_dataset_balances(tiny_videos, tmp_path, run_script):
    folder = tmp_path / "videos"
    shutil.copytree(tiny_videos, folder)
    (folder / "empty.mp4").touch()
    flags = ("--data_root", tmp_path, "--shot_detector", "adaptive", "--embedder", "color")
    made = run_script("preprocess.py", "mine", 1, "--video_dir", folder, *flags, "--min_shots", 5)
    assert made.returncode == 0
    shown = run_script("-m", "tools.status", "mine", "--data_root", tmp_path).stdout
    assert shown.splitlines()[-1] == "4 videos = 2 kept + 1 filtered + 1 failed + 0 left"
    for meta in (tmp_path / "mine" / "anno").glob("*.meta.json"):
        meta.unlink()  # then every table is read
    assert run_script("-m", "tools.status", "mine", "--data_root", tmp_path).stdout == shown


def test_nothing_listed_yet(tmp_path, run_script):
    Dataset("mine", tmp_path / "mine").remember_video_dir(tmp_path)
    done = run_script("-m", "tools.status", "mine", "--data_root", tmp_path)
    assert done.stdout.splitlines()[-1] == "no videos listed yet: run preprocess.py"


def test_without_a_name_each_dataset_has_a_line(mine, run_script):
    Dataset("other", mine.root.parent / "other").remember_video_dir(mine.root)
    done = run_script("-m", "tools.status", "--data_root", mine.root.parent)
    assert done.stdout.splitlines() == [
        "mine: 6 videos = 0 kept + 2 filtered + 1 failed + 3 left",
        "other: no videos listed yet: run preprocess.py",
    ]
    nothing = run_script("-m", "tools.status", "--data_root", mine.root)
    assert nothing.stderr == (f"error: no dataset in {mine.root}: preprocess.py makes the first\n")


def test_a_dataset_with_a_fault_does_not_hide_the_others(mine, run_script):
    root = mine.root.parent
    (root / "half" / "shards" / "3").mkdir(parents=True)
    mine.table("scene").path.write_bytes(b'{"video_id":\n{"video_id":"c"}\n')
    Dataset("other", root / "other").remember_video_dir(root)
    half = f"error: {root / 'half'} is half sharded: "
    done = run_script("-m", "tools.status", "--data_root", root)
    assert (done.returncode, done.stdout) == (2, "other: no videos listed yet: run preprocess.py\n")
    [first, second] = sorted(done.stderr.splitlines())
    assert first.startswith(half)
    assert second.startswith(f"error: {mine.table('scene').path} line 1 is not a record")
    done = run_script("-m", "tools.status", "--json", "--data_root", root)
    assert done.returncode == 2
    assert [status["dataset"] for status in json.loads(done.stdout)] == ["other"]
    done = run_script("-m", "tools.status", "half", "--data_root", root)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(half)


def test_json_holds_what_the_table_shows(mine, run_script):
    words = ("-m", "tools.status", "--json", "--data_root", mine.root.parent)
    (alone,) = json.loads(run_script(*words).stdout)
    status = json.loads(run_script(*words, "--dataset", "mine").stdout)
    assert alone == status
    assert [status[name] for name in ("videos", "kept", "filtered", "failed", "left")] == [
        *(6, 0, 2, 1, 3)
    ]
    assert status["steps"][2] == {
        "step": "filter_scene",
        "given": 4,
        "done": 1,
        "filtered": {"too_few_shots": 2},
        "failed": {},
        "remaining": 1,
    }


def test_a_corrupt_line_is_named(mine, run_script):
    path = Table(mine.anno / "scene.jsonl").path
    path.write_bytes(b'{"video_id":"a"}\n{"video_id":\n{"video_id":"c"}\n')
    done = run_script("-m", "tools.status", "mine", "--data_root", mine.root.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path} line 2 is not a record (")
    assert done.stderr.count("\n") == 1


def test_watching_shows_the_funnel_until_it_is_stopped(mine, run_script, monkeypatch):
    shown = []

    def sleep(seconds):
        shown.append(seconds)
        if len(shown) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("tools.status.time.sleep", sleep)
    here = ("--data_root", mine.root.parent)
    done = run_script("-m", "tools.status", "mine", "--watch", "7", *here, env={"COLUMNS": "120"})
    assert (done.returncode, done.stderr, shown) == (0, "", [7, 7])
    assert ["scene", "4", "0", "1", "1", "1 failed: VideoError: truncated"] in rows(done.stdout)


def test_watching_needs_the_name_of_a_dataset(mine, run_script):
    done = run_script("-m", "tools.status", "--watch", "--data_root", mine.root.parent)
    assert done.returncode == 2
    assert done.stderr == "error: --watch shows one dataset: name it, and leave --json out\n"
