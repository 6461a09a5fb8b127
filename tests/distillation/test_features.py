"""From videos to a trained student with a tiny CLIP: lines, features, training, answers."""

import numpy as np
import orjson
import pytest
from numpy.testing import assert_allclose
from PIL import Image

from distillation.features import Features
from distillation.inputs.encoder import Encoder, averaged
from distillation.inputs.lines import Line, Prompts, read_lines
from distillation.inputs.views import view_frames
from distillation.judgements import Judgement, write_judgements
from distillation.prompts import main as prompts_main
from inference.tiny import clip
from qa.predictions import read_predictions
from qa.records import Question, read_questions, write_questions
from tools.store.dataset import Dataset
from tools.store.files import read_json

SHOWN = {
    "train": ("beach", "forest", "night", "fire"),
    "val": ("snow", "party"),
    "test": ("fire", "beach"),
}
FRAMES = 4


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    return clip.build("clip", tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture(scope="module")
def filmed(tmp_path_factory, make_video):
    """A data set of eight films of two seconds, one question each; stage 2 has captioned one."""
    base = tmp_path_factory.mktemp("filmed")
    dataset = Dataset("filmed", base / "data" / "filmed")
    for split, places in SHOWN.items():
        questions = []
        for number, place in enumerate(places):
            name = f"{split}{number}"
            make_video(base / "video" / f"{name}.mp4", [(place, 24)])
            about = {"choices": ["beach", "forest", "night"], "answer_index": number % 3}
            about["video"] = f"{name}.mp4"
            questions.append(Question(name, "filmed", split, "where is it?", name, **about))
        if split == "test":  # one question is about a part
            questions[1] = Question(**{**vars(questions[1]), "start": 1.0, "end": 2.0})
        write_questions(dataset.questions(split), questions)
    dataset.remember_video_dir(base / "video")
    captioned = {
        "video_id": "train0",
        "fps": 12,
        "filtered_cuts": [[0, 0, 11], [1, 12, 23]],
        "merged_groups": [[0, [0]], [1, [1]]],
        "clip_captions": ["A beach at night.", "waves"],
    }
    dataset.table("clip_captions_dryrun").write([captioned])
    return dataset


@pytest.fixture(scope="module")
def run(filmed, run_script):
    """(module, *words) -> the finished command."""

    def finished(module, *words):
        fixed = ("--data_root", filmed.root.parent, "--device", "cpu")
        return run_script("-m", f"distillation.{module}", *words, *fixed)

    return finished


@pytest.fixture(scope="module")
def written(run):
    """The finished commands of event and frame lines by dryrun."""
    event = ("prompts", "filmed", 1, "--kind", "event", "--model", "dryrun", "--segments", 2)
    frame = ("prompts", "filmed", 1, "--kind", "frame", "--model", "dryrun")
    return run(*event), run(*frame, "--num_video_frames", FRAMES)


@pytest.fixture(scope="module")
def encoded(run, written, tiny_clip):
    """The finished command that makes the features."""
    words = ("--clip", tiny_clip, "--num_video_frames", FRAMES, "--tokens", 5)
    return run("features", "filmed", 1, *words)


def lines_by_video(dataset, kind):
    rows = dataset.prompt_lines(kind, "dryrun").read_bytes().splitlines()
    return {row["video"]: row for row in map(orjson.loads, rows)}


def test_event_lines_are_stage_2s_captions_or_those_of_equal_parts(filmed, written):
    event, _ = written
    assert event.returncode == 0, event.stderr
    rows = lines_by_video(filmed, "event")
    assert rows["train0"] == {
        "video": "train0",
        "source": "clips",
        "lines": [
            {"start": 0.0, "end": 1.0, "text": "A beach at night."},
            {"start": 1.0, "end": 2.0, "text": "waves"},
        ],
        "dropped": {},
    }
    assert rows["train1"]["source"] == "segments"
    assert [(r["start"], r["end"]) for r in rows["train1"]["lines"]] == [(0, 1), (1, 2)]
    assert [(r["start"], r["end"]) for r in rows["test1@1-2"]["lines"]] == [(1, 1.5), (1.5, 2)]
    assert len(rows) == 8


def test_lines_with_the_question_in_view_are_of_the_question(filmed, run):
    words = ("--kind", "event", "--model", "dryrun", "--segments", 2, "--with_question")
    result = run("prompts", "filmed", 1, *words)
    assert result.returncode == 0, result.stderr
    path = filmed.prompt_lines("event", "dryrun-with-question")
    names = [orjson.loads(line)["video"] for line in path.read_bytes().splitlines()]
    splits = filmed.question_splits()
    assert names == sorted(q.id for split in splits for q in read_questions(filmed, split))
    path.unlink()  # the other tests have one captioner


def test_lines_that_hold_an_option_are_warned_of(written):
    warning = "train: in 25.0% of 4 questions a line contains the whole text of an option"
    assert warning in written[0].stdout
    assert "in 25.0% that of the right one" in written[0].stdout
    assert "static shows " in written[0].stdout


def test_frame_lines_are_one_for_each_frame(filmed, written):
    assert written[1].returncode == 0, written[1].stderr
    rows = lines_by_video(filmed, "frame")
    assert len(rows) == 8
    assert [r["start"] for r in rows["train0"]["lines"]] == [0, 0.5, 1, 1.5]


def test_lines_that_questions_hold_are_stretched_over_their_pictures(
    dataset, make_video, tmp_path, capsys
):
    """Eight pictures from frame1.png on have two lines, a video of two seconds has four; a third
    video is broken."""
    (tmp_path / "video" / "shots").mkdir(parents=True)
    for number in range(1, 9):
        pixels = np.full((8, 8, 3), 10 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "video" / "shots" / f"frame{number}.png")
    make_video(tmp_path / "video" / "film.mp4", [("beach", 24)])
    (tmp_path / "video" / "broken.mp4").write_bytes(b"no video")
    dataset.remember_video_dir(tmp_path / "video")
    numbers = {"media": "frames", "frames": {"fps": 1, "first": 1}}
    held = {
        "shots": ("shots", {**numbers, "event_prompts": ["early", "late"]}),
        "film": ("film.mp4", {"media": "video", "event_prompts": ["a", "b", "c", "d"]}),
        "broken": ("broken.mp4", {"media": "video", "event_prompts": ["x"]}),
    }
    questions = [
        Question(name, "mine", "train", "?", name, video, choices=["yes", "no"], context=context)
        for name, (video, context) in held.items()
    ]
    write_questions(dataset.questions("train"), questions)
    words = ("mine", "1", "--kind", "event", "--import", "questions")
    prompts_main([*words, "--data_root", str(dataset.root.parent)])
    assert "1 videos cannot be read: their event lines are left out" in capsys.readouterr().out
    lines = read_lines(dataset.prompt_lines("event", "import"))
    assert lines == {
        "film": [Line(n / 2, (n + 1) / 2, text) for n, text in enumerate("abcd")],
        "shots": [Line(0, 4, "early"), Line(4, 8, "late")],
    }
    views = {view["video_id"]: view for view in dataset.table("question_views").read()}
    frames = view_frames(views["shots"], 8)
    assert [int(picture.mean()) for picture in frames.pictures] == [10, 20, 30, 40, 50, 60, 70, 80]
    texts = Prompts(dataset, "event").texts("shots", "shots", frames.times)
    assert texts == ["early"] * 4 + ["late"] * 4


def test_the_cache_holds_what_the_encoder_gives_again(filmed, encoded, tiny_clip):
    assert encoded.returncode == 0, encoded.stderr
    features = Features(filmed, "tiny-clip")
    assert (features.frames, features.width) == (FRAMES, clip.WIDTH)
    encoder = Encoder(tiny_clip, tokens=5)
    for record in filmed.table("question_views").read():
        tokens = features.tokens(record["video_id"])
        assert tokens.shape == (FRAMES, 5, clip.WIDTH)
        again = encoder.frames(view_frames(record, FRAMES).pictures)
        assert_allclose(tokens, again, atol=1e-3)
    assert features.times("train1") == pytest.approx([0.25, 0.75, 1.25, 1.75])
    assert features.times("test1@1-2") == pytest.approx([1.125, 1.375, 1.625, 1.875])
    assert_allclose(features.texts.vectors(["night"]), encoder.vectors(["night"]), atol=2e-3)
    assert_allclose(features.lines.rows("waves"), encoder.lines(["waves"])[0], atol=2e-3)


def test_longer_padding_changes_no_text(tiny_clip):
    encoder = Encoder(tiny_clip)
    long = "night and fire and snow and a party at the beach"
    assert_allclose(encoder.vectors(["night", long])[0], encoder.vectors(["night"])[0], atol=1e-3)
    alone, together = encoder.lines(["night"])[0], encoder.lines(["night", long])[0]
    assert alone.shape == together.shape == (3, clip.WIDTH)
    assert_allclose(alone, together, atol=1e-3)


def test_the_public_codes_means_hold_padding(tiny_clip):
    encoder, faithful = Encoder(tiny_clip), Encoder(tiny_clip, faithful=True)
    assert faithful.lines(["night"])[0].shape == (32, clip.WIDTH)
    assert np.abs(faithful.vectors(["night"]) - encoder.vectors(["night"])).max() > 0.01


def test_patches_are_averaged_to_a_square():
    import torch

    patches = torch.arange(16.0).reshape(1, 16, 1)
    tokens = torch.cat([torch.tensor([[[9.0]]]), patches], 1)
    assert averaged(tokens, 5).flatten().tolist() == [9, 2.5, 4.5, 10.5, 12.5]
    assert averaged(tokens, None) is tokens


def test_what_is_done_is_not_done_again_and_other_settings_are_refused(
    run, encoded, tiny_clip, filmed
):
    words = ("features", "filmed", 1, "--clip", tiny_clip, "--tokens", 5, "--num_video_frames")
    files = [*filmed.vectors("tiny-clip", "tokens").glob("*")]
    before = [file.stat().st_mtime_ns for file in files]
    again = run(*words, FRAMES)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert "texts: 0 new" in again.stdout and "lines: 0 new" in again.stdout
    refused = run(*words, 8)
    assert refused.returncode == 2
    assert "was made with frames=4, this run has frames=8" in refused.stderr


def test_a_student_is_trained_and_answers(filmed, encoded, run, tmp_path):
    questions = read_questions(filmed, "train")
    rows = [Judgement(q.id, [-1.0, -2.0, -3.0], [1] * 3) for q in questions]
    write_judgements(filmed.judgements_of("first", "train"), rows)
    out = tmp_path / "run"
    words = ("filmed", "--prompt_variant", "event", "--distill_mode", "hybrid")
    small = ("--teacher_name", "first", "--lr", 1e-3, "--epochs", 2, "--batch_size", 2)
    trained = run("train", *words, *small, "--d_model", 32, "--out", out)
    assert trained.returncode == 0, trained.stderr
    assert len(read_json(out / "epochs.json")) == 2
    asked = run("evaluate", out, "--split", "test")
    assert asked.returncode == 0, asked.stderr
    assert "2 multiple-choice questions about 2 videos of filmed/test" in asked.stdout
    test = read_questions(filmed, "test")
    answers = read_predictions(out / "predictions" / "test.jsonl", test)
    assert all(sum(np.exp(own.log_p)) == pytest.approx(1, abs=1e-3) for own in answers.values())
    names = {path.name for path in (out / "predictions").glob("test.*.jsonl")}
    assert {"test.random_lines.jsonl", "test.question_only.jsonl"} <= names
