"""`evaluate_model.py qa` as a user types it: on the toy world, with toyvl, a tiny random model and
a server on the loopback. What a model answers is not asserted, how it is asked and scored is."""

import json
import os
import random
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import orjson
import pytest

from inference.models import open_captioner
from inference.tiny.checkpoints import qwen2vl
from qa.asked_model import read_answers
from qa.asking import Asking, option_order
from qa.predictions import Prediction, benchmark_digest, read_predictions, write_predictions
from qa.records import Question, read_questions, write_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import dumps
from toyworld import language
from toyworld.make import make_world

CONTROLS = ("choices_only", "question_only", "frames_shuffled", "single_frame")


def questions_about(story, split):
    """Four questions with options and two open ones."""
    rng = random.Random(story["video_name"])
    events = [language.Event(e["colour"], e["shape"], e["action"]) for e in story["events"]]
    asked = language.questions(events)
    chosen = [next(q for q in asked if q.kind == kind) for kind in ("what", "last", "after")]
    for number, question in enumerate([*chosen, *chosen[:2]]):
        options = language.options(question, events, 4, rng) if number < 3 else None
        yield Question(
            id=f"{story['video_name']}/{number}",
            dataset="toyqa",
            split=split,
            question=question.text,
            video_id=story["video_name"].removesuffix(".mp4"),
            video=story["video_name"],
            choices=options,
            answer=question.answer,
            answer_index=options.index(question.answer) if options else None,
            type=question.kind,
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data root with the data set `toyqa`: 3 stories, 9 questions with options and 6 open."""
    root = tmp_path_factory.mktemp("data")
    folder = root / "toyqa"
    stories = make_world(3, 7, folder, 1, events=(3,))
    (folder / "anno").mkdir()
    with open(folder / "anno" / "init.jsonl", "wb") as file:
        for story in stories:
            name = story["video_name"]
            record = {"video_id": name.removesuffix(".mp4"), "video_path": folder / "video" / name}
            file.write(dumps({**record, "video_path": str(record["video_path"])}) + b"\n")
    dataset = Dataset("toyqa", folder)
    write_questions(
        dataset.questions("val"), [q for story in stories for q in questions_about(story, "val")]
    )
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy of it for one test, with the videos of the first."""
    copy = tmp_path / "data"
    shutil.copytree(made, copy, ignore=shutil.ignore_patterns("video"))
    return copy


@pytest.fixture
def dataset(root):
    return Dataset("toyqa", root / "toyqa")


@pytest.fixture
def qa(run_script, root):
    """Run the command on the copy."""

    def run(*flags, code=0):
        flags = ("--dataset", "toyqa", "--split", "val", "--device", "cpu", *flags)
        result = run_script("evaluate_model.py", "qa", *flags, "--data_root", root)
        assert result.returncode == code, result.stdout + result.stderr
        return result

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return qwen2vl(tmp_path_factory.mktemp("tiny") / "tinyvl", compact=True)


def rewritten(path, change):
    rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(b"".join(dumps(row) + b"\n" for row in change(rows)))


# ---- asking a model -----------------------------------------------------------------------------


def test_options_are_compared_by_likelihood_and_open_questions_are_written(qa, dataset, tmp_path):
    out = tmp_path / "score.json"
    flags = ("--model", "toyvl", "--controls", "--frames", 4, "--instruction", "")
    run = qa(*flags, "--out", out)
    questions = read_questions(dataset, "val")
    path = dataset.predictions("val", "toyvl")
    predictions = read_predictions(path, questions)
    for question in questions:
        prediction = predictions[question.id]
        if question.choices:
            assert prediction.prediction is None
            assert len(prediction.log_p) == len(question.choices)
        else:
            assert prediction.prediction
            assert prediction.log_p is None
    # Controls are about options alone, and each shows the model something else.
    shown = [json.dumps([predictions[q.id].log_p for q in questions if q.choices])]
    for control in CONTROLS:
        beside = path.with_name(f"toyvl.{control}.jsonl")
        own = read_predictions(beside, questions, allow_missing=True)
        assert own.keys() == {q.id for q in questions if q.choices}
        shown.append(json.dumps([own[key].log_p for key in sorted(own)]))
        assert json.loads((path.parent / f"{beside.name}.meta.json").read_text())["control"] == (
            control
        )
    assert len(set(shown)) == 5
    for text in ("9 multiple-choice questions about 3 videos of toyqa/val", "chance", "6 open"):
        assert text in run.stdout
    for text in ("choices only (blind)", "frames shuffled", "4 frames (middles)"):
        assert text in run.stdout
    score = json.loads(out.read_text())
    choices = score["multiple_choice"]
    assert choices["accuracy"]["all questions"]["questions"] == 9
    assert [c["name"] for c in choices["controls"]][2:] == list(CONTROLS)
    assert set(score["open"]["metrics"]["all questions"]) == {
        "questions",
        "exact",
        "contains",
        "token_f1",
    }


def test_the_predictions_are_those_of_a_captioner_asked_by_hand(qa, dataset):
    """log p of the options behind the question alone, with the frames at the middles."""
    from inference.captioner import Request
    from inference.likelihood import option_likelihoods
    from qa.frames import frames_of
    from tools.text.prompts import video_messages

    qa("--model", "toyvl", "--frames", 4, "--limit", 1)
    questions = [q for q in read_questions(dataset, "val") if q.choices]
    path = dataset.predictions("val", "toyvl")
    predictions = read_predictions(path, read_questions(dataset, "val"), allow_missing=True)
    question = next(q for q in questions if q.id in predictions)
    frames, fps = frames_of(question, dataset.video_path({"video_id": question.video_id}), 4)
    captioner = open_captioner("toyvl")
    captioner.load("cpu", 1)
    request = Request(video_messages(frames, question.question, fps), 0)
    [(_, values)] = option_likelihoods(captioner, [(request, question.choices)])
    expected = [value.total for value in values]
    assert predictions[question.id].log_p == pytest.approx(expected, abs=1e-4)


def test_what_has_been_asked_is_not_asked_again(qa, dataset, tiny, monkeypatch):
    flags = ("--model", tiny, "--frames", 2, "--max_new_tokens", 4)
    qa(*flags, "--limit", 1)
    journal = dataset.predictions("val", "tinyvl").with_name("tinyvl.jsonl.answers")
    assert len(read_answers(journal)) == 5
    qa(*flags)
    assert len(read_answers(journal)) == 15
    before = dataset.predictions("val", "tinyvl").read_bytes()
    # Nothing is left to ask, so that not even the weights are loaded.
    monkeypatch.setattr("inference.engines.huggingface.HuggingFaceCaptioner.load", None)
    dataset.predictions("val", "tinyvl").unlink()
    qa(*flags)
    assert dataset.predictions("val", "tinyvl").read_bytes() == before
    # The mean over tokens is another choice from the same likelihoods, and asks nothing either.
    qa(*flags, "--per_token")
    assert dataset.predictions("val", "tinyvl").read_bytes() != before
    monkeypatch.undo()
    qa(*flags[:2], "--frames", 4, "--max_new_tokens", 4)  # another number of frames is another key
    assert len(read_answers(journal)) == 30


def test_a_video_that_has_changed_is_asked_about_again(qa, dataset, server):
    flags = ("--model", server, "--frames", 2)
    qa(*flags)
    asked = len(Letters.prompts)
    qa(*flags)
    assert len(Letters.prompts) == asked + 2  # of `check`: whether the model is there
    record = orjson.loads((dataset.anno / "init.jsonl").read_bytes().splitlines()[0])
    os.utime(record["video_path"], (1, 1))
    qa(*flags)
    assert len(Letters.prompts) == asked + 2 + 3 + 5  # before it `load`, then a video's questions


def test_another_model_behind_a_server_is_asked_again(qa, dataset, server):
    flags = ("--model", server, "--frames", 2)
    qa(*flags)
    journal = dataset.predictions("val", "letters").with_name("letters.jsonl.answers")
    Letters.model = "letters-2026"
    qa(*flags)
    assert len(read_answers(journal)) == 30


def test_pictures_at_another_rate_are_asked_about_again(qa, dataset, server, tmp_path):
    for number in range(1, 7):
        cv2.imwrite(str(tmp_path / f"{number:03}.png"), np.full((32, 32, 3), number, np.uint8))
    lines = (dataset.anno / "init.jsonl").read_bytes().splitlines()
    records = [{**orjson.loads(line), "video_path": str(tmp_path)} for line in lines]
    (dataset.anno / "init.jsonl").write_bytes(b"".join(dumps(r) + b"\n" for r in records))
    journal = dataset.predictions("val", "letters").with_name("letters.jsonl.answers")
    for count, fps in ((15, 3), (15, 3), (30, 1)):
        context = {"media": "frames", "frames": {"fps": fps}}
        rewritten(
            dataset.questions("val"),
            lambda rows, context=context: [{**row, "context": context} for row in rows],
        )
        qa("--model", server, "--frames", 2)
        assert len(read_answers(journal)) == count


def test_a_kill_leaves_what_was_answered_and_the_end_is_the_same(qa, dataset, tiny):
    flags = ("--model", tiny, "--frames", 2, "--max_new_tokens", 4)
    qa(*flags)
    path = dataset.predictions("val", "tinyvl")
    whole = path.read_bytes()
    journal = path.with_name("tinyvl.jsonl.answers")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:7]) + lines[7][:20])  # the eighth is torn
    path.unlink()
    qa(*flags)
    assert path.read_bytes() == whole
    assert len(journal.read_bytes().splitlines()) == 15


