"""Trainings as they run: killed and begun again, on several processes, on data as it is read."""

import os
import shutil
import signal
import time
from contextlib import suppress
from multiprocessing import get_context

import orjson
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from grounding.train import main as train
from grounding.training.bridge import reader_of
from grounding.training.data import read_examples
from grounding.training.experiment import compose
from qa.records import read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset


@pytest.fixture
def start():
    """A function and its arguments -> a process that runs it, which is killed with its own at the
    end of the test.

    It begins as a copy of this one, whose libraries are imported: that takes ten seconds of a core.
    """
    started = []

    def alone(function, arguments):
        os.setsid()  # it and its own processes are one group
        function(*arguments)

    def begin(function, *arguments):
        process = get_context("fork").Process(target=alone, args=(function, arguments))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def test_a_killed_training_goes_on_to_the_same_weights(run, command, start, logged, tmp_path):
    recipe = "instructblipvicuna7b_ivtinstruct"  # whose adapters draw what they drop
    steps = ["trainer.max_steps=8", "trainer.save_every_n_steps=2", "trainer.log_every_n_steps=1"]
    whole, cut = run(recipe, *steps, folder="whole"), tmp_path / "cut"
    assert not list(whole.glob("checkpoint-*/model.safetensors"))  # trained parts only
    process = start(train, command(recipe, *steps, folder="cut"))
    while not (cut / "checkpoint-2" / "trainer_state.json").exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (cut / "answerer.safetensors").exists()
    # As if it had been killed while it wrote a checkpoint.
    shutil.copytree(cut / "checkpoint-2", cut / "checkpoint-7", dirs_exist_ok=True)
    (cut / "checkpoint-7" / "trainer_state.json").write_text('{"epoch": 1.')
    run(recipe, *steps, folder="cut")
    assert logged(cut, "loss") == logged(whole, "loss")
    weights = [(folder / "answerer.safetensors").read_bytes() for folder in (whole, cut)]
    assert weights[0] == weights[1]
    with pytest.raises(UserError, match=r"cut holds another experiment: data.nframe differ"):
        run(recipe, *steps, "data.nframe=2", folder="cut")


def train_all(commands):
    """Train by one command after the other, as one of two processes."""
    for words in commands:
        train(words)


def launch(commands):
    """What torchrun --standalone --nproc_per_node 2 does, with processes that are copies."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id="test",
        start_method="fork",
    )
    elastic_launch(config, train_all)(commands)


def test_two_processes_take_the_steps_of_one(run, command, start, logged, tmp_path):
    words = ["trainer.devices=2", "trainer.log_every_n_steps=1"]
    # Adam divides a gradient by its size: below eps noise stays noise.
    words += ["data.batch_size=1", "model.optimizer.eps=0.001", "model.optimizer.lr=0.01"]
    words += ["model.bridge.dropout=0"]
    # The third step of self-refinement, whose epoch has five questions, would have one of two.
    stages = {
        "iv": ("blip2flant5xl_ivinstruct", "trainer.max_steps=3"),
        "tg": ("TG_blip2flant5xl_videoinstruct", "trainer.max_steps=3"),
        "sf": ("SF_blip2flant5xl_videoinstruct", "trainer.max_steps=2"),
    }
    ones = {stage: run(*own, *words, folder=f"{stage}1") for stage, own in stages.items()}
    twos = [command(*own, *words, folder=f"{stage}2") for stage, own in stages.items()]
    process = start(launch, twos)
    process.join(timeout=600)
    assert process.exitcode == 0
    for stage, one in ones.items():
        two = tmp_path / f"{stage}2"
        assert logged(two, "loss") == pytest.approx(logged(one, "loss"), abs=2e-4), stage
        assert len(logged(two, "loss")) == int(stages[stage][1][-1])
        begun = compose(command(*stages[stage], *words))
        for name in {file.name for file in one.glob("*.safetensors")}:
            if name == "bridge.safetensors":
                before = reader_of(begun, one).bridge.state_dict()
            else:
                before = load_file(one / "tiny" / "model.safetensors")
            ours, theirs = (load_file(folder / name) for folder in (one, two))
            assert ours.keys() == theirs.keys()
            moved = max((w - before[key]).abs().max() for key, w in ours.items())
            apart = max((w - theirs[key]).abs().max() for key, w in ours.items())
            assert moved > 1e-3, (stage, name)
            assert apart < 1e-2 * moved, (stage, name)


def test_conversations_about_images_videos_and_texts_train(run_script, run, make_video, tmp_path):
    """Video-LLaVA's rows and nlp_tune's, which have a key `model`, as `qa.read` reads them."""

    def turns(*texts):
        speakers = ("human", "gpt") * len(texts)
        return [{"from": who, "value": text} for who, text in zip(speakers, texts, strict=False)]

    Image.new("RGB", (40, 30), "red").save(tmp_path / "x.png")
    make_video(tmp_path / "v_1.mp4", [("beach", 24)])
    rows = [
        {"id": "1", "image": "x.png", "conversations": turns("<image>\nWhat colour?", "Red.")},
        {"id": "2", "video": "v_1.mp4", "conversations": turns("What?", "Sea.", "More?", "Sand.")},
        {"id": "3", "model": "", "conversations": turns("Two and two?", "Four.")},
        {"id": "4", "video": "gone.mp4", "conversations": turns("What?", "A cat.")},
    ]
    (tmp_path / "train.json").write_bytes(orjson.dumps(rows))
    root = tmp_path / "data"
    read = run_script(
        *("-m", "qa.read", "llava", "--file", tmp_path / "train.json", "--video_dir", tmp_path),
        *("--dataset", "ivt", "--split", "train", "--data_root", root),
    )
    assert read.returncode == 0, read.stderr
    dataset = Dataset("ivt", root / "ivt")
    questions = read_questions(dataset, "train")
    assert [question.context["media"] for question in questions] == ["image", "video", "text"]
    spans = dataset.spans("train", "toy")
    spans.parent.mkdir(parents=True)
    spans.write_bytes(orjson.dumps({"id": "2", "span_time": [[0.0, 1.0]]}))
    examples, _ = read_examples(dataset, "train", tmp_path, 4, spans)
    assert [len(examples[place].frames) for place in range(3)] == [1, 4, 0]
    assert "Sea." in examples[1].question
    words = ("data.dataset=ivt", f"path.data_dir={root}", "data.batch_size=3")
    folder = run("instructblipvicuna7b_ivtinstruct", *words)
    before = load_file(folder / "tiny" / "model.safetensors")
    trained = load_file(folder / "answerer.safetensors")
    assert not trained["query_tokens"].equal(before["query_tokens"])
    assert any(name.endswith("lora_B.default.weight") and w.any() for name, w in trained.items())
