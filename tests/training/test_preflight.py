"""What is found before a training starts: rows, videos, lengths, the model, the disk."""

import json
from collections import namedtuple
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tools.errors import UserError
from tools.pairs.swift_rows import swift_row
from tools.training import preflight
from tools.training.preflight import (
    check_disk,
    count_kept,
    counted,
    held_out_file,
    look_at_videos,
    model_folder,
    read_rows,
    unreadable,
)
from tools.training.recipe import parse
from tools.training.row_lengths import RowLengths
from tools.video.budget import Budget, video_header

DPO, SFT = (parse(f"qwen2vl7b=lr1e-3_r8_a16_bs2_{data}").stages[0] for data in ("r16", "sft60k"))
PAIR = swift_row("What happens?", "Rain, then sun.", "Sun, then rain.", __file__)
ROW = {"messages": PAIR["messages"], "videos": PAIR["videos"]}


def write(path, rows):
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return path


def but(row, **fields):
    return {**row, **fields}


# ---- rows ---------------------------------------------------------------------------------------


def test_good_rows_are_read(tmp_path):
    assert read_rows(write(tmp_path / "a.json", [PAIR, PAIR]), DPO, "") == [PAIR, PAIR]
    assert read_rows(write(tmp_path / "b.json", [ROW]), SFT, "") == [ROW]


@pytest.mark.parametrize(
    ("rows", "stage", "line"),
    [
        (None, DPO, "a.json: no such file; make it so"),
        ("[1,", DPO, "a.json is not JSON (unexpected end of data: line 1 column 4"),
        ([], DPO, "a.json has no rows"),
        ({"rows": [PAIR]}, DPO, "a.json has no rows: it must be a JSON array of them"),
        ([PAIR, "row"], DPO, "a.json row 2: no messages of a role and a content each"),
        ([but(PAIR, messages=[])], DPO, "a.json row 1: its last message is not the assistant's"),
        ([but(PAIR, messages=PAIR["messages"][:1])], DPO, "its last message is not the assistant"),
        ([ROW], DPO, "a.json row 1: no rejected_response: DPO needs one"),
        ([but(PAIR, rejected_response="")], DPO, "no rejected_response: DPO needs one"),
        ([PAIR], SFT, "a rejected_response: these are pairs for DPO, and the recipe says SFT"),
        ([but(ROW, videos=[])], SFT, "1 <video> in its text, and 0 videos"),
    ],
)
def test_rows_that_a_stage_cannot_take(tmp_path, rows, stage, line):
    path = tmp_path / "a.json"
    if rows is not None:
        write(path, rows)
    with pytest.raises(UserError) as error:
        read_rows(path, stage, "make it so")
    assert line in str(error.value)


def test_videos_that_are_gone(tmp_path):
    videos = (__file__, "/gone/b.mp4", "/gone/a.mp4", "/gone/b.mp4")
    path = write(tmp_path / "r.json", [but(ROW, videos=[video]) for video in videos])
    with pytest.raises(UserError, match=r"2 of 3 videos are not there, such as /gone/a.mp4: make"):
        read_rows(path, SFT, "")


# ---- lengths ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("video", "frames", "size", "tokens"),
    [
        # (width, height, frames, frames a second); the numbers are qwen-vl-utils' own
        ((426, 240, 631, 25.0), 24, (420, 252), 12 * 15 * 9),
        ((1280, 720, 9000, 30.0), 300, (308, 168), 150 * 11 * 6),  # 5 minutes: the total binds
        ((1280, 720, 300, 30.0), 10, (1008, 560), 5 * 36 * 20),  # 10 s: 768 tokens a frame bind
        ((640, 480, 30, 30.0), 4, (644, 476), 2 * 23 * 17),  # 1 s: no fewer than 4 frames
        ((640, 480, 3, 30.0), 2, (644, 476), 1 * 23 * 17),
        ((640, 360, 54000, 30.0), 600, (224, 112), 300 * 8 * 4),  # half an hour: at most 600
        ((32, 32, 100, 10.0), 10, (56, 56), 5 * 2 * 2),  # the least is 3136 pixels
    ],
)
def test_what_is_seen_of_a_video(video, frames, size, tokens):
    budget = Budget()
    assert budget.frames(*video[2:]) == frames
    assert budget.size(*video[:2], frames) == size
    assert budget.tokens(*video) == tokens
    assert tokens <= budget.most_tokens == 11479


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_videos_header(make_video, tmp_path, name):
    path = make_video(tmp_path / name, [("beach", 9), ("fire", 12)], (96, 64), rate=12)
    assert video_header(path) == (96, 64, 21, 12.0)


