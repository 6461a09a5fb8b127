"""Stage 4 for other trainers: each format is read back by the library that it is for."""

import json
from pathlib import Path

import pytest

from tools.pairs.perturbation import configs, select
from tools.store.dataset import Dataset
from tools.store.jsonl import dumps
from tools.training.recipe import parse

VIDEOS = ("first", "second")
FRAMES = 24
SENTENCES = ["Rain falls.", "A cat sleeps.", "A bus stops.", "The sun sets."]


@pytest.fixture
def mine(make_video, tmp_path):
    """Responses about two real videos of a second; gives where the videos are."""
    folder = tmp_path / "videos"
    home = Dataset("mine", tmp_path / "data" / "mine")
    home.anno.mkdir(parents=True)
    for name in VIDEOS:
        make_video(folder / f"{name}.mp4", [("beach", FRAMES)], rate=FRAMES)
    for config in configs():
        path = home.responses("dryrun", config.name).path
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = []
        for name in VIDEOS:
            order = select(config, len(SENTENCES), 0, f"mine_{name}").indices
            text = " ".join(SENTENCES[clip] for clip in order)
            row = {"video_id": f"mine_{name}", "video_path": str(folder / f"{name}.mp4")}
            rows.append({**row, "response": text, "info": {"selected_indices": order}})
        path.write_bytes(b"".join(dumps(row) + b"\n" for row in rows))
    return folder


@pytest.fixture
def convert(run_script, tmp_path):
    """Run convert_to_swift.py; fails unless it exits as expected."""

    def run(*words, code=0):
        where = ("--dataset", "mine", "--data_root", tmp_path / "data")
        run = run_script("convert_to_swift.py", "dryrun", *words, *where)
        assert run.returncode == code, run.stderr
        return run

    return run


def swift_rows(convert, tmp_path, *words):
    path = tmp_path / "swift.json"
    convert(*words, "--output", path)
    return json.loads(path.read_text())


def test_chosen_sides_are_rows_of_fine_tuning_one_a_video(convert, mine, tmp_path):
    rows = swift_rows(convert, tmp_path, 16, 2, "--sft")
    assert [row["videos"] for row in rows] == [[str(mine / f"{name}.mp4")] for name in VIDEOS]
    for row in rows:
        assert set(row) == {"messages", "videos"}
        user, assistant = row["messages"]
        assert (user["role"], user["content"][:7]) == ("user", "<video>")
        assert assistant == {"role": "assistant", "content": " ".join(SENTENCES)}
    cells = json.loads((tmp_path / "swift.funnel.json").read_text())["funnel"]
    assert sum(cell["kept"] for cell in cells) == 2
    for cell in cells:
        assert sum(cell["dropped"].values()) + cell["kept"] == cell["made"]


def test_a_video_without_a_pair_gives_no_chosen_side(convert, mine, tmp_path):
    (mine / "first.mp4").unlink()
    [row] = swift_rows(convert, tmp_path, 16, "--sft")
    assert row["videos"] == [str(mine / "second.mp4")]


def test_a_recipe_reads_what_sft_wrote(convert, mine):
    [stage] = parse("toyvl=lr3e-3_r32_a64_bs8_chosen").stages
    assert (stage.kind, stage.data_file("toyvl")) == ("sft", "toyvl_i0_chosen.json")


def test_trl_takes_a_step_on_its_rows(convert, mine, tmp_path):
    import torch
    from datasets import Image, List, load_dataset
    from transformers import AutoProcessor, Qwen2VLForConditionalGeneration
    from trl import DPOConfig, DPOTrainer

    from inference.tiny.checkpoints import build

    path = tmp_path / "pairs.jsonl"
    convert(16, "--format", "trl", "--frames", 2, "--output", path)
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "hf"))
    expected = swift_rows(convert, tmp_path, 16)
    assert len(rows) == len(expected) > 2
    for row, swift in zip(rows, expected, strict=True):
        user, chosen = swift["messages"]
        question = user["content"].removeprefix("<video>")
        assert row["prompt"] == [{"role": "user", "content": question}]
        assert row["chosen"] == [chosen]
        assert row["rejected"] == [{"role": "assistant", "content": swift["rejected_response"]}]
        assert row["video"] == swift["videos"][0]
    assert len(set(map(tuple, rows["images"]))) == len(VIDEOS)

    folder = build("qwen2vl", tmp_path / "tiny", compact=True)
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder)
    before = {name: p.clone() for name, p in model.named_parameters()}
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            str(tmp_path / "out"),
            max_steps=1,
            per_device_train_batch_size=2,
            learning_rate=0.1,
            warmup_steps=0,
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
        ),
        train_dataset=rows.cast_column("images", List(Image())),
        processing_class=AutoProcessor.from_pretrained(folder),
    )
    assert trainer.train().training_loss == pytest.approx(0.693, abs=0.01)  # log 2, before any step
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert any("visual" in name for name in changed)  # the pictures have been seen


