"""Training on text vectors and on labelled videos: what is learned, kept, gone on from, refused."""

import shutil
from itertools import permutations

import numpy as np
import orjson
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import LlamaForCausalLM, TrainingArguments

from inference.checkpoints import digest
from prealignment.model.config import AlignmentConfig
from prealignment.model.layouts import Sample
from prealignment.model.llama import open_llm
from prealignment.scores.options import option_scores
from prealignment.training.trainer import AlignmentTrainer
from prealignment.training.visits import IGNORED, Examples, Shares
from prealignment.vectors.files import TEXTS
from prealignment.weights.alignments import Settings, load_alignment, open_aligned
from tools.errors import UserError
from tools.store.arrays import write_arrays
from tools.store.dataset import Dataset
from tools.store.files import file_digest, read_json, write_json

COLOURS = ("red", "green", "blue", "white", "black")

TASKS = ("--choice_share", 0, "--caption_share", 0.5)


def logged(folder, name):
    state = orjson.loads((folder / "trainer_state.json").read_bytes())
    return [row[name] for row in state["log_history"] if name in row]


def test_the_language_model_stays_and_every_pass_is_kept_without_it(pretrained, tiny_llama):
    state = orjson.loads((pretrained / "trainer_state.json").read_bytes())
    assert state["global_step"] == 60  # 30 passes over 20 text videos, 10 a step
    assert len(list(pretrained.glob("checkpoint-*/alignment.safetensors"))) == 30
    assert not list(pretrained.glob("**/model.safetensors"))
    assert logged(pretrained, "loss")[-1] < 0.2 * logged(pretrained, "loss")[0]
    model = load_alignment(pretrained).model
    plain = LlamaForCausalLM.from_pretrained(tiny_llama)
    own = model.state_dict()
    assert all(torch.equal(own[name], value) for name, value in plain.state_dict().items())
    gates = torch.stack([layer.self_attn.gate1 for layer in model.model.layers])
    assert gates.abs().max() > 0


def test_fine_tuning_goes_on_from_an_alignment(pretrained, run, answered, accuracy):
    words = ("--init", pretrained, "--epochs", 5, "--labels", 0.5, *TASKS)
    result, folder = run("films", "tuned", *words)
    assert result.returncode == 0, result.stderr
    assert "on 10 of 20 questions, 100 visits" in result.stdout
    # It begins where the other ended: a new alignment's loss is several times as high.
    assert logged(folder, "loss")[0] < 0.3 * logged(pretrained, "loss")[0]
    assert answered(folder, "--name", "tuned").returncode == 0
    assert accuracy("tuned-raw-likelihood") == 1.0


def test_blind_training_leaves_the_projection_as_it_was(run, tiny_llama):
    words = ("--llm", tiny_llama, "--epochs", 1, "--weight_decay", 0, "--blind")
    result, folder = run("texts", "blind", *words)
    assert result.returncode == 0, result.stderr
    model = load_alignment(folder).model
    drawn = open_llm(tiny_llama, model.alignment)
    assert model.visual_proj.weight.equal(drawn.visual_proj.weight)
    assert not model.temporal_emb.weight.equal(drawn.temporal_emb.weight)


def test_a_training_goes_on_to_the_same_weights(run, tiny_llama):
    words = ("--llm", tiny_llama, "--epochs", 3)
    result, folder = run("texts", "whole", *words)
    assert result.returncode == 0, result.stderr
    whole = (folder / "alignment.safetensors").read_bytes()
    (folder / "alignment.safetensors").unlink()
    # As a power cut leaves them: trainer_state.json is the last file of a checkpoint.
    (folder / "checkpoint-6" / "trainer_state.json").unlink()
    (folder / "checkpoint-4" / "trainer_state.json").write_bytes(b"")
    result, folder = run("texts", "whole", *words)
    assert result.returncode == 0, result.stderr
    assert (folder / "alignment.safetensors").read_bytes() == whole
    assert "checkpoint-4 is not whole and is passed over" in result.stderr


@pytest.fixture
def few(data_root, tmp_path):
    """A root with a copy of the text videos, of which four have no vectors."""
    shutil.copytree(data_root / "texts", tmp_path / "texts")
    file = Dataset("texts", tmp_path / "texts").vectors("tiny-clip", "text") / "index.json"
    index = orjson.loads(file.read_bytes())
    file.write_bytes(orjson.dumps({name: index[name] for name in [*index][4:]}))
    return tmp_path


def test_text_videos_without_vectors_are_counted_and_left_out(few, run, tiny_llama):
    # Half a pass is shorter than the default rise of the learning rate.
    words = ("--llm", tiny_llama, "--data_root", few, "--epochs", 0.5, "--effective_batch", 4)
    result, _ = run("texts", str(few / "out"), *words, "--batch_size", 2)
    assert result.returncode == 0, result.stderr
    assert "4 of 20 text videos have no vectors" in result.stdout
    assert "on 16 of 16 text videos, 8 visits" in result.stdout


