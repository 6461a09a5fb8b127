"""Vectors of text videos and of real videos by a tiny CLIP, and those that others have made."""

import json
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from inference.tiny import clip as tiny_clip
from prealignment.features import main as make_features
from prealignment.texts.parsing import entries
from prealignment.texts.toy_tideos import toy_tideo
from prealignment.tideos import main as make_tideos
from prealignment.vectors import texts as text_vectors
from prealignment.vectors.files import TEXTS, features_of, question_vectors
from prealignment.vectors.images import ImageVectorsStep, write_videos
from prealignment.vectors.memory import read_memory
from prealignment.vectors.rows import fuse
from prealignment.vectors.sources import open_source
from prealignment.vectors.step import FeatureSettings
from prealignment.vectors.texts import TextVectorsStep, write_index, write_shards
from qa.records import Question, write_questions
from tools.errors import UserError
from tools.features.clip import Clip, check_clip
from tools.runner.fingerprints import check_fingerprint, forget, sign
from tools.store.dataset import Dataset
from tools.video.decode import VideoError

RATE = 8
COLOURS = {"red": (200, 20, 20), "green": (20, 150, 20), "blue": (20, 20, 180)}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The folder of a tiny CLIP that is called `tiny`."""
    return tiny_clip.build("clip", tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture(scope="module")
def towers(clip):
    return Clip(str(clip))


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A data set of seven text videos; read it, or copy it first."""
    root = tmp_path_factory.mktemp("texts")
    make_tideos(["1", "--dataset", "texts", "--data_root", str(root), "--toyworld", "7"])
    return Dataset("texts", root / "texts")


@pytest.fixture(scope="module")
def read(texts, clip, tmp_path_factory):
    """The same with its vectors, of which four text videos are a shard."""
    root = shutil.copytree(texts.root.parent, tmp_path_factory.mktemp("read"), dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_vectors, "TIDEOS_A_SHARD", 4)
        make_features(["texts", "1", "--data_root", str(root), "--clip", str(clip)])
    return Dataset("texts", root / "texts")


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    monkeypatch.setattr(text_vectors, "TIDEOS_A_SHARD", 4)
    return lambda dataset: Dataset(
        dataset.name, shutil.copytree(dataset.root, tmp_path / dataset.name)
    )


@pytest.fixture
def compute(run_script, clip):
    def run(dataset, *flags, workers=1, returns=0):
        where = ("--data_root", dataset.root.parent, "--clip", clip)
        done = run_script("-m", "prealignment.features", dataset.name, workers, *where, *flags)
        assert done.returncode == returns, done.stderr
        return done

    return run


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


def test_rows_of_both_towers_have_length_one_and_do_not_hang_on_their_neighbours(towers):
    pictures = [np.full((40, 60, 3), colour, np.uint8) for colour in COLOURS.values()]
    seen = towers.embed(pictures)
    read = towers.embed_texts(["a red scene", "a video of the red scene and more words"])
    for rows in (seen, read):
        assert rows.shape[1] == towers.width == 64
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(towers.embed(pictures[1:2])[0], seen[1], atol=1e-5)
    np.testing.assert_allclose(towers.embed_texts(["a red scene"])[0], read[0], atol=1e-5)
    assert abs(seen[0] @ seen[1]) < 0.9999
    assert abs(read[0] @ read[1]) < 0.9999


def test_a_text_is_read_up_to_its_77th_token(towers):
    long = "red " * 200
    np.testing.assert_array_equal(towers.embed_texts([long]), towers.embed_texts([long + "blue"]))
    assert (towers.embed_texts([long]) != towers.embed_texts(["blue " + long])).any()


def test_every_text_video_gets_a_vector_a_frame(read, towers):
    for number in range(7):
        frames = toy_tideo(0, number)["frames"]
        expected = fuse(
            towers.embed_texts([text for frame in frames for text in entries(frame)]),
            [len(frame) for frame in frames],
        )
        vectors = features_of(read, "text", f"toy_{number:04d}")
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(vectors, expected, atol=1e-3)  # half precision on disk
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    index = json.loads((read.vectors("tiny", "text") / "index.json").read_text())
    assert index["toy_0003"] == ["000000", 18, 8]  # after stories of 5, 6 and 7 events
    assert index["toy_0004"] == ["000001", 0, 9]