def test_stills_are_the_middles_of_equal_parts(convert, mine, tmp_path, read_stamp):
    import cv2

    path = tmp_path / "pairs.jsonl"
    convert(16, "--format", "trl", "--frames", 4, "--output", path)
    row = json.loads(path.read_text().splitlines()[0])
    pictures = [cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB) for file in row["images"]]
    assert [read_stamp(picture) for picture in pictures] == [3, 9, 15, 21]
    times = [Path(file).stat().st_mtime_ns for file in row["images"]]
    convert(16, "--format", "trl", "--frames", 4, "--output", path)
    assert [Path(file).stat().st_mtime_ns for file in row["images"]] == times  # not made again
    convert(16, "--format", "trl", "--frames", 2, "--output", path)
    fewer = json.loads(path.read_text().splitlines()[0])["images"]
    assert sorted(Path(fewer[0]).parent.iterdir()) == [Path(file) for file in fewer]


def test_trl_rows_leave_out_a_video_that_cannot_be_read(convert, mine, tmp_path):
    (mine / "first.mp4").write_bytes(b"no video")
    path = tmp_path / "pairs.jsonl"
    run = convert(16, "--format", "trl", "--output", path)
    assert {json.loads(line)["video"] for line in path.read_text().splitlines()} == {
        str(mine / "second.mp4")
    }
    assert "video broken" in " ".join(run.stdout.split())


def test_llamafactory_finds_its_columns(convert, mine, tmp_path):
    """The fields that LLaMA-Factory's data/README documents for the sharegpt format."""
    folder = tmp_path / "factory"
    convert(16, "--format", "llamafactory", "--output", folder / "pairs.json")
    convert(16, "--format", "llamafactory", "--sft", "--output", folder / "sft.json")
    info = json.loads((folder / "dataset_info.json").read_text())
    sides = {"chosen": "chosen", "rejected": "rejected"}
    columns = {"messages": "conversations", "videos": "videos"}
    assert info == {
        "pairs": {
            "file_name": "pairs.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns | sides,
        },
        "sft": {"file_name": "sft.json", "formatting": "sharegpt", "columns": columns},
    }
    expected = swift_rows(convert, tmp_path, 16)
    pairs = json.loads((folder / "pairs.json").read_text())
    for row, swift in zip(pairs, expected, strict=True):
        user, chosen = swift["messages"]
        assert row["conversations"] == [{"from": "human", "value": user["content"]}]
        assert row["chosen"] == {"from": "gpt", "value": chosen["content"]}
        assert row["rejected"] == {"from": "gpt", "value": swift["rejected_response"]}
        assert row["videos"] == swift["videos"]
    fine_tuning = json.loads((folder / "sft.json").read_text())
    assert [turn["from"] for turn in fine_tuning[0]["conversations"]] == ["human", "gpt"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("[1]", "is no JSON object: fix or delete it"),
        ('{"pairs":', "is not JSON"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_damaged_dataset_info_is_named_before_anything_is_written(
    convert, mine, tmp_path, content, error
):
    info = tmp_path / "factory" / "dataset_info.json"
    info.parent.mkdir()
    if content is None:
        info.mkdir()
    else:
        info.write_text(content)
    out = info.with_name("pairs.json")
    done = convert(16, "--format", "llamafactory", "--output", out, code=2)
    [line] = done.stderr.splitlines()
    assert line.startswith(f"error: {info} {error}")
    assert not out.exists()


def test_a_file_where_the_pictures_go_is_one_line(convert, mine, tmp_path):
    (tmp_path / "pairs_frames").touch()
    done = convert(16, "--format", "trl", "--output", tmp_path / "pairs.jsonl", code=2)
    assert done.stderr == f"error: cannot write {tmp_path}/pairs_frames: File exists\n"
    assert not (tmp_path / "pairs.jsonl").exists()


def test_parquet_says_what_each_pair_was_made_of(convert, mine, tmp_path):
    from datasets import load_dataset

    path = tmp_path / "pairs.parquet"
    convert(16, 2, "--format", "parquet", "--output", path)
    cache = str(tmp_path / "hf")
    table = load_dataset("parquet", data_files=str(path), split="train", cache_dir=cache)
    assert table.column_names == [
        "question",
        "chosen",
        "rejected",
        "video",
        "dataset",
        "video_id",
        "config",
    ]
    expected = swift_rows(convert, tmp_path, 16, 2)
    assert table["rejected"] == [row["rejected_response"] for row in expected]
    assert [[path] for path in table["video"]] == [row["videos"] for row in expected]
    assert (table[0]["dataset"], table[0]["video_id"]) == ("mine", "mine_first")
    assert {name.split("_")[3] for name in table["config"]} == {"16", "2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "trl", "--output", "a.json"), "it names a file, <name>.jsonl"),
        (("--sft", "--per_level"), "--sft writes one file of all ratios"),
        (("--format", "tlr"), "invalid choice: 'tlr'"),
    ],
)
def test_mistakes_get_one_line(convert, mine, words, message):
    assert message in convert(16, *words, code=2).stderr