@pytest.mark.parametrize("changed", ["vectors_digest", "items_digest", "init_digest"])
def test_a_training_does_not_go_on_with_other_data(changed, few, run, pretrained):
    texts, init = Dataset("texts", few / "texts"), few / "init"
    init.mkdir()
    for name in ("alignment.safetensors", "alignment.json"):
        shutil.copy(pretrained / name, init)
    words = ("--init", init, "--data_root", few, "--epochs", 0.7)
    result, _ = run("texts", str(few / "out"), *words)
    assert result.returncode == 0, result.stderr
    if changed == "vectors_digest":
        path = texts.vectors("tiny-clip", "text") / "000.safetensors"
        save_file({"vectors": load_file(path)["vectors"][::-1].copy()}, path)
    elif changed == "items_digest":
        records = texts.table("tideos").sorted_records()
        texts.table("tideos").write([{**r, "global_video_caption": "pink"} for r in records])
        made_of = {"tideos": file_digest(texts.table("tideos").path)}
        write_json(texts.vectors("tiny-clip", "text") / TEXTS, made_of)
    else:
        path = init / "alignment.safetensors"
        save_file({name: 0 * value for name, value in load_file(path).items()}, path)
        digest.cache_clear()
    result, _ = run("texts", str(few / "out"), *words)
    assert result.returncode == 2
    assert f"holds another training: {changed} differ" in result.stderr


def test_one_process_takes_one_gpu_and_a_step_without_labels_is_finite(open_tiny, tmp_path):
    model = open_tiny()
    about = Settings("tiny", model.alignment, "text:tiny-clip")
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, per_device_train_batch_size=2)
    assert arguments.n_gpu == 0
    arguments._n_gpu = 4  # as on a machine with four, without torchrun
    examples = Examples([], len, None, Shares(1, 0), 0, 3, 100)
    trainer = AlignmentTrainer(model, about, 0.1, arguments, examples)
    assert trainer.args.n_gpu == 1
    assert trainer.args.train_batch_size == 2
    ignored = torch.full((1, 7), IGNORED)
    assert trainer._get_num_items_in_batch([{"labels": ignored}], torch.device("cpu")) == 1


def test_a_gpu_that_is_not_there_is_missed(run, tiny_llama, monkeypatch):
    monkeypatch.setattr("tools.runner.devices.count_gpus", lambda: 0)
    result, _ = run("texts", "no_gpu", "--llm", tiny_llama, "--device", "cuda")
    assert result.returncode == 2
    assert "--device cuda: no GPU that torch can use is here" in result.stderr


@pytest.mark.parametrize(
    ("entry", "message"),
    [(None, "its tokenizer cannot be read"), ("bos_token", "its tokenizer has no bos_token")],
)
def test_a_language_model_needs_a_tokenizer(entry, message, tiny_llama, tmp_path):
    folder = tmp_path / "llm"
    shutil.copytree(tiny_llama, folder)
    for path in [*folder.glob("*token*")]:
        content = orjson.loads(path.read_bytes())
        content.pop(entry, None)
        path.write_bytes(orjson.dumps(content))
        if entry is None:
            path.unlink()
    with pytest.raises(UserError, match=message):
        open_aligned(Settings(str(folder), AlignmentConfig(16), "text:tiny-clip"))


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_the_other_adapters_are_saved_with_projection_and_slots(adapter, run, tiny_llama):
    words = ("--llm", tiny_llama, "--epochs", 1, "--adapter", adapter)
    result, folder = run("texts", adapter, *words)
    assert result.returncode == 0, result.stderr
    model = load_alignment(folder).model
    names = {name for name, _ in model.added_parameters()}
    assert {"visual_proj.weight", "temporal_emb.weight"} <= names
    assert any("lora_B" in name for name in names) == (adapter == "lora")
    # B of lora begins with zeros.
    assert all(value.any() for name, value in model.added_parameters() if "lora_B" in name)


