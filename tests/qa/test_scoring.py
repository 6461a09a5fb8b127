"""Scores by hand: accuracies by type, controls, ties, positions, differences, open answers."""

import random
from dataclasses import replace

import pytest

from qa.draw import draw_videos
from qa.open_scores import score_open
from qa.predictions import Prediction
from qa.records import Question
from qa.report import choice_remarks, is_answered_blind, settings_remarks
from qa.scoring import Answers, choice_of, score_choices, score_orders

LETTERS = ["one", "two", "three", "four"]


def choice(number, type=None, right=0, video=None, choices=LETTERS, dataset="mine"):
    return Question(
        id=f"q{number}",
        dataset=dataset,
        split="val",
        question="Which?",
        video_id=video or f"v{number}",
        choices=list(choices),
        answer=choices[right],
        answer_index=right,
        type=type,
    )


def log_p(number, *values):
    return Prediction(f"q{number}", log_p=list(values))


def answers(name, *predictions, **meta):
    return Answers(name, {prediction.id: prediction for prediction in predictions}, meta)


def chosen(questions, places, name="model"):
    """Predictions that choose these places; None: none of them."""
    texts = [
        None if place is None else q.choices[place]
        for q, place in zip(questions, places, strict=True)
    ]
    return answers(
        name, *(Prediction(q.id, text) for q, text in zip(questions, texts, strict=True))
    )


def test_the_likeliest_option_is_chosen_and_the_first_of_equals():
    question = choice(0)
    assert choice_of(question, log_p(0, -3.0, -1.0, -2.0, -4.0)).place == 1
    tied = choice_of(question, log_p(0, -3.0, -1.0, -1.0, -4.0))
    assert (tied.place, tied.tie) == (1, True)
    assert choice_of(question, Prediction("q0", "three")).place == 2
    assert choice_of(question, Prediction("q0", None)).place is None


def test_accuracy_of_all_of_groups_of_types_and_the_mean_of_types():
    types = ["CW"] * 4 + ["CH"] * 2 + ["TN"] * 2
    questions = [choice(number, type) for number, type in enumerate(types)]
    score = score_choices(questions, chosen(questions, [0, 0, 0, 1, 0, 1, 1, None]), {})
    values = {row: (count, round(own.value, 4)) for row, (count, own) in score.accuracy.items()}
    assert values == {
        "all questions": (8, 0.5),
        "mean of 3 types": (8, round((3 / 4 + 1 / 2 + 0) / 3, 4)),
        "C causal": (6, round(4 / 6, 4)),
        "T temporal": (2, 0.0),
        "  CH how": (2, 0.5),
        "  CW why": (4, 0.75),
        "  TN next": (2, 0.0),
    }
    assert score.unanswered == 1
    assert score.positions == [4 / 8, 3 / 8, 0, 0]
    assert score.right_positions == [1, 0, 0, 0]
    assert any("C, T and D" in line for line in choice_remarks(score, questions))


def test_what_is_answered_at_chance_is_said_to_be():
    questions = [choice(number, "easy" if number < 20 else "hard") for number in range(40)]
    score = score_choices(questions, chosen(questions, [0] * 20 + [1, 2, 3, 0] * 5), {})
    assert score.at_chance == ["  hard"]
    assert "model: not above chance by its interval: hard" in choice_remarks(score, questions)


def test_chance_and_the_most_frequent_position():
    questions = [choice(0), choice(1), choice(2, right=1, choices=LETTERS[:2])]
    score = score_choices(questions, chosen(questions, [0, 0, 0]), {"choices_only": None})
    chance, frequent, not_run = score.controls
    assert chance.accuracy.value == pytest.approx((1 / 4 + 1 / 4 + 1 / 2) / 3)
    assert frequent.accuracy.value == pytest.approx(2 / 3)
    assert frequent.difference.value == 0
    assert not_run.accuracy is None


def test_a_benchmark_that_is_answered_blind_is_said_to_be():
    questions = [choice(number, right=number % 4) for number in range(200)]
    rng = random.Random(0)
    places = [q.answer_index if rng.random() < 0.4 else rng.randrange(4) for q in questions]
    guesses = [rng.randrange(4) for _ in questions]
    model = chosen(questions, [q.answer_index for q in questions])
    controls = {
        "choices_only": chosen(questions, places),
        "question_only": chosen(questions, guesses),
        "single_frame": chosen(questions, [q.answer_index for q in questions]),
    }
    score = score_choices(questions, model, controls)
    blind = {c.name: is_answered_blind(c, score.chance) for c in score.controls}
    # A single frame shows something of the video: to be above chance is no fault.
    assert blind == {
        "chance": False,
        "most_frequent_position": False,
        "choices_only": True,
        "question_only": False,
        "single_frame": False,
    }


@pytest.mark.parametrize(("videos", "is_said"), [(3, False), (19, False), (20, True)])
def test_of_few_videos_nothing_is_said_to_be_answered_blind(videos, is_said):
    questions = [choice(number, video=f"v{number % videos}") for number in range(200)]
    right = chosen(questions, [0] * 200)
    score = score_choices(questions, right, {"question_only": right})
    assert is_answered_blind(score.controls[-1], score.chance) == is_said


