"""Training by experiment: a step of every recipe, the schedule, and going on after a stop."""

import re
import shutil
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
import yaml
from transformers import BertConfig, BertModel

from grounding.answerer.weights import load_answerer, open_answerer
from grounding.bridge.network import Bridge, BridgeConfig
from grounding.bridge.sampler import Sampler
from grounding.bridge.weights import load_bridge, save_bridge
from grounding.training.answerer import PRECISIONS
from grounding.training.bridge import SpanExample, SpanExamples, reader_of, span_metrics
from grounding.training.experiment import Machine, compose, recipes
from grounding.training.trainer import _accumulation, _inputs, _output_folder
from grounding.training.validation import bleu_1
from inference.tiny.blip import wordpiece
from qa.predictions import read_predictions
from qa.records import Question, read_questions
from tools.errors import UserError
from tools.store.dataset import Dataset


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_takes_a_step(recipe, run):
    precision = compose([f"experiment=VideoTGB_{recipe}"]).trainer.precision
    folder = run(recipe, f"trainer.precision={precision}", "data.batch_size=1")
    assert orjson.loads((folder / "trainer_state.json").read_bytes())["global_step"] == 2
    experiment = compose([f"experiment=VideoTGB_{recipe}", "tiny=true"])
    kept = yaml.safe_load((folder / "experiment.yaml").read_text())
    assert kept["model"] == asdict(experiment)["model"]
    stage = experiment.stage
    assert (folder / "bridge.safetensors").exists() == (stage in ("tg", "sf"))
    assert (folder / "answerer.json").exists() == (stage != "tg")
    if stage in ("tg", "sf"):
        start = reader_of(experiment, folder).bridge.state_dict()
        trained = load_bridge(folder / "bridge.safetensors").state_dict()
        assert not torch.equal(trained["head.weight"], start["head.weight"])
    if stage == "tg":
        assert not (folder / "tiny").exists()  # no answerer is loaded
        return
    dtype = PRECISIONS[precision]
    answerer = load_answerer(folder, dtype)
    assert answerer.settings.stage == stage
    assert answerer.settings.fusion == experiment.model.fusion
    assert Path(answerer.settings.base) == (folder / "tiny").absolute()
    start = dict(open_answerer(answerer.settings.base, dtype, stage=stage).model.named_parameters())
    changed = {
        name
        for name, parameter in answerer.model.named_parameters()
        if ".lora_" not in name and not parameter.equal(start[name])
    }
    trained = {name for name in answerer.trainable(stage) if ".lora_" not in name}
    assert changed <= trained
    queries = {name for name in trained if name.endswith("attention.query.weight")}
    assert queries
    assert queries <= changed


@pytest.mark.parametrize(
    "length",
    [
        ["trainer.max_steps=12", "trainer.max_epochs=1"],
        # Four questions, one a batch and three batches a step: two steps an epoch.
        ["trainer.max_steps=-1", "trainer.max_epochs=6", "trainer.accumulate_grad_batches=3"],
    ],
)
def test_the_rate_warms_up_and_falls_at_every_step(length, run, logged):
    words = ("data.batch_size=1", "trainer.log_every_n_steps=1")
    folder = run("TG_blip2flant5xl_videoinstruct", *length, *words)
    rates = logged(folder, "learning_rate")
    assert len(rates) == 12
    assert rates[0] == 0  # 5 % of 12 steps warm up
    assert rates[1] == pytest.approx(5e-5)
    assert all(after < before for before, after in pairwise(rates[1:]))
    assert rates[-1] > 0


@pytest.mark.parametrize("stage", ["", "SF_"])
def test_held_out_questions_are_answered(stage, run, data_root, capsys, logged):
    folder = run(f"{stage}blip2flant5xl_videoinstruct", "data.val_split=val")
    assert logged(folder, "eval_loss")
    questions = read_questions(Dataset("mine", data_root / "mine"), "val")
    predictions = read_predictions(folder / "val.jsonl", questions)
    assert sorted(predictions) == ["0", "1"]
    assert "val: BLEU-1 0." in capsys.readouterr().out


