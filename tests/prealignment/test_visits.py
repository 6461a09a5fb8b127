"""Visits to text videos and questions: what is drawn follows from seed, id and pass."""

import copy
import random
from collections import Counter

import numpy as np
import pytest
import torch
import transformers

from prealignment.training.visits import (
    IGNORED,
    QUESTION_SHARES,
    TEXT_SHARES,
    Examples,
    Shares,
    draw_sample,
    of_share,
    video_of,
)
from qa.records import Question

OPTIONS = ("red", "green", "blue", "white", "black")


def tideo(number):
    return {
        "video_id": f"t{number}",
        "global_video_caption": f"caption {number}",
        "QAs": [
            {
                "question": f"which colour {number}",
                "options": list(OPTIONS),
                "answer": "C",
                "answer_open_ended": f"it is blue {number}",
            }
        ],
    }


def question(number, **fields):
    fields = {"choices": list(OPTIONS), "answer": "blue", "answer_index": 2, **fields}
    return Question(f"q{number}", "mine", "train", "what is it", f"v{number}", **fields)


@pytest.fixture
def examples(tiny_llama):
    """(items, length, shares, **others) -> Examples whose vectors are their video's number."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_llama)

    def vectors_of(item):
        return np.full((3, 16), float(video_of(item)[1:]), np.float32)

    def make(items, length, shares=TEXT_SHARES, **others):
        limits = {"frames": 10, "max_length": 400, **others}
        return Examples(items, vectors_of, tokenizer, shares, length, **limits)

    return make


def texts(examples, positions):
    rows = [examples[position][0] for position in positions]
    return [examples.tokenizer.decode(row.ids[row.slots.stop :]) for row in rows]


def test_half_choices_a_quarter_descriptions_a_quarter_open_questions(examples):
    made = texts(examples([tideo(n) for n in range(40)], 800), range(800))
    counts = Counter(
        "choice" if "Choices:" in text else "caption" if "Description:" in text else "open"
        for text in made
    )
    assert counts["choice"] == pytest.approx(400, abs=50)
    assert counts["caption"] == pytest.approx(200, abs=40)
    assert "it is blue" in next(
        text for text in made if "Question" in text and "Choices" not in text
    )


def test_letters_stay_right_at_every_visit_and_nothing_stored_is_changed(examples):
    items = [tideo(0), tideo(1)]
    before = copy.deepcopy(items)
    made = texts(examples(items, 60, Shares(1.0, 0.0)), range(60))
    letters = set()
    for text in made:
        letter = text.split("choice is (")[1][0]
        assert f"({letter}) blue" in text
        letters.add(letter)
    assert letters == set("ABCDE")
    assert items == before


def test_the_same_seed_draws_the_same_and_passes_differ(examples):
    items = [tideo(n) for n in range(8)]
    first, again, other = (texts(examples(items, 16, seed=s), range(16)) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert first[:8] != first[8:]
    # A later position does not depend on whether the earlier ones were read, as after a stop.
    assert texts(examples(items, 16, seed=1), [13]) == [first[13]]


def test_every_pass_visits_every_item_once(examples):
    made = examples([tideo(n) for n in range(7)], 21)
    for start in (0, 7, 14):
        visited = {made[position][1][0, 0] for position in range(start, start + 7)}
        assert visited == set(range(7))


@pytest.mark.parametrize(
    ("item", "shares", "task", "answer"),
    [
        (question(0), QUESTION_SHARES, "choice", None),
        (question(0), Shares(0.0, 0.0), "open", "blue"),
        (question(0, choices=None, answer_index=None), QUESTION_SHARES, "open", "blue"),
        (
            question(0, choices=None, answer_index=None, type="caption", answer="a cat sits"),
            QUESTION_SHARES,
            "caption",
            "a cat sits",
        ),
        ({**tideo(0), "QAs": []}, Shares(1.0, 0.0), "caption", "caption 0"),
        ({**tideo(0), "global_video_caption": ""}, Shares(0.0, 1.0), "open", "it is blue 0"),
    ],
)
def test_a_task_that_an_item_lacks_gives_way(item, shares, task, answer):
    sample = draw_sample(item, shares, random.Random(0))
    assert sample.task == task
    assert answer is None or sample.answer == answer


def test_a_share_of_the_videos_is_a_part_of_a_larger_one():
    items = [question(n) for n in range(40)]
    few, many = ({q.video_id for q in of_share(items, share, 0)} for share in (0.1, 0.5))
    assert (len(few), len(many)) == (4, 20)
    assert few < many


def test_a_batch_has_labels_where_something_is_learned(examples):
    made = examples([tideo(n) for n in range(3)], 3)
    batch = made.collate([made[position] for position in range(3)])
    for number in range(3):
        row, _ = made[number]
        labels = batch["labels"][number]
        assert (labels != IGNORED).nonzero()[:, 0].tolist() == list(row.learned)
        assert labels[row.learned.start : row.learned.stop].tolist() == [
            row.ids[place] for place in row.learned
        ]
        assert batch["video_mask"][number].nonzero()[:, 0].tolist() == list(row.slots)
        assert batch["attention_mask"][number].sum() == len(row.ids)
    assert batch["video"].dtype == torch.float32


def test_an_item_that_does_not_fit_is_left_out_alone(examples, capsys):
    long = tideo(1)
    long["QAs"][0]["answer_open_ended"] = "blue " * 500
    made = examples([tideo(0), long], 2, Shares(0.0, 0.0))
    batch = made.collate([made[position] for position in range(2)])
    assert len(batch["input_ids"]) == 1
    assert made.left_out == {"t1"}
    assert "t1 is left out" in capsys.readouterr().err


def test_a_batch_without_any_good_item_teaches_nothing_and_stops_nothing(examples):
    long = tideo(1)
    long["QAs"][0]["answer_open_ended"] = "blue " * 500
    made = examples([long, tideo(0)], 2, Shares(0.0, 0.0))
    bad = next(position for position in range(2) if made[position] is None)
    batch = made.collate([made[bad]])
    good, _ = made[1 - bad]
    assert batch["input_ids"].tolist() == [good.ids]
    assert (batch["labels"] == IGNORED).all()


def test_options_that_name_others_are_asked_in_their_order():
    item = question(0, choices=["red", "green", "blue", "white", "A, B & C"])
    samples = [draw_sample(item, QUESTION_SHARES, random.Random(seed)) for seed in range(9)]
    assert all(list(sample.options) == item.choices for sample in samples)


def test_noise_is_drawn_anew_at_each_visit(examples):
    made = examples([tideo(5)], 2, variance=0.001)
    first, second = made[0][1], made[1][1]
    assert np.allclose(np.linalg.norm(first, axis=1), 1, atol=1e-6)
    assert not np.allclose(first, second)
    assert np.array_equal(first, made[0][1])


def test_a_blind_model_is_trained_on_zeros(examples):
    made = examples([tideo(5)], 1, blind=True)
    assert not made[0][1].any()
