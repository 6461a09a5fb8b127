"""All methods on the same questions: the world, who is asked how, TOPA's answers, the report."""

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import orjson
import pytest
from PIL import Image

from inference.tiny.blip import wordpiece
from qa.predictions import Prediction, write_predictions
from qa.records import Question, read_questions, write_questions
from reproduction.distillation.arms import CONFIG
from reproduction.distillation.clips import words as clip_words
from reproduction.distillation.world import DATASET, data_of
from reproduction.methods import cost, report, results, run, trial
from reproduction.methods.arms import ARMS, STUDENTS
from reproduction.methods.world import (
    SIZES,
    Size,
    by_video,
    question_words,
    write_world,
)
from reproduction.prealignment.language import build_model
from reproduction.prealignment.trial import Size as TopaSize
from reproduction.prealignment.trial import Trial
from tools.errors import UserError
from tools.store.dataset import Dataset
from toyworld.language import TEMPLATES

SMALL = Size(train=2, val=1, test=2, clip=3, clip_steps=1, epochs=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight rendered stories with their questions."""
    exp = tmp_path_factory.mktemp("methods")
    words = ["--videos", "8", "--events", "6", "--seed", "5", "--workers", "1"]
    command = [sys.executable, "-m", "toyworld", *words, "--out", str(data_of(exp).root)]
    subprocess.run(command, check=True, capture_output=True)
    write_world(exp, SMALL)
    return exp


def test_each_split_asks_eleven_questions_about_each_story_of_its_own(world):
    asked = {
        split: by_video(read_questions(data_of(world), split)) for split in ("test", "val", "train")
    }
    assert {split: len(videos) for split, videos in asked.items()} == {
        "test": 2,
        "val": 1,
        "train": 2,
    }
    videos = [video for own in asked.values() for video in own]
    assert len(set(videos)) == 5
    for split, own in asked.items():
        for questions in own.values():
            assert len(questions) == 11 and {q.type for q in questions} <= {*TEMPLATES}
            assert {question.split for question in questions} == {split}


def test_whole_and_quick_worlds_ask_about_stories_that_the_clip_has_not_seen():
    for size in SIZES.values():
        places = [number for numbers in size.splits.values() for number in numbers]
        assert places == list(range(size.stories - size.clip))


def test_no_word_of_a_question_is_spelt_out():
    tokenizer = wordpiece([*clip_words(), *question_words()])
    for text in (
        "Is there an orange circle that moves left in this video?",
        "How many things in this video are a star?",
        "What happens right after a red star grows? Answer with that event alone.",
        "six .",
        "yes .",
    ):
        assert not [token for token in tokenizer.tokenize(text) if token.startswith("##")], text


def test_video_llms_are_asked_with_the_commands_that_users_type(tmp_path):
    models = {name: tmp_path / name for name in ("base", "sft", "chosen_sft", "temple")}
    commands = [words[1:] for words in run.answers(tmp_path / "exp", "2-ab", models)]
    root = ["--data_root", str(tmp_path / "exp" / "data")]
    base, *_ = commands
    assert base[1:] == [
        *("qa", "--dataset", "stories", "--split", "test", *root),
        *("--model", str(tmp_path / "base"), "--model_name", "base_2-ab"),
        *("--protocol", "per_second", "--frames", "1"),
    ]
    assert ["--controls" in words for words in commands[:4]] == [False, False, False, True]
    frames = [words[words.index("--frames") + 1] for words in commands[4:7]]
    assert frames == ["uniform", "grounded", "annotated"]
    assert ["--sampler" in words for words in commands[4:7]] == [False, True, False]
    assert all(str(tmp_path / "temple") in words for words in commands[4:])
    assert commands[7][:4] == ["-m", "distillation.teach", "stories", "1"]


def test_answers_are_named_after_the_models_and_the_questions(world, tmp_path):
    for name in ("base", "temple", "temple_again"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode())
    models = {name: tmp_path / name for name in ("base", "temple")}
    dataset = data_of(world)
    key = trial.key_of(dataset, 3, models)
    assert key == trial.key_of(dataset, 3, models) and key.startswith("3-")
    assert trial.predictions_of(dataset, "topa.question_only", key).name == (
        f"topa_{key}.question_only.jsonl"
    )
    assert trial.key_of(dataset, 3, {**models, "temple": tmp_path / "temple_again"}) != key
    fewer = Dataset(DATASET, tmp_path / "data" / DATASET)
    write_questions(fewer.questions("test"), read_questions(dataset, "test")[1:])
    assert trial.key_of(fewer, 3, models) != key


def test_a_model_that_is_not_trained_yet_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "read_rates", lambda *_: dict.fromkeys(("sft", "temple"), "1e-3"))
    arms = {name: arm for name, arm in run.arms().items() if name == "sft"}
    monkeypatch.setattr(run, "arms", lambda: arms)
    with pytest.raises(UserError, match=r"toyvl_s0/outputs/toyvl=lr1e-3_\S+ holds no merged model"):
        run.models_of(1, tmp_path)


def test_a_cost_is_paid_again_each_time_that_it_is_measured(world):
    dataset = data_of(world)
    videos = list(by_video(read_questions(dataset, "test")).values())[:1]
    whole = cost.measure(cost.whole_video(dataset), videos)
    few = cost.measure(cost.few_frames(dataset, "uniform"), videos)
    assert min(whole, few) > 0.001  # what is kept and read again takes less


@pytest.fixture(scope="module")
def topa(tmp_path_factory):
    """A TOPA of untrained models."""
    folder = tmp_path_factory.mktemp("topa")
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    llm = build_model(folder / "llm", 0, **config)
    few = TopaSize(1, 1, 1, texts=8, films=2, steps=1, tuning=1, clip_steps=1, memory_rows=288)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reproduction.prealignment.bridges.ROWS", 4)
        return trial.Topa(Trial(3, folder / "seed_3", llm, few))


def test_topa_sees_a_frame_a_shot_and_scores_every_option(world, topa):
    dataset = data_of(world)
    asked = by_video(read_questions(dataset, "test"))
    footage = trial.footage_of(dataset, [own[0].video for own in asked.values()])
    assert footage.lengths == [6, 6] and footage.pictures.shape == (12, 16, 28, 28, 3)
    assert len({asdict(event)["colour"] + event.shape for event in footage.events[:6]}) == 6
    answers = topa.answer(footage, list(asked.values()))
    options = [len(question.choices) for own in asked.values() for question in own]
    assert [len(answer.log_p) for answer in answers] == options
    # What is shown changes the answers: the second video's shots in the place of the first one's.
    swapped = trial.Footage(footage.pictures[::-1], footage.events[::-1], footage.lengths)
    others = topa.answer(swapped, list(asked.values()))
    assert not np.allclose(answers[0].log_p, others[0].log_p, atol=1e-6)
    blind, blind_too = (topa.answer(f, list(asked.values()), True) for f in (footage, swapped))
    assert [answer.log_p for answer in blind] == [answer.log_p for answer in blind_too]


def test_students_differ_in_labels_and_in_whether_they_have_a_teacher(tmp_path, monkeypatch):
    made = []
    chosen = {"hybrid_10": {"lr": 0.01, "weight": 4.5}}
    monkeypatch.setattr(trial, "read_json", {trial.RATES: chosen}.get)

    def run_arm(dataset, arm, base, config, seeds, folder, split):
        taught = [arm.settings.get(key) for key in ("teacher_name", "distill_mode", "soft")]
        made.append((arm.name, arm.settings["labels"], *taught, base.lr, base.teacher_weight))
        assert (base.clip, base.num_video_frames, base.epochs, seeds) == ("tiny", 12, 24, [4])
        assert config is CONFIG
        return [folder / arm.name / "s4"]

    monkeypatch.setattr(trial.suite, "run_arm", run_arm)
    folders = [trial.student(tmp_path, name, "4-ab", "whole") for name in STUDENTS]
    taught = ("temple_4-ab", "hybrid", "kl", (0.01,), (4.5,))
    alone = (None, None, None, (0.01,), (1.0,))
    assert made == [
        ("student", 1.0, *taught),
        ("student_few", 0.1, *taught),
        ("student_alone", 1.0, *alone),
        ("student_alone_few", 0.1, *alone),
    ]
    assert folders[0] == tmp_path / "students" / "4-ab" / "student" / "s4"


def question(place, kind, choices, right):
    return Question(
        *(f"v{place}/{kind}", DATASET, "test", "?", f"v{place}", f"v{place}.mp4"),
        choices=choices,
        answer=choices[right],
        answer_index=right,
        type=kind,
    )


def test_right_answers_are_counted_by_kind_and_chance_is_one_of_the_options():
    questions = [
        question(0, "is_there", ["yes", "no"], 0),
        question(0, "first", list("abcde"), 4),
        question(1, "first", list("abcde"), 0),
    ]
    answers = {
        "v0/is_there": Prediction("v0/is_there", log_p=[-1.0, -2.0]),
        "v0/first": Prediction("v0/first", log_p=[-1.0, -2.0, -2.0, -2.0, -2.0]),
        "v1/first": Prediction("v1/first", log_p=[-1.0, -2.0, -2.0, -2.0, -2.0]),
    }
    assert results.counts_of(questions, answers) == {
        "accuracy": [[1, 1], [2, 1]],
        "is_there": [[1, 0], [1, 0]],
        "content": [[1, 0], [1, 0]],
        "first": [[0, 1], [1, 1]],
        "order": [[0, 1], [1, 1]],
        "first, last": [[0, 1], [1, 1]],
        "one moment": [[0, 1], [1, 1]],
    }
    chance = results.counts_of(questions, None)
    assert chance["accuracy"] == [[0.7, 0.2], [2, 1]] and chance["order"] == [[0.2, 0.2], [1, 1]]


def test_what_each_has_answered_becomes_tables_claims_and_a_figure(world, tmp_path):
    dataset = data_of(world)
    questions = read_questions(dataset, "test")

    def answer(name, seed, is_right):
        rows = []
        for question in questions:
            log_p = [-1.0] * len(question.choices)
            log_p[question.answer_index] = 0.0 if is_right(question) else -9.0
            rows.append(Prediction(question.id, log_p=log_p))
        path = trial.predictions_of(dataset, name, f"{seed}-ab")
        write_predictions(path, rows, {"dataset": dataset.name, "split": "test"})

    for seed in (1, 2):
        answer("base", seed, lambda question: False)
        answer("temple", seed, lambda question: question.type in ("first", "last"))
        answer("temple.frames_shuffled", seed, lambda question: False)
    (world / "cost.json").write_bytes(orjson.dumps({"video LLM": 0.0312}))
    kept = results.collect(world, {seed: f"{seed}-ab" for seed in range(1, 6)})
    assert [*kept["arms"]] == ["base", "temple", "temple.frames_shuffled", "chance"]
    assert [*kept["arms"]["chance"]["seeds"]] == ["1", "2"]
    (tmp_path / "methods.json").write_bytes(orjson.dumps(kept))
    report.write_report(tmp_path)
    text = (tmp_path / "methods.md").read_text()
    zero, half = "0.000 [0.000, 0.000]", "0.500 [0.500, 0.500]"
    assert f"| toyvl, as it is | 2 | {zero} | {zero} | {zero} | 31 |" in text
    right = 4 / 22
    assert f"| TEMPLE | 2 | {right:.3f} [{right:.3f}, {right:.3f}] | {zero} | {half} | 31 |" in text
    assert "where single frames are shuffled | control | order | 2 | +0.500" in text
    assert "TEMPLE answers better than its base | own | first, last | 2 | +1.000" in text
    assert "TOPA needs the video | control | what_does | 0 |  | **not run** |" in text
    assert f"Not run yet: {ARMS['sft'].label}; " in text
    claims = orjson.loads((tmp_path / "claims.json").read_bytes())
    assert {claim["method"] for claim in claims} == {"methods"}
    with Image.open(tmp_path / "methods.png") as picture:
        assert picture.width > 800