def test_the_epoch_with_the_best_spans_is_kept(run, logged):
    folder = run(
        *("TG_blip2flant5xl_videoinstruct", "data.val_split=val", "model.optimizer.lr=0.01"),
        *("trainer.max_steps=-1", "trainer.max_epochs=3"),
    )
    values = logged(folder, "eval_iou")
    assert len(values) == len(logged(folder, "eval_iou_0.5")) == 3
    state = orjson.loads((folder / "trainer_state.json").read_bytes())
    assert state["best_metric"] == max(values)
    best = Path(state["best_model_checkpoint"]) / "bridge.safetensors"
    assert best.read_bytes() == (folder / "bridge.safetensors").read_bytes()


def test_a_finished_training_takes_no_further_step(run, logged):
    """It has ended within an epoch; the second run begins with what the first has written."""
    recipe = "TG_blip2flant5xl_videoinstruct"
    words = ("trainer.max_steps=3", "trainer.log_every_n_steps=1", "model.optimizer.lr=0.01")
    folder = run(recipe, *words)
    losses, weights = logged(folder, "loss"), (folder / "bridge.safetensors").read_bytes()
    (folder / "bridge.safetensors").unlink()
    run(recipe, *words)
    assert logged(folder, "loss") == losses and len(losses) == 3
    assert (folder / "bridge.safetensors").read_bytes() == weights


def test_a_bridge_begins_with_a_trained_one_or_with_bert(run, tmp_path):
    def begin(*words):
        words = ("experiment=VideoTGB_SF_blip2flant5xl_videoinstruct", *words)
        return reader_of(compose(words), tmp_path)

    folder = run("TG_blip2flant5xl_videoinstruct")
    reader = begin(f"model.sampler_name_or_path={folder}")
    trained = load_bridge(folder / "bridge.safetensors").state_dict()
    assert all(torch.equal(value, trained[k]) for k, value in reader.bridge.state_dict().items())
    assert (
        reader.tokenizer("what is it")["input_ids"][1:-1]
        == (wordpiece()("what is it", add_special_tokens=False)["input_ids"])
    )

    sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 128}
    bert = BertModel(BertConfig(vocab_size=len(wordpiece()), num_hidden_layers=12, **sizes))
    bert.save_pretrained(tmp_path / "bert")
    wordpiece().save_pretrained(tmp_path / "bert")
    reader = begin(
        f"model.sampler_name_or_path={tmp_path / 'bert'}",
        f"data.sampler_processor_name={tmp_path / 'bert'}",
        *("model.bridge.layers=2", "model.bridge.dim=32", "model.bridge.heads=2"),
    )
    query = bert.encoder.layer[11].attention.self.query.weight
    assert torch.equal(reader.bridge.layers[1].attention.query.weight, query)


def test_labels_become_the_first_and_last_token(data_root, tmp_path):
    experiment = compose(["experiment=VideoTGB_TG_blip2flant5xl_videoinstruct", "tiny=true"])
    reader = reader_of(experiment, tmp_path)
    flows = [np.zeros((length, 2, 14, 14), np.float32) for length in (10, 4, 4)]
    spans = [(0.2, 0.5), (0.0, 1.0), None]
    questions = ["What is it?", "What?", "Is it a cat?"]
    batch = reader.encode(list(map(SpanExample, flows, questions, spans)))
    assert (batch["first"].tolist(), batch["last"].tolist()) == ([2, 0, -1], [5, 3, -1])
    assert batch["flow"].shape == (3, 10, 2, 14, 14)
    assert batch["flow_mask"].sum(1).tolist() == [10, 4, 4]
    tokens = [len(reader.tokenizer(question)["input_ids"]) for question in questions]
    assert batch["words_mask"].sum(1).tolist() == tokens
    reader.eval()
    assert reader(**batch)["spans"].shape == (3, 2)


