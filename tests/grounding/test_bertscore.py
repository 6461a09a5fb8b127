"""BERTScore by an encoder whose vectors are known: its embeddings alone, without positions."""

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from grounding.bertscore import BertScore
from grounding.labels import LabelSettings, LabelStep
from tools.errors import UserError

# Their means are 0 and so are the products of different ones, but for crimson, which is 45 degrees
# from red, and scarlet, which is red.
VECTORS = {
    "a": [1, 1, -1, -1],
    "red": [1, -1, 1, -1],
    "scarlet": [1, -1, 1, -1],
    "crimson": [1, -1, 0, 0],
    "circle": [1, -1, -1, 1],
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *VECTORS]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 4, "num_attention_heads": 1, "intermediate_size": 4}
    model = BertModel(BertConfig(vocab_size=len(words), num_hidden_layers=1, **sizes))
    with torch.no_grad():
        for name in ("position_embeddings", "token_type_embeddings"):
            getattr(model.embeddings, name).weight.zero_()
        model.embeddings.word_embeddings.weight[-len(VECTORS) :] = torch.tensor(
            list(VECTORS.values()), dtype=torch.float32
        )
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("answer", "gold", "score"),
    [
        ("a red circle", "a red circle", 1),
        ("circle red a", "a red circle", 1),
        ("a scarlet circle", "a red circle", 1),
        ("a crimson circle", "a red circle", (2 + 0.5**0.5) / 3),
        ("circle", "a red circle", 2 * 1 * (1 / 3) / (1 + 1 / 3)),  # precision 1, recall a third
        ("red", "a", 0),
        ("", "a red circle", 0),
        ("a red circle", "", 0),
    ],
)
def test_a_word_counts_by_the_nearest_word_of_the_other_text(encoder, answer, gold, score):
    of_a_batch = BertScore(str(encoder), layer=0).scores([answer, "a a a a a"], gold)
    assert of_a_batch[0] == pytest.approx(score, abs=1e-6)


def test_labels_are_made_of_it(encoder, dataset):
    record = {
        "video_seconds": 4.0,
        "answer": "a red circle",
        "answers": ["circle", "a scarlet circle", "a scarlet circle", "circle"],
    }
    record |= {"part": [None, None], "video_id": "0"}
    settings = LabelSettings(metric="bertscore", bert=str(encoder), bert_layer=0)
    step = LabelStep(dataset, dataset.table("frame_answers_train_x"), settings)
    step.setup("cpu", 1)
    labelled = step.process(record)
    assert labelled["scores"] == [0.5, 1.0, 1.0, 0.5]
    assert labelled["span_time"] == [1.0, 3.0]
    assert step.params()["bert"] == str(encoder)
    assert "bert" not in LabelStep(dataset, step.answers, LabelSettings()).params()


def test_an_encoder_that_is_not_there_is_one_line(dataset):
    settings = LabelSettings(metric="bertscore", bert="/nowhere")
    step = LabelStep(dataset, dataset.table("frame_answers_train_x"), settings)
    with pytest.raises(UserError, match=r"^checkpoint /nowhere: no such folder$"):
        step.check("cpu")
