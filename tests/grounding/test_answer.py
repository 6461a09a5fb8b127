"""Answers from chosen frames. `dryrun` names the mean colour of what it is shown, so that it is
right only where it is shown what moves."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from grounding.answer import (
    AnswerSettings,
    AnswerStep,
    asking_of,
    frames_of_spans,
    main,
    write_answers,
)
from grounding.answerer.captioner import AnswererCaptioner
from grounding.answerer.models import open_captioner
from grounding.answerer.weights import open_answerer, save_trained
from grounding.bridge.sampler import Sampler
from grounding.questions import write_question_table
from inference.engines.dryrun import DryrunCaptioner
from qa.predictions import benchmark_digest, meta_path
from qa.records import read_questions, write_questions
from tools.errors import UserError
from tools.store.dataset import REPOSITORY


def run_answer(run_script, dataset, *flags):
    where = ("--data_root", dataset.root.parent, "--model", "dryrun")
    return run_script("-m", "grounding.answer", "mine", 1, *where, *flags)


def predictions(dataset, name):
    lines = dataset.predictions("test", name).read_bytes().splitlines()
    return {row["id"]: row["prediction"] for row in map(json.loads, lines)}


@pytest.fixture
def yes_server(tmp_path):
    """NAME@URL of a judge to which every answer is right."""
    script = REPOSITORY / "tests" / "inference" / "toy_server.py"
    say = ("--model", "toy", "--say", '{"pred": "yes", "score": 5}')
    command = [sys.executable, str(script), str(tmp_path / "log"), *say]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        yield f"toy@http://127.0.0.1:{int(server.stdout.readline())}/v1"
        server.kill()


def test_grounded_frames_show_what_is_asked_about(films, watcher, run_script, yes_server):
    """In two runs, as if the first had been stopped."""
    flags = ("--sampler", watcher)
    assert run_answer(run_script, films, *flags, "--limit", 2).returncode == 0
    table = films.table("answers_test_dryrun-grounded4").path
    first = table.read_bytes()
    assert first.count(b"\n") == 2
    run = run_answer(run_script, films, *flags)
    assert run.returncode == 0, run.stderr
    assert table.read_bytes().startswith(first)
    assert "answer: 4 done, 1 failed (VideoError: no such file)" in run.stdout
    assert "1 of 5 questions have no answer: --allow_missing scores the others" in run.stdout
    answers = predictions(films, "dryrun-grounded4")
    assert answers.keys() == {"q1", "q2", "q3", "q4"}
    assert all("red" in answers[key] for key in ("q1", "q2", "q4"))
    assert "green" in answers["q3"]  # the part that it asks about holds no red
    path = films.predictions("test", "dryrun-grounded4")
    meta = json.loads(meta_path(path).read_text())
    assert (meta["model"], meta["frames"], meta["protocol"]) == ("dryrun", 4, "grounded")
    where = ("--data_root", films.root.parent, "--dataset", "mine", "--split", "test")
    score = run_script(
        *("evaluate_model.py", "qa", *where, "--allow_missing", "--predictions", path)
    )
    assert score.returncode == 0, score.stderr
    assert "4 frames (grounded)" in score.stdout
    judge = ("judge", *where, "--allow_missing", "--predictions", path, "--judge", yes_server)
    judged = run_script("evaluate_model.py", *judge)
    assert judged.returncode == 0, judged.stderr
    assert "accuracy of all (null: wrong)  1.000 [" in judged.stdout, judged.stdout
    other = run_answer(run_script, films, *flags, "--k", 2)
    assert other.returncode == 2
    assert "k=1, this run has k=2" in other.stderr


def in_this_process(dataset, captioner, **settings):
    """A step, and what it makes of the questions, by their ids."""
    settings = AnswerSettings(**settings)
    digest = benchmark_digest(read_questions(dataset, settings.split))
    step = AnswerStep(dataset, captioner, settings, asking_of(settings, captioner), digest)
    write_question_table(dataset, settings.split)
    step.check("cpu")
    step.setup("cpu", 1)
    records = list(step.reads.read())
    results = dict(step.process_batch(records, []))
    return step, {record["video_id"]: results[place] for place, record in enumerate(records)}


def test_uniform_frames_are_of_the_whole_video(films):
    step, results = in_this_process(films, DryrunCaptioner(), frames="uniform", nframe=8)
    assert step.file_name == "dryrun-uniform8"
    assert step.asking.protocol == "middles"
    assert "yellow" in results["q1"]["prediction"]  # 6 s of green, 2 s of red
    assert results["q1"]["span_time"] is None
    assert "no such file" in str(results["q5"])


def test_annotated_frames_are_of_the_spans_that_the_record_names(films):
    questions = read_questions(films, "test")
    write_questions(films.questions("spans"), questions[:2])
    step, results = in_this_process(films, DryrunCaptioner(), frames="annotated", split="spans")
    assert (step.file_name, step.asking.protocol) == ("dryrun-annotated4", "annotated")
    assert results["q1"]["span_time"] == [(5.0, 7.0)]
    assert all("red" in results[key]["prediction"] for key in ("q1", "q2"))
    write_questions(films.questions("spans"), questions[:3])
    with pytest.raises(UserError, match=r"1 of 3 questions name no span .*, such as q3"):
        in_this_process(films, DryrunCaptioner(), frames="annotated", split="spans")


class Recorder(DryrunCaptioner):
    """Keeps what it is asked."""

    def generate(self, requests, sampling):
        self.requests = list(requests)
        return super().generate(iter(self.requests), sampling)


def test_a_video_llm_is_shown_the_frames_as_a_video_at_their_own_rate(films, watcher):
    captioner = Recorder()
    step, results = in_this_process(films, captioner, sampler=watcher, nframe=3)
    videos = [part for r in captioner.requests for part in r.parts if part["type"] == "video"]
    assert [len(video["video"]) for video in videos] == [3] * 4
    [(start, end)] = results["q1"]["span_time"]
    assert videos[0]["fps"] == pytest.approx(3 / (end - start))
    texts = [part["text"] for r in captioner.requests for part in r.parts if part["type"] == "text"]
    assert texts[0] == "What colour moves?\nAnswer with one word or a short phrase."
    assert "A. a blue scene\nB. a red scene" in texts[3]
    assert step.asking.write  # it computes no log p


def test_options_are_compared_by_log_p_where_the_engine_computes_it(films, watcher):
    captioner = open_captioner("toyvl", batch=4)
    step, results = in_this_process(
        films, captioner, sampler=watcher, instruction="", max_new_tokens=8
    )
    assert not step.asking.write
    assert results["q4"]["prediction"] is None
    assert len(results["q4"]["log_p"]) == 2
    assert isinstance(results["q1"]["prediction"], str)
    assert "log_p" not in results["q1"]


def test_other_earlier_turns_or_subtitles_are_other_answers(films):
    def params(shown, **context):
        [question, *_] = read_questions(films, "test")
        write_questions(films.questions("test"), [replace(question, context=context)])
        settings = AnswerSettings(frames="uniform", subtitles=shown)
        captioner = DryrunCaptioner()
        asking = asking_of(settings, captioner)
        return AnswerStep(films, captioner, settings, asking, "benchmark").params()

    turns = {"conversation": [["human", "What is it?"], ["gpt", "A dog."]]}
    others = {"conversation": [["human", "What is it?"], ["gpt", "A cat."]]}
    spoken = {"subtitles": [[0, 9, "Now the dog jumps."]]}
    assert params(False, **turns) != params(False, **others)
    assert params(True, **spoken) != params(True)
    assert params(False, **spoken) == params(False)  # they are not shown


def test_frames_of_two_spans_lie_in_both(films, read_stamp):
    video = films.video_dir() / "late.mp4"
    frames, fps = frames_of_spans(video, [(5.0, 6.0), (0.0, 1.0)], 4)
    green, red = (frame.mean((0, 1)).argmax() for frame in (frames[0], frames[3]))
    assert (green, red, fps) == (1, 0, 2.0)


@pytest.fixture
def trained(tiny_base, tmp_path):
    """The folder of an answerer that was trained on two frames, and with it a bridge."""
    answerer = open_answerer(str(tiny_base("blip2_t5")), stage="sf", nframe=2)
    save_trained(answerer, tmp_path / "trained")
    return tmp_path / "trained"


def test_an_answerer_is_asked_as_it_was_trained(films, watcher, trained):
    Sampler.open(watcher).save(trained)
    captioner = AnswererCaptioner("trained", str(trained), batch=4)
    step, results = in_this_process(films, captioner, checkpoint=trained, max_new_tokens=3)
    assert step.file_name == "trained-grounded2"
    assert step.asking.prompt(read_questions(films, "test")[0]) == "what colour moves"
    [(start, end)] = results["q2"]["span_time"]
    assert 1 <= start < end <= 3
    assert results["q1"]["prediction"]
    assert results["q1"]["finish_reason"] == "length"


def test_the_checkpoint_may_stand_for_the_model(films, watcher, trained, monkeypatch):
    steps = []
    monkeypatch.setattr("tools.runner.run.run", lambda given, *_, **__: steps.extend(given))
    where = ["--data_root", str(films.root.parent), "--checkpoint", str(trained)]
    main(["mine", "1", *where, "--sampler", str(watcher), "--num_beams", "2", "--name", "two"])
    [step] = steps
    assert (step.captioner.name, step.file_name, step.captioner.num_beams) == ("trained", "two", 2)
    assert predictions(films, "two") == {}  # nothing has been asked


def test_drawn_answers_go_through(films):
    drawn = AnswerSettings(frames="uniform", temperature=0.7, top_p=0.9)
    assert (drawn.sampling.temperature, drawn.sampling.top_p) == (0.7, 0.9)
    assert AnswerSettings(frames="uniform").sampling.is_greedy


def test_what_was_answered_is_written_with_what_made_it(films):
    step, results = in_this_process(films, DryrunCaptioner(), frames="uniform")
    done = {key: row for key, row in results.items() if isinstance(row, dict)}
    step.writes[0].write([done[key] for key in sorted(done)])
    write_answers(step, read_questions(films, "test"))
    assert predictions(films, "dryrun-uniform4").keys() == done.keys() == {"q1", "q2", "q3", "q4"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--frames grounded needs a trained bridge"),
        (["--sampler", "nowhere"], "nowhere holds no trained bridge"),
        (["--sampler", "x", "--frames", "uniform"], "--sampler does not go with --frames uniform"),
        (["--checkpoint", "x"], "--checkpoint and --model do not go together"),
        (["--top_p", 0.9], "--top_p 0.9 has no effect without --temperature"),
        (["--frames", "uniform", "--num_beams", 3], "dryrun is no BLIP-2 or InstructBLIP"),
        (["--base", "x"], "--base x goes with --checkpoint"),
    ],
)
def test_mistakes_are_one_line(films, run_script, flags, message):
    run = run_answer(run_script, films, *flags)
    assert (run.returncode, run.stderr.count("\n")) == (2, 1), run.stderr
    assert message in run.stderr


def test_folders_that_hold_no_answerer(films, trained, tiny_base, watcher, run_script):
    run = run_script(
        *("-m", "grounding.answer", "mine", 1, "--data_root", films.root.parent),
        *("--checkpoint", watcher),
    )
    assert "holds no trained answerer: answerer.json is not there" in run.stderr
    other = AnswererCaptioner("x", str(trained), 4, base=str(tiny_base("instructblip_t5")))
    with pytest.raises(UserError, match=r"was trained on a blip-2, and .* is a instructblip"):
        in_this_process(films, other, frames="uniform")