@pytest.mark.parametrize(
    ("span", "places"),
    [((0.4, 0.6), (1, 2)), ((0.0, 0.4), (0, 0)), ((0.5, 1.0), (2, 3)), ((0.8, 1.0), (-1, -1))],
)
def test_of_a_part_of_a_video_the_bridge_learns_from_its_flow_alone(
    span, places, tmp_path, dataset, write_flow
):
    """Ten pictures, half a second each; the part is 1.5 to 3.5 s, pairs 3 to 6 of nine."""
    experiment = compose(["experiment=VideoTGB_TG_blip2flant5xl_videoinstruct", "tiny=true"])
    reader = reader_of(experiment, tmp_path)
    write_flow(dataset, "v", np.arange(9)[:, None, None, None] / 9 * np.ones((1, 2, 14, 14)))
    question = Question("0", "mine", "train", "What?", video_id="v", start=1.5, end=3.5)
    examples = SpanExamples(dataset, [question], {"0": span}, reader.bridge.config)
    batch = reader.encode([examples[0]])
    assert batch["flow"][0, :, 0, 0, 0] * 9 == pytest.approx([3, 4, 5, 6], rel=1e-3)
    assert (batch["first"].item(), batch["last"].item()) == places


def test_span_metrics():
    class Prediction:
        predictions = np.array([[2, 4], [0, 3], [0, 0]])
        label_ids = (np.array([2, 2, -1]), np.array([4, 5, -1]))

    values = span_metrics(Prediction)
    assert values == {"iou": pytest.approx((1 + 2 / 6) / 2), "iou_0.3": 1.0, "iou_0.5": 0.5}


def test_bleu_counts_each_word_as_often_as_it_stands_there():
    assert bleu_1(["A red red ball"], ["a red ball it is"]) == pytest.approx(
        3 / 4 * 2.718281828 ** (1 - 5 / 4)
    )
    assert bleu_1(["red ball", "a b"], ["red ball", "a c"]) == 3 / 4
    assert bleu_1([""], ["a"]) == 0


@pytest.mark.parametrize(
    ("overrides", "mistake"),
    [
        (["data.labels=/no.jsonl"], r"/no.jsonl is not there: python -m grounding\.labels DATASET"),
        (
            ["model.of_extractor_name_or_path=raft_large"],
            r"mine/train: .* \(no flow 4, .*raft_large",
        ),
        (
            ["model.of_extractor_name_or_path=raft_larg"],
            r"raft_larg is none of dis, raft_small, .*; did you mean 'raft_large'\?",
        ),
        (["data.labels=x", "data.val_split=val"], "data.labels=x is the file of one split, so it"),
        (["model.bridge.positions=rop"], "positions is 'rop', .* did you mean 'rope'"),
    ],
)
def test_mistakes_about_the_bridge_are_one_line(overrides, mistake, run):
    with pytest.raises(UserError, match=mistake):
        run("TG_blip2flant5xl_videoinstruct", *overrides)


@pytest.mark.parametrize("stage", ["TG", "SF"])
def test_more_flow_than_learned_positions_is_one_line(stage, run):
    words = ("model.bridge.positions=learned", "model.bridge.max_positions=4")
    message = r"has 4 learned positions, and a clip has 6 tokens: positions rope_window takes"
    with pytest.raises(UserError, match=message) as error:
        run(f"{stage}_blip2flant5xl_videoinstruct", *words)
    assert "\n" not in str(error.value)


def test_labels_of_another_split_are_one_line(run, data_root):
    labels = Dataset("mine", data_root / "mine").pseudo_labels("val")
    with pytest.raises(
        UserError, match=r"labels of other questions than mine/train has, such as '0'"
    ):
        run("TG_blip2flant5xl_videoinstruct", f"data.labels={labels}")


@pytest.mark.parametrize("workers", [0, 1])
def test_flow_of_another_rate_is_one_line(workers, run, data_root, tmp_path, write_flow):
    shutil.copytree(data_root / "mine", tmp_path / "fast")
    write_flow(Dataset("fast", tmp_path / "fast"), "beach", np.zeros((9, 2, 14, 14)), fps=4.0)
    words = (f"data.text_dir={tmp_path / 'fast'}", f"data.num_workers={workers}")
    with pytest.raises(UserError, match=r"flow of flow_fps=4.0, wanted is flow_fps=2.0") as error:
        run("TG_blip2flant5xl_videoinstruct", *words)
    assert "\n" not in str(error.value)