def test_the_memory_holds_the_vectors_of_all_frames(read, copy_of, compute):
    memory = read_memory(read.memory("tiny"))
    every = [features_of(read, "text:tiny", f"toy_{number:04d}") for number in range(7)]
    torch.testing.assert_close(memory.vectors, torch.from_numpy(np.concatenate(every)))
    assert memory.clip == "tiny"
    again = copy_of(read)
    shard = again.vectors("tiny", "text") / "000000.safetensors"
    written = shard.stat().st_mtime_ns
    assert "memory of 20 vectors" in compute(again, "--memory_rows", 20).stdout
    assert shard.stat().st_mtime_ns == written
    assert len(read_memory(again.memory("tiny")).vectors) == 20


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(read, copy_of, compute):
    again = copy_of(read)
    table = again.table("text_vectors_tiny").path
    table.write_bytes(table.read_bytes().splitlines(keepends=True)[0])
    for file in ("text/index.json", "text/000001.safetensors", "memory.safetensors"):
        (again.root / "features" / "tiny" / file).unlink()
    first = again.vectors("tiny", "text") / "000000.safetensors"
    written = first.stat().st_mtime_ns
    assert "text_vectors: 2 done" in compute(again).stdout
    assert first.stat().st_mtime_ns == written
    assert files_in(again.root / "features") == files_in(read.root / "features")


def test_text_videos_that_are_not_finished_get_no_vectors(read, copy_of, compute):
    again = copy_of(read)
    again.table("tideos").part().write_bytes(b"")
    assert "tideos.jsonl is not finished" in compute(again, returns=2).stderr


def test_other_text_videos_need_other_vectors(read, copy_of, compute):
    again = copy_of(read)
    root = str(again.root.parent)
    make_tideos(["1", "--dataset", "texts", "--data_root", root, "--toyworld", "8"])
    assert "run again with --redo text_vectors" in compute(again, returns=2).stderr


def test_text_vectors_of_other_texts_of_the_same_names_are_not_used(read, copy_of):
    again = copy_of(read)
    assert open_source(again, "text").kind == "text:tiny"
    tideos = again.table("tideos")
    tideos.write([{**record, "global_video_caption": "other"} for record in tideos.read()])
    with pytest.raises(UserError, match="texts by tiny are of other text videos than those of"):
        open_source(again, "text")
    other = copy_of(Dataset("unsure", read.root))
    (other.vectors("tiny", "text") / TEXTS).unlink()
    with pytest.raises(UserError, match="of other text videos"):
        open_source(other, "text:tiny")


def test_released_vectors_of_entries_are_fused_frame_by_frame(texts, copy_of, compute, tmp_path):
    texts = copy_of(texts)
    folder = tmp_path / "features"
    folder.mkdir()
    rng = np.random.default_rng(0)
    given = {}
    for number in range(6):
        count = sum(len(frame) for frame in toy_tideo(0, number)["frames"])
        given[number] = rng.standard_normal((count - (number == 5), 8)).astype(np.float32)
        with open(folder / f"toy_{number:04d}.pkl", "wb") as file:
            pickle.dump(torch.from_numpy(given[number]), file)
    run = compute(texts, "--import", folder)
    why = "2 text videos without vectors, such as toy_0005: 19 vectors, and the frames have 20"
    assert why in run.stdout
    assert "5 text videos, 35 vectors of width 8" in run.stdout
    np.testing.assert_allclose(
        features_of(texts, "text", "toy_0002"), fuse(given[2], [2] * 7), atol=1e-3
    )
    with pytest.raises(UserError, match="texts has no text vectors of toy_0006 by tiny: run"):
        features_of(texts, "text", "toy_0006")
    refused = compute(texts, returns=2)
    assert "made_by=import, this run has made_by=clip" in refused.stderr


@pytest.fixture
def imported(texts, copy_of, tmp_path):
    """(widths) -> the step of an import of vectors of these widths, a text video each, as a worker
    of a run has it; a width of None is a file of two tensors by name."""

    def make(*widths):
        dataset, folder = copy_of(texts), tmp_path / "features"
        folder.mkdir()
        for number, width in enumerate(widths):
            count = sum(len(frame) for frame in toy_tideo(0, number)["frames"])
            rows = torch.ones(count, width or 4)
            value = rows if width else {"a": rows, "b": rows}
            torch.save(value, folder / f"toy_{number:04d}.pkl")
        step = TextVectorsStep(dataset, FeatureSettings("x/tiny", source=folder, memory_rows=9))
        write_shards(dataset)
        sign(step)
        step.setup("cpu", 1)
        return step

    return make


def test_odd_released_vectors_leave_the_others_of_their_shard(imported):
    step = imported(4, 8, None, 4, 4, 4, 4)
    first, _ = step.reads.read()
    record = step.process(first)
    assert list(record["rows"]) == ["toy_0000", "toy_0003"]
    assert record["rows"]["toy_0003"] == [5, 8]  # behind the first story's five events
    assert record["without"]["toy_0001"] == "vectors of width 8, those before it 4"
    assert "toy_0002.pkl holds vectors by name" in record["without"]["toy_0002"]