@pytest.mark.parametrize(
    ("dataset", "words", "message"),
    [
        ("texts", (), "give --llm, a Llama to begin with, or --init"),
        ("texts", ("--llm", "LLM", "--batch_size", 3), "cannot be shared by 1 processes of 3 rows"),
        (
            "texts",
            ("--llm", "LLM", "--max_length", 12, "--workers", 1),
            "error: no item of a batch could be laid out",
        ),
        ("films", ("--llm", "LLM", "--clip", "other"), "has no image vectors of train00 by other"),
        ("texts", ("--llm", "LLM", "--labels", 0), "--labels 0 of 20 items leave nothing"),
        ("texts", ("--llm", "LLM", "--epochs", 0.01), "--epochs 0.01 and --labels 1 of 20 items"),
        ("films", ("--llm", "LLM", "--split", "test"), "has no questions of the split 'test'"),
    ],
)
def test_mistakes_are_one_line(dataset, words, message, run, tiny_llama, tmp_path):
    words = [tiny_llama if word == "LLM" else word for word in words]
    result, _ = run(dataset, str(tmp_path / "mistake"), *words)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_flags_of_a_new_alignment_are_refused_where_one_goes_on(run, pretrained):
    result, _ = run("films", "other", "--init", pretrained, "--adapter", "lora")
    assert result.returncode == 2
    message = "error: --adapter lora is of a new alignment, and that of --init has prefix: leave it"
    assert result.stderr.splitlines()[-1].startswith(message)


def test_rate_and_passes_of_fine_tuning_are_its_own(run_script, data_root, tiny_llama, tmp_path):
    """Without --lr and --epochs; the steps are as many as the passes make."""
    root = ("--device", "cpu", "--data_root", data_root, "--workers", 0)
    steps = ("--effective_batch", 20, "--batch_size", 20, *TASKS)
    for name, dataset, words in (
        ("new", "texts", ("--llm", tiny_llama)),
        ("tuned", "films", ("--init", tmp_path / "new")),
    ):
        words = (dataset, *root, *steps, *words, "--out", tmp_path / name)
        assert run_script("-m", "prealignment.train", *words).returncode == 0
    noted = [read_json(tmp_path / name / "training.json") for name in ("new", "tuned")]
    assert [(own["lr"], own["epochs"]) for own in noted] == [(5.63e-3, 20.0), (1.25e-2, 5.0)]
    states = [read_json(tmp_path / name / "trainer_state.json") for name in ("new", "tuned")]
    assert [state["global_step"] for state in states] == [20, 5]


def test_vectors_of_another_width_are_refused(run, pretrained, data_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(data_root / "films", root / "films")
    for file in Dataset("films", root / "films").vectors("tiny-clip", "image").iterdir():
        write_arrays(file, {"vectors": np.eye(3, 8, dtype=np.float32)}, {"rate": 1.0})
    result, _ = run("films", "wide", "--init", pretrained, "--data_root", root)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "error: the image vectors of films by tiny-clip have 8 numbers, and the model reads 16:"
        " they are of another CLIP than they say"
    )


def test_another_training_in_the_same_folder_is_refused(run, pretrained, tiny_llama):
    result, _ = run(
        "texts", "pretrained", "--llm", tiny_llama, "--epochs", 30, "--gate2", 1, *TASKS
    )
    assert result.returncode == 2
    assert "holds another training: alignment differ" in result.stderr


def test_order_is_learned_from_the_order_of_vectors(tiny_llama):
    """Text videos of two colours, and the question which comes first; real ones come reversed."""
    pairs = list(permutations(COLOURS, 2))
    items = [
        {
            "video_id": " ".join(pair),
            "global_video_caption": "",
            "QAs": [{"question": "what first", "options": COLOURS, "answer": letter}],
        }
        for pair in pairs
        for letter in "ABCDE"[COLOURS.index(pair[0])]
    ]

    def vectors_of(item):
        return np.eye(16, dtype=np.float32)[[COLOURS.index(x) for x in item["video_id"].split()]]

    config = AlignmentConfig(16, prefix_length=4, gate2=0.0)
    aligned = open_aligned(Settings(str(tiny_llama), config, "text:tiny-clip"))
    open_questions = Shares(0.0, 0.0)
    visits = Examples(items, vectors_of, aligned.tokenizer, open_questions, 1200, 10, 150)
    trained = [parameter for _, parameter in aligned.model.added_parameters()]
    optimizer = torch.optim.AdamW(trained, lr=0.03)
    for start in range(0, len(visits), 20):
        loss = aligned.model(**visits.collate([visits[n] for n in range(start, start + 20)])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def share_of(place, step):
        """How often the colour at a place of the pair is chosen, with vectors in an order."""
        asked = [
            (Sample("choice", None, "what first", COLOURS), vectors_of(i)[::step]) for i in items
        ]
        chosen = [COLOURS[np.argmax(v)] for v in option_scores(aligned, asked, batch_size=40)]
        return np.mean([own == pair[place] for own, pair in zip(chosen, pairs, strict=True)])

    assert share_of(place=0, step=1) >= 0.9
    assert share_of(place=0, step=-1) <= 0.1  # the colours are the same: it is their order
    assert share_of(place=1, step=-1) >= 0.9
