"""Training on text vectors and on labelled videos: what is learned, kept, gone on from, refused."""

from itertools import permutations

import numpy as np
import orjson
import pytest
import torch
from transformers import LlamaForCausalLM

from prealignment.config import AlignmentConfig
from prealignment.layouts import Sample
from prealignment.model import open_llm
from prealignment.scores.options import option_scores
from prealignment.training.visits import Examples, Shares, collate
from prealignment.weights.alignments import Settings, load_alignment, open_aligned

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
    for checkpoint in (folder / "checkpoint-6", folder / "checkpoint-4"):
        for file in [*checkpoint.iterdir()]:
            file.unlink()
        checkpoint.rmdir()
    result, folder = run("texts", "whole", *words)
    assert result.returncode == 0, result.stderr
    assert (folder / "alignment.safetensors").read_bytes() == whole


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
        ("films", ("--llm", "LLM", "--split", "test"), "has no questions of the split 'test'"),
    ],
)
def test_mistakes_are_one_line(dataset, words, message, run, tiny_llama, tmp_path):
    words = [tiny_llama if word == "LLM" else word for word in words]
    result, _ = run(dataset, str(tmp_path / "mistake"), *words)
    assert result.returncode == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


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
        loss = aligned.model(**collate([visits[n] for n in range(start, start + 20)])).loss
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