def test_shards_of_several_widths_are_refused(imported):
    step = imported(4, 4, 4, 4, 8, 8, 8)
    step.writes[0].write([step.process(record) for record in step.reads.read()])
    with pytest.raises(UserError, match=r"several widths \(4 in 000000.*, 8 in 000001"):
        write_index(step.dataset, step.settings, step.writes[0])
    assert not step.dataset.memory("tiny").exists()


def test_a_released_memory_is_imported_by_itself(texts, copy_of, compute, tmp_path):
    texts = copy_of(texts)
    rows = np.arange(1.0, 13).reshape(4, 3).astype(np.float32)
    with open(tmp_path / "memory.pkl", "wb") as file:
        pickle.dump(torch.from_numpy(rows), file)
    assert "memory of 4 vectors" in compute(texts, "--import", tmp_path / "memory.pkl").stdout
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    torch.testing.assert_close(read_memory(texts.memory("tiny")).vectors, torch.from_numpy(unit))


@pytest.fixture
def videos(dataset, make_video, tmp_path):
    """Red, green and blue, two seconds each; questions about it, about a part, and about none."""
    pictures = [np.full((32, 48, 3), colour, np.uint8) for colour in COLOURS.values()]
    frames = [picture for picture in pictures for _ in range(2 * RATE)]
    make_video(tmp_path / "videos" / "a" / "one.mp4", frames=frames, size=(48, 32), rate=RATE)
    dataset.remember_video_dir(tmp_path / "videos")
    about = {"dataset": "mine", "split": "val", "question": "?"}
    one = {**about, "video_id": "mine_1", "video": "a/one.mp4"}
    questions = [
        Question("q1", **one),
        Question("q2", **one, start=2.0, end=4.0),
        Question("q3", **one, start=5.5, end=9.0),
        Question("q4", **about, video_id="mine_2", video="gone.mp4"),
        Question("q5", **about),
    ]
    write_questions(dataset.questions("val"), questions)
    return dataset, {question.id: question for question in questions}


def test_a_video_gets_a_vector_a_second_and_a_question_its_part_of_them(videos, compute, towers):
    dataset, questions = videos
    run = compute(dataset, "--split", "val")
    assert "image_vectors: 1 done, 1 failed (VideoError: no such file)" in run.stdout
    expected = towers.embed([np.full((32, 48, 3), c, np.uint8) for c in COLOURS.values()])
    vectors = features_of(dataset, "image", "mine_1")
    assert vectors.shape == (6, 64)
    cosines = vectors @ expected.T
    assert cosines.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    assert cosines.max(axis=1).min() > 0.999  # but for what the video's compression does
    for key, first, end in (("q1", 0, 6), ("q2", 2, 4), ("q3", 5, 6)):
        part = question_vectors(dataset, "image:tiny", questions[key])
        np.testing.assert_array_equal(part, vectors[first:end])
    with pytest.raises(UserError, match="mine has no image vectors of mine_2 by tiny"):
        question_vectors(dataset, "image", questions["q4"])


def ready(dataset, settings):
    """The step as a worker of a run has it."""
    step = ImageVectorsStep(dataset, settings)
    write_videos(dataset, settings)
    sign(step)
    step.check("cpu")
    step.setup("cpu", 1)
    return step


def test_frames_are_taken_of_the_part_that_a_question_is_about(videos, clip):
    dataset, questions = videos
    step = ready(dataset, FeatureSettings(str(clip), "val", frames=3))
    of_one = [record for record in step.reads.read() if record["path"].endswith("/one.mp4")]
    assert [step.process(record)["rows"] for record in of_one] == [3, 3, 3]
    whole = question_vectors(dataset, "image", questions["q1"])
    green = question_vectors(dataset, "image", questions["q2"])
    np.testing.assert_allclose(green @ whole.T, np.tile(whole[1] @ whole.T, (3, 1)), atol=1e-2)
    assert not (dataset.vectors("tiny", "image") / "mine_2.safetensors").exists()


def test_vectors_of_others_are_found_by_the_names_of_the_videos(videos, compute, tmp_path):
    dataset, questions = videos
    given = 7 * torch.eye(12)[:, :8].half()  # not of length 1, as in the published files
    torch.save({"one": given, "other": given}, tmp_path / "clipvitl14.pth")
    compute(dataset, "--split", "val", "--import", tmp_path / "clipvitl14.pth", "--fps", 2)
    vectors = features_of(dataset, "image", "mine_1")
    np.testing.assert_array_equal(vectors, np.eye(12, 8))
    part = question_vectors(dataset, "image", questions["q2"])
    np.testing.assert_array_equal(part, vectors[4:8])