@pytest.fixture
def lengths(tmp_path):
    """Counts tokens with a tokenizer of words; a video may have 4 frames of 2 x 2 tokens."""
    words = "<unk> system user assistant You are a helpful What happens Rain then sun Sun rain"
    marks = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|video_pad|>", "<|vision_end|>"]
    ids = {word: number for number, word in enumerate([*words.split(), *marks])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(marks)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    budget = Budget(fps_max_frames=4, video_total_pixels=4 * 3136)
    return RowLengths("qwen2_vl", tmp_path / "tokenizer.json", budget)


def test_a_row_is_as_long_as_its_longer_side(lengths, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 24)], (56, 56), rate=12)
    row = swift_row("What happens?", "Rain, then sun.", "Sun.", str(video))
    # system: 2 marks, "system", 6 words and signs; user: 2 marks, "user", 2 marks of the video, 3
    # words and signs; assistant: 2 marks, "assistant", 5 words and signs; 2 x 4 visual tokens
    assert lengths.count(row) == (2 + 1 + 6) + (2 + 1 + 2 + 3) + (2 + 1 + 5) + 8
    longer = {**row, "rejected_response": "Sun, then rain, then sun."}
    assert lengths.count(longer) == lengths.count(row) + 3
    del row["rejected_response"]
    assert lengths.count(row) == lengths.count(longer) - 3


def test_rows_that_are_left_out_are_counted(lengths, make_video, tmp_path):
    video = make_video(tmp_path / "v.mp4", [("beach", 24)], (56, 56), rate=12)
    rows = [
        swift_row("What happens?", "Rain" + ", then sun" * n, "Sun.", str(video)) for n in (1, 2, 9)
    ]
    assert [lengths.count(row) for row in rows] == [32, 35, 56]
    assert [count_kept(tmp_path, rows, lengths, most) for most in (32, 35, 56)] == [1, 2, 3]
    with pytest.raises(UserError, match="all 3 rows are longer than MAX_LENGTH=31"):
        count_kept(tmp_path, rows, lengths, 31)


def test_a_row_that_is_surely_short_enough_costs_no_look_at_its_video(lengths):
    assert lengths.fits(swift_row("What happens?", "Rain.", "Sun.", "/no/such/video.mp4"), 400)


def test_a_tokenizer_that_swift_would_not_find_the_video_with(lengths):
    with pytest.raises(UserError, match=r"<\|video_pad\|> is 18 here and 151656 in swift, which"):
        lengths.check_video_pad()


def test_held_out_rows(tmp_path):
    rows = tmp_path / "a.json"
    assert held_out_file(rows, "auto") is None
    write(tmp_path / "a_val.json", "[]\n")
    assert held_out_file(rows, "auto") is None
    write(tmp_path / "a_val.json", [PAIR])
    assert held_out_file(rows, "auto") == tmp_path / "a_val.json"
    assert held_out_file(rows, "none") is None
    assert held_out_file(rows, "/other.json") == Path("/other.json")


def test_what_is_said_of_a_file():
    assert counted(9, 9, 16384) == "9 rows, all within 16384 tokens"
    assert counted(9, None, 16384) == "9 rows; which of them are over 16384 tokens was not counted"
    assert counted(9, 7, 16384) == (
        "9 rows, 7 within 16384 tokens; swift leaves out the other 2 and draws from the rest in"
        " their place"
    )


# ---- model and disk -----------------------------------------------------------------------------


def test_a_model_is_a_folder_or_an_id(tmp_path):
    (tmp_path / "model").mkdir()
    for mistake in (str(tmp_path / "model"), "/nowhere", "a/b/c"):
        with pytest.raises(UserError, match="MODEL="):
            model_folder(mistake)
    write(tmp_path / "model" / "config.json", "{}")
    assert model_folder(str(tmp_path / "model")) == tmp_path / "model"
    assert model_folder("nobody/no-such-model") is None


def test_disk_room_for_the_merged_models(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(0, 0, 70_000_000_000))
    for part in ("a", "b"):
        with open(tmp_path / f"{part}.safetensors", "wb") as file:
            file.truncate(8_000_000_000)  # sparse
    check_disk(tmp_path / "exp" / "toy", 3, tmp_path)
    with pytest.raises(UserError) as error:
        check_disk(tmp_path / "exp" / "toy", 5, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} has 70.0 GB free, and 5 merged models with their checkpoints take 88.0 GB:"
        " free some, or name another EXP_DIR"
    )