def test_a_video_that_is_missing_costs_its_questions_alone(qa, dataset, root, tiny):
    lines = (dataset.anno / "init.jsonl").read_bytes().splitlines()
    record = orjson.loads(lines[0])
    lines[0] = dumps({**record, "video_path": "/nowhere.mp4"})
    (dataset.anno / "init.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    flags = ("--model", tiny, "--frames", 2, "--max_new_tokens", 4)
    run = qa(*flags, code=2)
    assert "tinyvl: 5 of 15 questions have no answer (toy_0000.mp4/0: no such file" in run.stderr
    assert "lacks 5 of 15 questions" in run.stderr.splitlines()[-1]
    run = qa(*flags, "--allow_missing")
    assert "6 multiple-choice questions about 2 videos" in run.stdout


# ---- written answers ----------------------------------------------------------------------------


class Letters(BaseHTTPRequestHandler):
    """Answers every question with the letter A, in words; keeps the prompts."""

    prompts: list
    model = ""

    def do_GET(self):
        self.reply({"object": "list", "data": [{"id": "letters", "object": "model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        content = body["messages"][-1]["content"]
        self.prompts.append(content if isinstance(content, str) else content[-1]["text"])
        message = {"role": "assistant", "content": "The answer is A."}
        self.reply(
            {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "model": self.model,
            }
        )

    def reply(self, document):
        text = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Letters.prompts, Letters.model = [], "letters-2025"
    http = ThreadingHTTPServer(("127.0.0.1", 0), Letters)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"letters@http://127.0.0.1:{http.server_address[1]}/v1"
    http.shutdown()
    thread.join()
    http.server_close()


def test_a_server_is_shown_the_options_and_its_answer_is_read(qa, dataset, server, tmp_path):
    out = tmp_path / "s.json"
    run = qa("--model", server, "--permute", 3, "--out", out, "--frames", 2)
    questions = [q for q in read_questions(dataset, "val") if q.choices]
    question = questions[0]
    expected = "\n".join(
        [
            question.question,
            *(f"{letter}. {text}" for letter, text in zip("ABCD", question.choices, strict=True)),
            "Answer with the letter of the right option alone.",
        ]
    )
    assert expected in Letters.prompts
    choices = json.loads(out.read_text())["multiple_choice"]
    right = sum(q.answer_index == 0 for q in questions) / 9
    assert choices["accuracy"]["all questions"]["value"] == pytest.approx(right)
    # It always names the first of the list: the same position, and another option in each order.
    assert choices["positions"] == [1, 0, 0, 0]
    assert choices["orders"]["positions"] == [1, 0, 0, 0]
    assert choices["orders"]["same_option"] < 0.5
    accuracies = [
        sum(option_order(q, number, 0)[0] == q.answer_index for q in questions) / 9
        for number in range(4)
    ]
    assert choices["orders"]["accuracies"] == pytest.approx(accuracies)
    assert "listed position chosen A 100.0%" in run.stdout
    assert len([p for p in Letters.prompts if "\nA. " in p]) == 4 * 9


def test_a_part_of_a_video_is_shown_unless_the_whole_is_asked_for(qa, dataset, tiny):
    path = dataset.questions("val")
    rewritten(path, lambda rows: [{**row, "start": 0.0, "end": 1.0} for row in rows])
    flags = ("--model", tiny, "--frames", 2, "--max_new_tokens", 4)
    assert "of the part that is asked about" in qa(*flags).stdout
    part = dataset.predictions("val", "tinyvl").read_bytes()
    assert "of whole videos" in qa(*flags, "--whole_video").stdout
    assert dataset.predictions("val", "tinyvl").read_bytes() != part


def test_what_each_control_hides(dataset):
    question = next(q for q in read_questions(dataset, "val") if q.choices)
    frames = (["first", "second", "third"], 1.0)

    def parts(**asking):
        [message] = Asking(write=True, **asking).request(question, frames).messages
        video = [part["video"] for part in message["content"] if part["type"] == "video"]
        return video, message["content"][-1]["text"]

    video, text = parts()
    assert video == [["first", "second", "third"]]
    assert text.startswith(question.question)
    (video,), same = parts(control="frames_shuffled")
    assert sorted(video) == ["first", "second", "third"] and same == text
    assert parts(control="single_frame") == ([["second"]], text)
    blind = Asking(write=True, control="choices_only")
    assert not blind.shows_video(question)
    assert question.question not in blind.prompt(question)
    assert all(choice in blind.prompt(question) for choice in question.choices)
    # Where options are compared by likelihood, none of them is listed.
    assert Asking(control="choices_only").prompt(question) == "Give an answer."
    assert Asking(control="question_only").prompt(question) == question.question
    assert not Asking(control="question_only").shows_video(question)


def test_a_prompt_has_a_sentence_subtitles_and_earlier_turns():
    question = Question(
        **{"id": "q", "dataset": "d", "split": "s", "question": "why did he run"},
        answer="he was late",
        start=1.0,
        end=2.0,
        context={
            "media": "text",
            "subtitles": [[0, 1.5, "(Ann:) Run!"], [3, 4, "Bye."]],
            "conversation": [["human", "Who is it?"], ["gpt", "A man."]],
        },
    )
    asking = Asking(subtitles=True)
    assert asking.prompt(question) == (
        "Subtitles of this part of the video:\n(Ann:) Run!\nWhy did he run?\n"
        "Answer with one word or a short phrase."
    )
    messages = asking.request(question, ([], 1.0)).messages
    assert [(m["role"], m["content"][0]["text"][:10]) for m in messages] == [
        ("user", "Who is it?"),
        ("assistant", "A man."),
        ("user", "Subtitles "),
    ]
    # What was said before may tell what the question is.
    [message] = Asking(control="choices_only").request(question, ([], 1.0)).messages
    assert message["content"][-1]["text"] == "Answer with one word or a short phrase."


# ---- predictions made elsewhere -----------------------------------------------------------------


@pytest.fixture
def right(dataset, tmp_path):
    """A file in which everything is right."""
    path = tmp_path / "answers.jsonl"
    with open(path, "wb") as file:
        for question in read_questions(dataset, "val"):
            file.write(dumps({"id": question.id, "prediction": question.answer}) + b"\n")
    return path


def test_predictions_made_elsewhere_are_scored_and_compared(qa, dataset, right, tmp_path):
    questions = read_questions(dataset, "val")
    wrong = tmp_path / "wrong.jsonl"
    meta = {"dataset": "toyqa", "split": "val", "model": "wrong", "control": None}
    write_predictions(wrong, [Prediction(q.id, "nothing") for q in questions], meta)
    out = tmp_path / "s.json"
    run = qa("--predictions", right, "--baseline", wrong, "--out", out)
    score = json.loads(out.read_text())
    choices = score["multiple_choice"]
    assert choices["accuracy"]["all questions"]["value"] == 1
    assert choices["baseline"]["all questions"]["difference"]["value"] == 1
    assert choices["accuracy"].keys() == {
        "all questions",
        "mean of 3 types",
        "  after",
        "  last",
        "  what",
    }
    assert score["open"]["metrics"]["all questions"]["exact"]["value"] == 1
    assert "wrong (baseline)" in run.stdout
    assert "not run (--controls)" in run.stdout


def test_a_methods_own_control_stands_in_the_table(qa, dataset, right):
    questions = [q for q in read_questions(dataset, "val") if q.choices]
    meta = {"dataset": "toyqa", "split": "val", "control": "no_flow"}
    control = right.with_name("answers.no_flow.jsonl")
    write_predictions(control, [Prediction(q.id, "nothing") for q in questions], meta)
    right.with_name("answers.judged-gpt.jsonl").write_text("not a prediction\n")
    # Its file lacks the open questions, which a control has no answer to.
    out = qa("--predictions", right).stdout
    assert "no flow" in out
    assert "judged" not in out


MADE = {"weights": "a", "torch": "2.1"}


@pytest.mark.parametrize(
    ("id", "meta", "reason"),
    [
        (None, {}, ""),
        (None, {"made_by": {"weights": "a", "torch": "2.2"}}, ""),
        (None, {"made_by": {"weights": "b"}}, "it was made by another model"),
        (None, {"benchmark": "0"}, "it was asked about questions that have changed since"),
        ("old/1", {}, "1 of 10 ids are no questions of toyqa/val: 'old/1'"),
    ],
)
def test_a_control_of_other_questions_or_another_model_is_not_scored(
    qa, dataset, right, id, meta, reason
):
    questions = read_questions(dataset, "val")
    about = {"dataset": "toyqa", "split": "val"}
    made = {**about, "benchmark": benchmark_digest(questions), "made_by": MADE}
    right.with_name("answers.jsonl.meta.json").write_text(json.dumps(made))
    control = right.with_name("answers.choices_only.jsonl")
    ids = [q.id for q in questions if q.choices] + ([id] if id else [])
    write_predictions(
        control, [Prediction(id, "A") for id in ids], {**made, "control": "choices_only", **meta}
    )
    out = qa("--predictions", right).stdout
    assert out.count("not run (--controls)") == (4 if reason else 3)
    assert ("answers.choices_only.jsonl is left out: " in out) == bool(reason)
    assert reason in " ".join(out.split())


def test_a_question_without_a_label_is_named_or_left_out(qa, dataset, right):
    unlabelled = {"answer": None, "answer_index": None}
    rewritten(dataset.questions("val"), lambda rows: [{**rows[0], **unlabelled}, *rows[1:]])
    (line,) = qa("--predictions", right, code=2).stderr.splitlines()
    assert "1 of 15 questions of toyqa/val have no label: 'toy_0000.mp4/0'" in line
    assert "--submission" not in line
    out = qa("--predictions", right, "--allow_missing").stdout
    assert "8 multiple-choice questions" in out


def test_a_blank_line_at_the_end_of_predictions_is_skipped(qa, right):
    right.write_bytes(right.read_bytes() + b"\n\n")
    assert "9 multiple-choice questions" in qa("--predictions", right).stdout


def test_scores_that_cannot_be_written_are_one_line(qa, right):
    (line,) = qa("--predictions", right, "--out", "/proc/scores.json", code=2).stderr.splitlines()
    assert "/proc" in line


def test_two_models_of_one_name_are_refused(qa, tiny, tmp_path):
    other = shutil.copytree(tiny, tmp_path / "other" / "tinyvl")
    (line,) = qa("--model", tiny, "--baseline", other, code=2).stderr.splitlines()
    assert "would both write tinyvl.jsonl: --model_name" in line
    out = qa("--model", tiny, "--baseline", other, "--model_name", "first", "--limit", 1).stdout
    assert "tinyvl (baseline)" in " ".join(out.split())


def test_predictions_of_other_questions_are_refused(qa, right):
    rewritten(right, lambda rows: [*rows, {"id": "other/1", "prediction": "x"}])
    message = qa("--predictions", right, code=2).stderr
    assert "1 of 16 ids are no questions of toyqa/val: 'other/1'" in message


def test_missing_predictions_are_refused_or_left_out(qa, right):
    rewritten(right, lambda rows: rows[2:])
    message = qa("--predictions", right, code=2).stderr
    assert "lacks 2 of 15 questions of toyqa/val: 'toy_0000.mp4/0'" in message
    assert "--allow_missing" in message
    out = qa("--predictions", right, "--allow_missing").stdout
    assert "7 multiple-choice questions" in out


def test_what_no_prediction_is_about_has_no_table(qa, right, tmp_path):
    other = tmp_path / "other.jsonl"
    shutil.copy(right, other)
    rewritten(right, lambda rows: rows[:3])  # the options of the first story
    rewritten(other, lambda rows: rows[3:5])  # its open questions
    assert "open questions" not in qa("--predictions", right, "--allow_missing").stdout
    assert "multiple-choice" not in qa("--predictions", other, "--allow_missing").stdout
    flags = ("--predictions", right, "--baseline", other, "--allow_missing")
    assert "have no question in common" in qa(*flags, code=2).stderr


def test_another_data_sets_predictions_are_refused(qa, right):
    meta = {"dataset": "nextqa", "split": "val"}
    right.with_name("answers.jsonl.meta.json").write_text(json.dumps(meta))
    message = qa("--predictions", right, code=2).stderr
    assert "was made for the dataset 'nextqa', not for 'toyqa'" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--predictions", "none.jsonl"), "none.jsonl cannot be read"),
        (("--predictions", "none.jsonl", "--controls"), "--predictions asks none"),
        (("--model", "toyvl", "--permute", "2"), "--permute needs --write"),
        (("--model", "toyvl", "--submission", "s.json"), "no format is known for 'toyqa'"),
        (("--submission", "s.json", "--limit", "2"), "--submission needs all questions"),
        (("--model", "toyvl", "--subtitles"), "no question of toyqa/val has any"),
        (("--model", "toyvl", "--control"), "unrecognized arguments: --control"),
        (("--model", "no_such_model"), "unknown model 'no_such_model'"),
        (("--split", "test"), "no questions of the split 'test' (there are: val)"),
    ],
)
def test_a_mistake_is_one_line(qa, flags, message):
    (line,) = qa(*flags, code=2).stderr.splitlines()
    assert message in line


# ---- hidden labels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "ids", "types", "expected"),
    [
        ("egoschema", ["u1", "u2"], [None, None], {"u1": 1, "u2": 0}),
        ("tvqa", ["17", "18"], ["Friends", "House"], {"17": 1, "18": 0}),
        (
            "star",
            ["Interaction_T1_13", "Sequence_T2_5"],
            ["Interaction", "Sequence"],
            {
                "Interaction": [{"question_id": "Interaction_T1_13", "answer": 1}],
                "Sequence": [{"question_id": "Sequence_T2_5", "answer": 0}],
            },
        ),
    ],
)
def test_hidden_labels_are_submitted_and_not_scored(
    run_script, tmp_path, name, ids, types, expected
):
    dataset = Dataset(name, tmp_path / "data" / name)
    dataset.anno.mkdir(parents=True)
    questions = [
        Question(id, name, "test", "Which?", choices=["a dog", "a cat"], type=type)
        for id, type in zip(ids, types, strict=True)
    ]
    write_questions(dataset.questions("test"), questions)
    answers = tmp_path / "answers.jsonl"
    rows = [{"id": ids[0], "log_p": [-2, -1]}, {"id": ids[1], "prediction": "neither"}]
    answers.write_bytes(b"".join(dumps(row) + b"\n" for row in rows))
    command = ["evaluate_model.py", "qa", "--dataset", name, "--split", "test"]
    command += ["--predictions", answers, "--data_root", tmp_path / "data"]
    refused = run_script(*command)
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert f"the labels of 2 of 2 questions of {name}/test are hidden: --submission" in line
    run = run_script(*command, "--submission", tmp_path / "s.json")
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "s.json").read_text()) == expected
    assert "no option is chosen in 1 of 2: the first stands for it" in run.stdout
    rewritten(answers, lambda rows: rows[:1])
    run = run_script(*command, "--submission", tmp_path / "s.json", "--allow_missing")
    assert run.returncode == 2
    assert "the server of" in run.stderr


def test_read_predictions_refuses_what_is_no_prediction(dataset, tmp_path):
    questions = read_questions(dataset, "val")
    path = tmp_path / "a.jsonl"
    path.write_bytes(dumps({"id": questions[0].id, "log_p": [-1.0]}) + b"\n")
    with pytest.raises(UserError, match="has 1 log p, and the question has 4 options"):
        read_predictions(path, questions, allow_missing=True)