def test_missing_videos_are_counted(run, data_root, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "beach.mp4").symlink_to(data_root / "videos" / "beach.mp4")
    words = (f"data.video_dir={tmp_path / 'videos'}", "trainer.max_steps=1")
    run("blip2flant5xl_ivinstruct", *words)
    printed = capsys.readouterr().out
    assert "mine/train: 3 questions are left out: missing file" in printed
    assert "are trained, on 3 questions" in printed


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("data.dataset=min", "no dataset 'min' in .*did you mean 'mine'"),
        ("data.split=test", "mine has no questions of the split 'test'"),
        ("data.video_dir=/no", "the videos of mine are not at /no: give their folder as data."),
        ("data.text_dir=/no", "text_dir /no: no such folder"),
        ("data.spans=/no.jsonl", "/no.jsonl cannot be read"),
        ("data.spans=tooy", "data.spans=tooy: mine/train has the spans of toy; choose one"),
        ("data.processor_name=x/y", "an answerer reads with the processor of its own checkpoint"),
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp: choose one of auto, ddp"),
        ("trainer.precision=16", "trainer.precision=16: a CPU takes bf16 or 32"),
        ("trainer.precision=8", "trainer.precision=8: choose one of 32, "),
        ("model.optimizer.name=sgd", "model.optimizer.name=sgd: choose one of adam, adamw"),
        ("data.baseline=low", "data.baseline=low: choose one of none, min, mean, top"),
        ("data.nframe=0", "data.nframe=0: it must be 1 or more"),
        ("data.batch_size=0", "data.batch_size=0: it must be 1 or more"),
        ("data.num_workers=-1", "data.num_workers=-1: it must be 0 or more"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: it must be 1 or more"),
        (
            "trainer.max_steps=0",
            "trainer.max_steps=0: give a number from 1 on, or -1 for the steps",
        ),
        ("trainer.devices=-1", "trainer.devices=-1: give a number from 1 on; torchrun --nproc_per"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0: give a number from 1 on; torchrun"),
        ("model.optimizer.betas=[0.9]", "model.optimizer: betas has 1 numbers, and must have two"),
        ("model.optimizer.betas=[0.9, 2]", "model.optimizer: Invalid beta parameter at index 1: 2"),
        ("model.optimizer.lr=-1", "model.optimizer: Invalid learning rate: -1"),
        ("model.scheduler.warmup_ratio=5", "warmup_ratio=5.0: it must be from 0 to 1"),
        ("seed=-1", "seed=-1: it must be from 0 to 4294967295"),
        ("model.generate_configs.num_beams=5", "num_beams 5 and temperature 1.0 do not go togeth"),
        ("model.generate_configs.top_p=0", "top_p"),
    ],
)
def test_mistakes_are_one_line(override, mistake, run):
    with pytest.raises(UserError, match=mistake) as error:
        run("blip2flant5xl_ivinstruct", override)
    assert "\n" not in str(error.value)


def test_a_file_of_spans_is_of_one_split(run, data_root):
    spans = data_root / "mine" / "grounding" / "train" / "spans_toy.jsonl"
    assert spans.exists()
    with pytest.raises(UserError, match=r"is the file of one split, .* data.val_split=val"):
        run("blip2flant5xl_ivinstruct", f"data.spans={spans}", "data.val_split=val")


def test_an_output_folder_of_other_inputs_is_refused(run, data_root, tmp_path):
    shutil.copytree(data_root / "mine", tmp_path / "own")
    own = Dataset("own", tmp_path / "own")
    flow = own.table("flow_dis").meta_path
    flow.parent.mkdir()
    flow.write_text('{"fingerprint": "a"}')
    begin = tmp_path / "begin" / "bridge.safetensors"
    bridge = Bridge(BridgeConfig(vocabulary=len(wordpiece()), layers=1, dim=16, heads=2))
    Sampler(bridge, wordpiece()).save(begin.parent)
    words = (
        *("TG_blip2flant5xl_videoinstruct", f"data.text_dir={tmp_path / 'own'}"),
        *("trainer.save_every_n_steps=1", f"model.sampler_name_or_path={begin.parent}"),
    )
    run(*words)

    def refused(file, changed):
        """The inputs that differ where a file holds something else."""
        before = file.read_bytes()
        file.write_bytes(changed)
        with pytest.raises(UserError, match=r"choose another path\.output_dir") as error:
            run(*words)
        file.write_bytes(before)
        return re.search("holds another experiment: (.*) differ", str(error.value))[1]

    labels, questions = own.pseudo_labels("train"), own.questions("train")
    assert refused(labels, labels.read_bytes() + b"\n") == "inputs.train_labels"
    assert refused(questions, questions.read_bytes() + b"\n") == "inputs.train_questions"
    assert refused(flow, b'{"fingerprint": "b"}') == "inputs.flow"
    with torch.no_grad():
        bridge.head.bias.add_(1)
    save_bridge(tmp_path / "changed", bridge)
    assert refused(begin, (tmp_path / "changed").read_bytes()) == "inputs.first_bridge"
    run(*words)