def test_a_difference_is_paired_by_video():
    rng = random.Random(1)
    questions = [choice(number, video=f"v{number // 5}") for number in range(500)]
    # Both models know the same videos; the second loses 40 questions, one in each of 40 videos.
    known = [rng.random() < 0.5 for _ in range(100)]
    places = [0 if known[number // 5] else 1 for number in range(500)]
    worse = list(places)
    lost = [number for number in range(0, 500, 5) if known[number // 5]][:40]
    for number in lost:
        worse[number] = 1
    score = score_choices(
        questions, chosen(questions, places), {}, chosen(questions, worse, "base")
    )
    base, effect = score.baseline["all questions"]
    own = score.accuracy["all questions"][1]
    assert effect.value == pytest.approx(len(lost) / 500)
    assert effect.low > 0
    assert own.low < base.high  # by their own intervals nothing could be said
    # Videos are what is drawn: five times the questions of a video make nothing surer.
    assert own.high - own.low > 0.15


def test_a_control_is_compared_on_the_questions_that_both_have():
    questions = [choice(number) for number in range(4)]
    half = chosen(questions[:2], [1, 1])
    score = score_choices(questions, chosen(questions, [0, 1, 0, 0]), {"question_only": half})
    control = score.controls[-1]
    assert control.accuracy.value == 0
    assert control.difference.value == 0.5


def test_a_control_that_was_made_in_another_way_says_so():
    questions = [choice(0), choice(1)]
    model, control = (chosen(questions, [0, 0]) for _ in range(2))
    model.meta.update(frames=16, protocol="middles")
    control.meta.update(frames=8, protocol="middles")
    score = score_choices(questions, model, {"single_frame": control})
    assert score.controls[-1].note == "frames 8, not 16"


def test_orders_of_options_show_bias_towards_a_position():
    questions = [choice(number, right=number % 4) for number in range(40)]
    orders = {0: [0, 1, 2, 3], 1: [1, 2, 3, 0]}
    first = [chosen(questions, [orders[number][0]] * 40) for number in orders]
    result = score_orders(questions, first, lambda question, number: orders[number])
    assert result["accuracies"] == [0.25, 0.25]
    assert result["same_option"] == 0
    assert result["positions"] == [1, 0, 0, 0]
    knows = [chosen(questions, [q.answer_index for q in questions]) for _ in orders]
    result = score_orders(questions, knows, lambda question, number: orders[number])
    assert (result["accuracies"], result["same_option"]) == ([1, 1], 1)
    assert result["positions"] == [0.25] * 4


def test_no_question_in_all_orders_has_no_score():
    questions = [choice(0), choice(1)]
    orders = [chosen(questions[:1], [0]), chosen(questions[1:], [0])]
    assert score_orders(questions, orders, lambda question, number: [0, 1, 2, 3]) == {}


@pytest.mark.parametrize(
    ("meta", "remark"),
    [
        ({"frames": 1, "protocol": "per_second"}, "1 frame per second, of whole videos, without"),
        ({"frames": 2, "protocol": "per_second"}, "2 frames per second, of whole videos, without"),
        ({"frames": 1, "protocol": "mvbench"}, "1 frame (mvbench), of whole videos, without"),
        (
            {"frames": 8, "protocol": "middles", "subtitles": True},
            "8 frames (middles), of whole videos, with subtitles (1 of 2 questions have some)",
        ),
    ],
)
def test_how_predictions_were_made_is_said(meta, remark):
    spoken = replace(choice(0), context={"media": "video", "subtitles": [[0, 1, "Hello."]]})
    questions = [spoken, choice(1)]
    (line,) = settings_remarks(Answers("model", {}, meta), questions, questions)
    assert line.startswith(f"model: {remark}")
    if meta.get("subtitles"):
        (line,) = settings_remarks(Answers("model", {}, meta), [spoken], [spoken])
        assert "with subtitles, options" in line


def opened(number, answer, references=(), type=None):
    return Question(
        f"q{number}", "mine", "val", "What?", f"v{number}", answer=answer,
        references=list(references), type=type,
    )  # fmt: skip


def test_open_answers_have_three_numbers_and_their_length():
    questions = [opened(0, "a dog"), opened(1, "yes"), opened(2, "couch", ["sofa"]), opened(3, "2")]
    model = answers(
        "model",
        Prediction("q0", "Dog."),
        Prediction("q1", "Yes, he does it"),
        Prediction("q2", "on the sofa"),
        Prediction("q3", ""),
    )
    score = score_open(questions, model)
    count, metrics = score.metrics["all questions"]
    assert count == 4
    assert metrics["exact"].value == 1 / 4
    assert metrics["contains"].value == 3 / 4
    assert metrics["token_f1"].value == pytest.approx((1 + 2 * 1 / 5 + 2 / 3) / 4)
    assert score.words == (1 + 4 + 3 + 0) / 4
    assert score.answer_words == (2 + 1 + 1 + 1) / 4
    assert score.empty == 1
    base = answers("base", *(Prediction(q.id, "no") for q in questions))
    effects = score_open(questions, model, base).baseline["all questions"]
    assert effects["contains"][1].value == 3 / 4


def test_limit_draws_whole_videos_and_keeps_the_shares_of_types():
    questions = [
        choice(number, "a" if number < 300 else "b", video=f"v{number // 5:03}")
        for number in range(400)
    ]
    drawn = draw_videos(questions, 20, seed=0)
    assert len(drawn) == 100
    units = {question.unit for question in drawn}
    assert drawn == [question for question in questions if question.unit in units]
    assert sum(question.type == "a" for question in drawn) == 75
    assert draw_videos(questions, 20, seed=0) == drawn != draw_videos(questions, 20, seed=1)
    assert draw_videos(questions, None, 0) == questions
