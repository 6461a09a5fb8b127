"""The spans of a data set's questions, by a bridge that points at what moves."""

import json

import pytest

from grounding.answer import AnswerSettings, AnswerStep, asking_of
from grounding.bridge.moments import iou_of_unions
from grounding.bridge.sampler import Sampler
from grounding.questions import write_question_table
from grounding.spans import SpanSettings, SpanStep, overlap_line
from grounding.training.data import read_spans
from inference.engines.dryrun import DryrunCaptioner
from qa.records import read_questions, write_questions
from tools.errors import Filtered, UserError
from tools.store.files import write_json


def run_spans(run_script, dataset, watcher, *flags):
    where = ("--data_root", dataset.root.parent, "--sampler", watcher)
    return run_script("-m", "grounding.spans", "mine", 1, *where, *flags)


def test_every_split_gets_spans_and_every_question_ends_somewhere(films, watcher, run_script):
    [first, *_] = read_questions(films, "test")
    train = [
        type(first)("t1", "mine", "train", "what moves", "early", "early.mp4"),
        type(first)("t2", "mine", "train", "what is two", context={"media": "text"}),
    ]
    write_questions(films.questions("train"), train)
    run = run_spans(run_script, films, watcher)
    assert run.returncode == 0, run.stderr
    assert "spans: 4 done, 1 failed (VideoError: no flow)" in run.stdout
    assert "spans: 1 done, 1 filtered (no_video)" in run.stdout
    assert "mine/test: IoU with the true moments 0." in run.stdout
    assert "mine/train: IoU" not in run.stdout  # nothing says when
    rows = [json.loads(line) for line in films.spans("test", "watcher").read_bytes().splitlines()]
    assert [row["id"] for row in rows] == ["q1", "q2", "q3", "q4"]
    moments = {row["id"]: row["span_time"] for row in rows}
    assert len(moments["q1"]) == 1
    for key, (start, end) in {"q1": (5, 7), "q2": (1, 3), "q4": (5, 7)}.items():
        assert start <= moments[key][0][0] < moments[key][0][1] <= end
    assert moments["q3"][0][1] <= 4  # of its own part alone
    assert [ratio * 8 for ratio in rows[0]["span_ratio"][0]] == moments["q1"][0]
    assert rows[0]["log_p"][0] < 0
    assert read_spans(films.spans("train", "watcher"), train).keys() == {"t1"}
    again = run_spans(run_script, films, watcher, "--split", "test", "--k", 2)
    assert again.returncode == 2
    assert "k=1, this run has k=2" in again.stderr


def steps_records(dataset, watcher, **settings):
    """What the step makes of the records of `test`, in this process."""
    write_question_table(dataset, "test")
    step = SpanStep(dataset, "test", SpanSettings(watcher, **settings))
    step.check("cpu")
    step.setup("cpu", 1)
    return [result for _, result in step.process_batch(list(step.reads.read()), [])]


@pytest.mark.parametrize("extractor", [None, "raft_small"])
def test_other_flow_gives_other_spans_and_answers(films, watcher, extractor):
    table = films.table(f"flow_{extractor or 'dis'}")
    spans = SpanStep(films, "test", SpanSettings(watcher, extractor=extractor))
    settings = AnswerSettings(sampler=watcher, extractor=extractor)
    captioner = DryrunCaptioner()
    answers = AnswerStep(films, captioner, settings, asking_of(settings, captioner), "benchmark")
    write_json(table.meta_path, {"fingerprint": "before"})
    before = spans.params(), answers.params()
    assert before == (spans.params(), answers.params())
    write_json(table.meta_path, {"fingerprint": "after"})
    assert before[0] | {"flow": "after"} == spans.params() != before[0]
    assert before[1] | {"flow": "after"} == answers.params() != before[1]


def test_several_spans_overlap_nowhere(films, watcher):
    first, *_ = steps_records(films, watcher, k=3)
    assert len(first["span_time"]) == len(first["span_ratio"]) == len(first["log_p"]) == 3
    assert first["log_p"] == sorted(first["log_p"], reverse=True)
    for place, span in enumerate(first["span_time"]):
        assert all(iou_of_unions([span], [other]) == 0 for other in first["span_time"][:place])


def test_drawn_spans_depend_on_seed_and_question(films, watcher):
    bridge = Sampler.open(watcher)
    with_even_logits = bridge.bridge.head.weight.data.zero_()
    assert not with_even_logits.any()
    bridge.save(watcher)

    def drawn(seed):
        rows = steps_records(films, watcher, decode="reference", seed=seed)
        return [row["span_time"] for row in rows[:2]]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(1)[0] != drawn(1)[1]


def test_flow_that_is_missing_names_the_command(films, watcher):
    *_, missing = steps_records(films, watcher)
    assert str(missing) == "no flow: python -m grounding.flow computes that of dis"
    with pytest.raises(UserError, match=r"no flow of raft_large \(there is that of dis; --ext"):
        films.table("flow_dis").write([])
        steps_records(films, watcher, extractor="raft_large")


def test_the_overlap_is_that_of_the_union_of_moments(films):
    questions = read_questions(films, "test")
    rows = {"q1": {"span_time": [[5.0, 6.0], [6.0, 7.0]]}, "q2": {"span_time": [[2.0, 5.0]]}}
    line = overlap_line(questions, rows)
    assert line.startswith("IoU with the true moments 0.62 [0.25, 1.00]")
    assert "50% have 0.3 or more, 50% have 0.5 or more (2 questions)" in line
    assert overlap_line(questions[2:], rows) is None


@pytest.mark.parametrize(
    ("one", "other", "iou"),
    [
        ([(0, 2)], [(1, 3)], 1 / 3),
        ([(0, 1), (2, 3)], [(0, 3)], 2 / 3),
        ([(0, 2), (1, 3)], [(0, 3)], 1),
        ([(0, 1)], [(1, 2)], 0),
        ([(1, 1)], [(1, 1)], 1),
    ],
)
def test_iou_of_unions(one, other, iou):
    assert iou_of_unions(one, other) == pytest.approx(iou)


def test_mistakes_are_one_line(films, watcher, run_script, tmp_path):
    for flags, message in (
        (["--sampler", tmp_path], "holds no trained bridge"),
        (["--split", "val"], "no questions of the split 'val' (there are: test)"),
        (["--k", 2, "--decode", "reference"], "--k 2 does not go with --decode reference"),
    ):
        run = run_spans(run_script, films, watcher, *flags)
        assert (run.returncode, run.stderr.count("\n")) == (2, 1)
        assert message in run.stderr


def test_a_text_has_no_span(films, watcher):
    step = SpanStep(films, "test", SpanSettings(watcher))
    with pytest.raises(Filtered, match="no_video"):
        step.process({"video_id": "t", "of_video": None, "media": "text"})