def test_an_output_folder_of_other_spans_is_refused(command, data_root):
    experiment = compose(command("blip2flant5xl_ivinstruct", "data.val_split=val"))
    dataset = Dataset("mine", data_root / "mine")
    names = ["train_questions", "train_spans", "val_questions", "val_spans"]
    assert sorted(_inputs(experiment, dataset)) == names
    output = _output_folder(experiment, {"train_spans": "a"})
    (output / "checkpoint-1").mkdir()
    (output / "checkpoint-1" / "trainer_state.json").write_text("{}")
    assert _output_folder(experiment, {"train_spans": "a"}) == output
    with pytest.raises(UserError, match=r"another experiment: inputs\.train_spans differ"):
        _output_folder(experiment, {"train_spans": "b"})
    for half_written in ("", "data: {", "- a", "\0"):
        (output / "experiment.yaml").write_text(half_written)
        with pytest.raises(UserError, match="holds another experiment: experiment, stage, tiny"):
            _output_folder(experiment, {"train_spans": "a"})


def test_several_gpus_without_torchrun_are_one(run, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    folder = run("TG_blip2flant5xl_videoinstruct", "trainer.accelerator=auto")
    assert orjson.loads((folder / "trainer_state.json").read_bytes())["train_batch_size"] == 2
    assert "one of 4 GPUs is used: torchrun --nproc_per_node 4 -m" in capsys.readouterr().out


def test_a_trained_bridge_keeps_its_own_settings(tmp_path, run, command):
    settings = {"layers": 1, "dim": 16, "heads": 2, "positions": "none", "patch": 7}
    bridge = Bridge(BridgeConfig(vocabulary=len(wordpiece()), **settings))
    Sampler(bridge, wordpiece()).save(tmp_path / "first")
    words = (f"model.sampler_name_or_path={tmp_path / 'first'}", "model.bridge.layers=1")
    folder = run("TG_blip2flant5xl_videoinstruct", *words)
    kept = yaml.safe_load((folder / "experiment.yaml").read_text())["model"]["bridge"]
    assert {key: kept[key] for key in settings} == settings
    with pytest.raises(UserError, match=r"bridge.window=40: the bridge in .*first/.* has 12, and"):
        compose(command("TG_blip2flant5xl_videoinstruct", *words, "model.bridge.window=40"))


def test_a_step_takes_as_many_examples_whatever_the_processes(monkeypatch, capsys):
    trainer = Machine(devices=4, num_nodes=2, accumulate_grad_batches=8)
    for processes, batches in (("8", 8), ("1", 64), ("16", 4)):
        monkeypatch.setenv("WORLD_SIZE", processes)
        assert _accumulation(trainer) == batches
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="3 processes cannot share the 8 x 8 batches of a step"):
        _accumulation(trainer)


def test_the_script_says_a_mistake_in_one_line_and_its_names_when_asked(run_script):
    done = run_script("-m", "grounding.train", "experiment=LSTP_blip2flant5xl_ivinstrukt")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no experiment 'LSTP_blip2flant5xl_ivinstrukt'; did you")
    assert done.stderr.count("\n") == 1
    shown = run_script("-m", "grounding.train", "--help").stdout
    assert "\nVideoTGB_TG_blip2flant5xl_videoinstruct\n" in shown
    assert "\n  nframe: 4\n" in shown
