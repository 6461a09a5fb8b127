"""Prompts as tokens: what is learned, where the video stands, and what is shortened."""

import random

import pytest
import transformers

from inference.tiny.tokenizer import build_tokenizer
from prealignment.model.layouts import Sample, lay_out, letter_rows, option_rows
from prealignment.training.visits import choice_sample
from tools.errors import UserError

CHOICE = Sample("choice", "B", "who sings", ("a boy", "a girl", "the choir"))


@pytest.fixture(scope="module", params=["as Llama 2", "as Llama 3"])
def tokenizer(request, tiny_llama):
    """One that spells bytes and begins words with a mark, and a byte-level one."""
    if request.param == "as Llama 2":
        return transformers.AutoTokenizer.from_pretrained(tiny_llama)
    special = ("<|begin|>", "<|end|>")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(special), bos_token=special[0], eos_token=special[1]
    )


def text_of(tokenizer, row, places):
    return tokenizer.decode([row.ids[place] for place in places]).strip()


@pytest.mark.parametrize(
    ("sample", "learned", "end_of_prompt"),
    [
        (CHOICE, "choice is (B)", "(C) the choir\nAnswer: The correct"),
        (Sample("caption", "A red circle moves."), "A red circle moves.", "Description:"),
        (Sample("open", "the choir", "who sings"), "the choir", "Who sings?\nAnswer:"),
        (
            Sample("open", "the choir", "Who sings?", dialogue=("Hello.", "la la")),
            "the choir",
            "Dialogue:\nHello.\nla la\nQuestion: Who sings?\nAnswer:",
        ),
    ],
)
def test_what_is_learned_is_the_answer_and_the_end(sample, learned, end_of_prompt, tokenizer):
    row = lay_out(tokenizer, sample, vectors=4)
    assert row.ids[0] == tokenizer.bos_token_id
    assert row.ids[-1] == tokenizer.eos_token_id
    assert row.learned.stop == len(row.ids)
    assert text_of(tokenizer, row, row.learned[:-1]) == learned
    assert len(row.slots) == 4
    assert text_of(tokenizer, row, range(1, row.slots.start)).endswith("\nVideo:")
    body = text_of(tokenizer, row, range(row.slots.stop, row.learned.start))
    assert body.endswith(end_of_prompt)


def test_without_an_answer_a_row_ends_where_it_would_stand(tokenizer):
    whole, prompt = (
        lay_out(tokenizer, Sample("open", answer, "who sings"), 2) for answer in ("the choir", None)
    )
    assert prompt.ids == whole.ids[: whole.learned.start]
    assert not prompt.learned


def test_letters_are_scored_behind_the_tokens_of_training(tokenizer):
    prompt, letters = letter_rows(tokenizer, CHOICE, 4)
    for answer, letter in zip("ABC", letters, strict=True):
        row = lay_out(tokenizer, Sample(**{**vars(CHOICE), "answer": answer}), 4)
        assert row.ids[: len(prompt.ids)] == prompt.ids
        assert row.ids[len(prompt.ids)] == letter
    assert len(set(letters)) == 3


def test_an_option_is_scored_as_the_answer_to_an_open_question(tokenizer):
    rows = option_rows(tokenizer, CHOICE, 4)
    texts = [text_of(tokenizer, row, row.learned[:-1]) for row in rows]
    assert texts == ["a boy", "a girl", "the choir"]
    assert rows[2].ids == lay_out(tokenizer, Sample("open", "the choir", "who sings"), 4).ids


def test_a_long_row_loses_dialogue_then_words_and_never_its_answer(tokenizer):
    long = Sample(
        "choice", "B", "who sings " + "and plays " * 9, ("a boy", "a girl " * 30), ("la la",) * 20
    )
    whole = lay_out(tokenizer, long, 4)
    row = lay_out(tokenizer, long, 4, max_length=len(whole.ids) - 20)
    body = text_of(tokenizer, row, range(row.slots.stop, len(row.ids)))
    assert 0 < body.count("la la") < 20
    assert body.count("a girl") == 30
    shortest = lay_out(tokenizer, long, 4, max_length=260)
    assert len(shortest.ids) <= 260
    body = text_of(tokenizer, shortest, range(shortest.slots.stop, len(shortest.ids)))
    assert "la la" not in body
    assert "(A) a boy\n(B) a girl" in body
    assert text_of(tokenizer, shortest, shortest.learned[:-1]) == "choice is (B)"
    assert shortest.ids[-1] == tokenizer.eos_token_id
    with pytest.raises(UserError, match="has no room for 4 vectors"):
        lay_out(tokenizer, long, 4, max_length=40)


def test_a_long_description_loses_its_end(tokenizer):
    sample = Sample("caption", "a red circle moves left " * 20)
    row = lay_out(tokenizer, sample, 4, max_length=len(lay_out(tokenizer, sample, 4).ids) - 9)
    learned = text_of(tokenizer, row, row.learned)
    assert learned.startswith("a red circle moves left")
    assert row.ids[-1] != tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        (("run", "swim", "all of the above"), True),
        (("run", "swim", "both a and b", "walk"), True),
        (("run", "swim", "None of the options.", "walk"), True),
        (("a hand", "a ball", "something small", "both arms", "and so on"), False),
    ],
)
def test_options_that_speak_of_others_keep_their_places(options, stays):
    orders = {
        choice_sample("what?", options, 1, (), random.Random(seed)).options for seed in range(9)
    }
    assert (orders == {options}) == stays