def test_vectors_of_others_have_the_rate_of_the_questions_pictures(videos, tmp_path):
    """TVQA's folders hold three pictures a second, and so do its published vectors."""
    dataset, questions = videos
    pictures = {"frames": {"fps": 3, "first": 1}}
    own = [replace(questions[key], context=pictures) for key in ("q1", "q2")]
    write_questions(dataset.questions("val"), own)
    np.save(tmp_path / "one.npy", np.eye(18, 20))
    step = ready(dataset, FeatureSettings("x/tiny", "val", source=tmp_path))
    step.process(next(iter(step.reads.read())))
    part = question_vectors(dataset, "image", own[1])  # seconds 2 to 4
    np.testing.assert_array_equal(part, np.eye(18, 20)[6:12])
    told = ready(dataset, FeatureSettings("x/tiny", "val", fps=1, source=tmp_path))
    told.process(next(iter(told.reads.read())))
    np.testing.assert_array_equal(question_vectors(dataset, "image", own[1]), np.eye(18, 20)[2:4])


def test_vectors_of_others_may_be_a_file_a_video(videos, tmp_path):
    dataset, _ = videos
    np.save(tmp_path / "gone.npy", np.eye(2, 8))
    step = ready(dataset, FeatureSettings("x/tiny", "val", source=tmp_path))
    one, gone = step.reads.read()
    step.process(gone)
    np.testing.assert_array_equal(features_of(dataset, "image", "mine_2"), np.eye(2, 8))
    with pytest.raises(VideoError, match="no vectors: one is not in "):
        step.process(one)


def test_parts_of_an_earlier_run_do_not_hide_the_rows_of_the_last_one(videos, clip, tmp_path):
    dataset, questions = videos
    np.save(tmp_path / "one.npy", np.eye(6, 8))
    by_part = FeatureSettings(str(clip), "val", frames=3)
    by_second = FeatureSettings("x/tiny", "val", source=tmp_path)
    for settings, shape in ((by_part, (3, 64)), (by_second, (2, 8)), (by_part, (3, 64))):
        forget(dataset.table("image_vectors_val_tiny"))
        step = ready(dataset, settings)
        for record in step.reads.read():
            if record["path"].endswith("/one.mp4"):
                step.process(record)
        assert question_vectors(dataset, "image", questions["q2"]).shape == shape


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_vectors_of_other_files_are_no_more_of_the_same(kind, videos, tmp_path):
    dataset, _ = videos
    for number, name in enumerate(("a", "b")):
        source = tmp_path / name
        if kind == "folder":
            source.mkdir()
            source /= "one.npy"
        with open(source, "wb") as file:
            np.save(file, np.eye(2 + number, 8))
    steps = [
        ImageVectorsStep(dataset, FeatureSettings("x/tiny", "val", source=tmp_path / name))
        for name in ("a", "b")
    ]
    sign(steps[0])
    check_fingerprint(steps[0])
    with pytest.raises(UserError, match=r"with source=.* rebuild with --redo image_vectors"):
        check_fingerprint(steps[1])


def test_vectors_of_two_clips_must_be_told_apart(texts, copy_of):
    texts = copy_of(texts)
    with pytest.raises(UserError, match=r"texts has text vectors of 0 CLIPs \(none\): name one"):
        features_of(texts, "text", "toy_0000")
    for name in ("a", "b"):
        texts.vectors(name, "text").mkdir(parents=True)
    with pytest.raises(UserError, match=r"2 CLIPs \(text:a, text:b\): name one"):
        features_of(texts, "text", "toy_0000")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "mine has no text videos: python -m prealignment.tideos writes them"),
        (["--frames", 3], "--frames is for real videos"),
        (["--import", "no_such.pth"], "--import no_such.pth: no such file or folder"),
        (["--import", ".", "--frames", 3], "--frames does not go with --import"),
        (["--split", "val"], "no questions of the split 'val'"),
    ],
)
def test_mistakes_are_one_line(dataset, compute, flags, message):
    error = compute(dataset, *flags, returns=2).stderr
    assert message in error
    assert error.count("\n") == 1


def test_what_is_no_clip_is_refused(tmp_path, clip):
    assert check_clip(str(clip)) == str(clip)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="a llama is no CLIP"):
        check_clip(str(tmp_path))
    with pytest.raises(UserError, match="no/such are not on this machine and cannot be fetched"):
        check_clip("no/such")