def test_a_stage_that_is_trained_needs_room_for_its_merged_model(tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: Usage(0, 0, 10_000_000_000))
    write(tmp_path / "config.json", "{}")
    with open(tmp_path / "model.safetensors", "wb") as file:
        file.truncate(16_000_000_000)  # sparse
    checkpoint = tmp_path / DPO.name / "v0-20260101-000000" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    write(checkpoint / "trainer_state.json", '{"global_step": 3, "max_steps": 3}')
    settings = {
        "MODEL": str(tmp_path), "TEMPLATE": "mine", "FPS": "1", "FPS_MAX_FRAMES": "600",
        "VIDEO_MIN_PIXELS": "3136", "VIDEO_TOTAL_PIXELS": "9000000", "MAX_LENGTH": "16384",
    }  # fmt: skip
    (error,) = preflight.preflight([DPO], tmp_path, settings, keep_counts=False)
    assert "and 1 merged models with their checkpoints take 17.6 GB" in str(error)
    checkpoint.with_name("checkpoint-3-merged").mkdir()
    assert not list(preflight.preflight([DPO], tmp_path, settings, keep_counts=False))


def test_a_stage_is_estimated_before_it_is_trained():
    settings = {"EPOCHS": "2", "SECONDS_PER_STEP": "", "PROCESSES": "4"}
    rows = [{"messages": []}] * 100
    assert preflight.estimate(rows, DPO, None, settings) == (
        f"{200 // DPO.batch + bool(200 % DPO.batch)} steps of {DPO.batch} rows;"
        " SECONDS_PER_STEP=X tells the GPU-hours, and swift's bar shows X"
    )
    steps = -(-200 // DPO.batch)
    settings["SECONDS_PER_STEP"] = "9"
    line = preflight.estimate(rows, DPO, None, settings)
    assert line.endswith(f", {steps * 9 * 4 / 3600:.2g} GPU-hours")


# ---- videos that training cannot read ------------------------------------------------------------


def rows_of(*videos):
    return [but(ROW, videos=[str(video)]) for video in videos]


@pytest.fixture
def mixed(make_video, tmp_path):
    """Three rows: two of a video in AV1, one of a file that is no video."""
    quick = {"preset": "12", "crf": "40"}
    good = make_video(tmp_path / "good.mp4", codec="libsvtav1", options=quick)
    (tmp_path / "bad.mp4").write_text("no video")
    return rows_of(good, tmp_path / "bad.mp4", good)


def test_rows_of_videos_that_training_cannot_read_are_counted(mixed, tmp_path):
    seen = {}
    faults = look_at_videos(mixed, tmp_path, "train_scripts/video_reader.py", Budget(), seen)
    bad = str(tmp_path / "bad.mp4")
    assert faults == {bad: "not a video: its header is missing, damaged or unknown"}
    assert seen == {tmp_path / "good.mp4": (96, 64, 72, 12.0)}
    assert unreadable(tmp_path / "a.json", mixed, faults) == (
        f"{tmp_path}/a.json: training cannot use the videos of 1 of 3 rows, 1 files such as {bad}"
        f" ({faults[bad]}); swift draws from the rest in their place. Change what the reason names,"
        " or make the rows without them (convert_to_swift.py --check_videos,"
        " tools.training.sft_data)"
    )


def test_without_the_plugin_decord_is_asked(mixed, tmp_path):
    faults = look_at_videos(mixed, tmp_path, "", Budget(), {})
    assert {Path(path).name for path in faults} == {"good.mp4", "bad.mp4"}
    assert isinstance(unreadable(tmp_path / "a.json", mixed, faults), UserError)


def test_frames_that_would_be_scaled_to_nothing_are_a_fault(make_video, tmp_path):
    rows = rows_of(make_video(tmp_path / "wide.mp4", [("beach", 12)], size=(192, 108)))
    (fault,) = look_at_videos(
        rows, tmp_path, "", Budget(video_min_pixels=784, video_total_pixels=784), {}
    ).values()
    assert fault == (
        "frames of 192 x 108 pixels would be scaled to 28 x 0: raise VIDEO_MIN_PIXELS and"
        " VIDEO_TOTAL_PIXELS"
    )
