"""The viewer's page of questions: what is read and compared, and what the page says."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from distillation.judgements import Judgement, write_judgements
from qa.judge.verdicts import content_key
from qa.predictions import Prediction, write_predictions
from qa.records import Question, write_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.files import write_json
from tools.store.jsonl import dumps
from visualize.answers import Wanted, outcomes, read_answers, read_split, select
from visualize.parts.asked import _parts

NASTY = "<script>window.hacked = 1</script> $x^2$ **bold**"
OPTIONS = ["A dog.", "A cat.", "Two cats."]


def question(id_: str, **values: Any) -> Question:
    made = {
        "dataset": "mine",
        "split": "val",
        "question": f"What is in {id_}",
        "video_id": "v0",
        "video": "one.mp4",
        "choices": OPTIONS,
        "answer": "A cat.",
        "answer_index": 1,
        "type": "CW",
        "origin": {"file": "val.csv", "line": 2, "sha256": "ab" * 32},
    }
    return Question(id=id_, **{**made, **values})


QUESTIONS = [
    question("a", context={"media": "video", "subtitles": [[0.5, 1.5, "(Ann:) Hello."]]}),
    question("b", type="TN", start=1.0, end=2.0, question=f"Why? {NASTY}"),
    question("c", choices=None, answer_index=None, answer="two cats", references=["cats"]),
    question("d", answer=None, answer_index=None, video="gone.mp4", video_id="v1"),
    question(
        "e",
        video=None,
        video_id=None,
        context={
            "media": "text",
            "conversation": [["human", "Look."], ["gpt", "A <dog>."]],
            "text_frames": ["a dog", "a cat"],
        },
    ),
]


def meta(**values: Any) -> dict[str, Any]:
    return {"dataset": "mine", "split": "val", "control": None, **values}


@pytest.fixture
def dataset(tmp_path: Path, make_video: Callable[..., Path]) -> Dataset:
    """Five questions about one video of 3 s; a model that gives log p, one that writes, and a
    control."""
    made = Dataset("mine", tmp_path / "data" / "mine")
    video = make_video(tmp_path / "videos" / "one.mp4", [("beach", 12), ("forest", 24)])
    made.remember_video_dir(video.parent)
    made.table("init").write(
        [{"video_id": "v0", "video_path": str(video), "video_name": "one.mp4", "filtered": False}]
    )
    write_questions(made.questions("val"), QUESTIONS)
    likely = [
        Prediction("a", None, [-1.0, -1.0 + float(np.log(3)), -1.0]),
        Prediction("b", None, [-0.5, -2.0, -3.0]),
        Prediction("c", f"I see two cats. {NASTY}"),
        Prediction("d", None, [-1.0, -2.0, -3.0]),
    ]
    write_predictions(made.predictions("val", "likely"), likely, meta(frames=3, protocol="middles"))
    written = [
        Prediction("a", "(A) A dog."),
        Prediction("b", "The answer is B."),
        Prediction("c", "one cat"),
        Prediction("e", "A dog or a cat, who knows"),
    ]
    path = made.predictions("val", "written")
    write_predictions(path, written, meta(frames=2, protocol="mvbench"))
    row = {"id": "c", "verdict": "yes", "score": 4}
    row["sha1"] = content_key("What is in c", "two cats or cats", "one cat")
    path.with_name("written.judged-tiny.jsonl").write_bytes(dumps(row) + b"\n")
    write_predictions(
        made.predictions("val", "likely.choices_only"),
        likely[:1],
        meta(control="choices_only", frames=3, protocol="middles"),
    )
    return made


@pytest.fixture
def page(
    dataset: Dataset,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_screen: Callable[..., AppTest],
) -> Callable[..., AppTest]:
    """Run the page in this process, with an address's words."""
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    return lambda **address: run_screen("questions", dataset.root.parent, address)


def words(app: AppTest) -> str:
    """All that the page says in HTML."""
    assert not app.exception, app.exception
    return "\n".join(one.proto.body for one in app.get("html"))


def captions(app: AppTest) -> str:
    return "\n".join(one.value for one in app.caption)


def rows(app: AppTest, number: int = 0) -> list[list[str]]:
    """The cells of a table, as text."""
    tables = [body for body in words(app).split("<table") if 't-table"' in body]
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in tables[number].split("<tr>")[1:]
    ]


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label == label)


# What is read and compared


def test_an_answer_is_compared_with_the_right_one(dataset):
    split = read_split(dataset, "val")
    likely, written = (read_answers(dataset, "val", name) for name in ("likely", "written"))
    assert outcomes(split, likely).tolist() == [
        "right",
        "wrong",
        "right",
        "not known",
        "unanswered",
    ]
    # The judge says that "one cat" is right; the last answer names two options.
    assert outcomes(split, written).tolist() == [
        "wrong",
        "right",
        "right",
        "not known",
        "unanswered",
    ]


def test_an_open_answer_without_a_judge_is_right_where_it_contains_the_right_one(dataset):
    dataset.predictions("val", "written").with_name("written.judged-tiny.jsonl").unlink()
    written = read_answers(dataset, "val", "written")
    assert written.right(QUESTIONS[2]) is False
    (dataset.predictions("val", "cats")).write_bytes(dumps({"id": "c", "prediction": "Cats!"}))
    assert read_answers(dataset, "val", "cats").right(QUESTIONS[2]) is True


def test_a_verdict_on_an_earlier_answer_does_not_count(dataset):
    path = dataset.predictions("val", "written")
    path.write_bytes(path.read_bytes().replace(b"one cat", b"a bird"))
    written = read_answers(dataset, "val", "written")
    assert written.verdicts(QUESTIONS[2]) == {}
    assert written.right(QUESTIONS[2]) is False


def test_probabilities_are_the_softmax_of_log_p(dataset):
    likely = read_answers(dataset, "val", "likely")
    assert likely.probabilities(QUESTIONS[0]).tolist() == pytest.approx([0.2, 0.6, 0.2])
    assert likely.chosen(QUESTIONS[0]) == 1
    assert likely.probabilities(QUESTIONS[2]) is None


def test_filters_select_by_type_text_and_outcome(dataset):
    split = read_split(dataset, "val")
    compared = [
        outcomes(split, read_answers(dataset, "val", name)) for name in ("likely", "written")
    ]

    def ids(**wanted: Any) -> str:
        return "".join("abcde"[place] for place in select(split, Wanted(**wanted), compared))

    assert ids() == "abcde"
    assert ids(types=("TN",)) == "b"
    assert ids(text="two CATS") == "abcde"
    assert ids(text="in d") == "d"
    assert ids(outcome="right") == "ac"
    assert ids(outcome="wrong") == "b"
    assert ids(outcome="unanswered") == "e"
    assert ids(outcome="the two differ") == "ab"
    assert ids(outcome="right", types=("CW",), text="what is in a") == "a"


def test_predictions_for_others_are_refused(dataset):
    path = dataset.predictions("val", "theirs")
    write_predictions(path, [Prediction("a", "x")], meta(split="test"))
    with pytest.raises(UserError, match="was made for mine/test"):
        read_answers(dataset, "val", "theirs")


def test_parts_are_halfway_between_the_frames_that_are_shown():
    times = np.arange(36) / 12
    record, frames = _parts({}, QUESTIONS[0], times, 12.0, 3, "middles")
    assert frames == [[6], [18], [30]]
    assert record["cut_times"] == [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    assert record["filtered_cuts"] == [[0, 0, 11], [1, 12, 23], [2, 24, 35]]
    record, frames = _parts({}, QUESTIONS[1], times, 12.0, 2, "middles")
    assert frames == [[15], [21]]
    assert record["cut_times"] == [[1.0, 1.5], [1.5, 2.0]]
    assert record["filtered_cuts"] == [[0, 12, 17], [1, 18, 23]]


# The page


def test_options_stand_beside_their_probabilities(page):
    app = page(by="likely", beside="written")
    text = words(app)
    assert "What is in a" in text
    assert "1 of 5" in text
    assert "likely: right" in text
    assert "written: wrong" in text
    assert rows(app) == [
        ["", "option", "likely", "written"],
        ["A", "A dog.", "20.0%", "chosen"],
        ["B", "A cat. right", "60.0%chosen", ""],
        ["C", "Two cats.", "20.0%", ""],
    ]
    assert "width:60.00%" in text
    assert "likely was shown 3 frames \\(middles\\)" in captions(app)
    assert "written was shown 2 frames \\(mvbench\\)" in captions(app)
    assert [len(strip) for strip in strips(app)] == [3, 2]
    assert rows(app, 1) == [["from", "to", "text"], ["0:00.5", "0:01.5", "(Ann:) Hello."]]
    assert "one\\.mp4 · read from file val\\.csv, line 2" in captions(app)


def strips(app: AppTest) -> list[list[dict[str, Any]]]:
    """The clips of each strip of frames on the page."""
    found = []
    for element in app.get("bidi_component"):
        proto = element.proto
        if proto.component_name.endswith("temple_strip"):
            found.append(json.loads(proto.json)["clips"])
    return found


def test_a_control_without_video_was_shown_no_frame(page):
    app = page(by="likely.choices_only")
    assert "choices\\_only was shown no frame\\." in captions(app)
    assert [len(strip) for strip in strips(app)] == [8]


@pytest.mark.parametrize(
    ("control", "words"),
    [("single_frame", "but only the middle one"), ("frames_shuffled", "in another order")],
)
def test_what_a_control_was_shown_is_said(page, dataset, control, words):
    path = dataset.predictions("val", f"likely.{control}")
    values = meta(control=control, frames=3, protocol="middles")
    write_predictions(path, [Prediction("a", None, [0.0, 0.0, 0.0])], values)
    assert f"3 frames \\(middles\\), {words}\\." in captions(page(by=f"likely.{control}"))


def test_a_part_of_the_video_and_all_of_it_can_be_played(page):
    app = page(question="b", by="likely", clip="2")
    assert "0:01.3 to 0:01.7" in words(app)
    app = page(question="b", by="likely")
    button(app, "Play").click().run()
    assert app.query_params["clip"] == "all"
    assert "0:01.0 to 0:02.0" in captions(app)
    button(app, "Close").click().run()
    assert "clip" not in app.query_params


def test_an_open_question_shows_what_was_written_and_judged(page):
    text = words(page(question="c", by="written", beside="likely"))
    assert "Right answer" in text
    assert "also accepted: cats" in text
    assert "tiny: yes, 4 of 5" in text
    assert "one cat" in text
    assert "I see two cats. &lt;script&gt;" in text


def test_whatever_a_question_says_is_text(page):
    app = page(question="b")
    text = words(app)
    assert "<script" not in text
    assert "Why? &lt;script&gt;window.hacked = 1&lt;/script&gt; $x^2$ **bold**" in text
    assert not any("x^2" in one.value for one in [*app.markdown, *app.caption])


def test_a_hidden_label_and_a_missing_video_are_said(page):
    text = words(page(question="d", by="likely"))
    assert "The right answer is not public." in text
    assert "The video cannot be shown: no such file" in text
    assert "likely: not known" in text


def test_a_video_outside_of_its_folder_is_not_opened(page, dataset):
    outside = question("a", video="../../../../etc/passwd", video_id="v1")
    write_questions(dataset.questions("val"), [outside])
    assert "The video cannot be shown: outside" in words(page())


def test_a_question_without_video_shows_what_comes_with_it(page):
    app = page(question="e")
    assert not strips(app)
    assert rows(app, 1)[1:] == [["human", "Look."], ["gpt", "A &lt;dog&gt;."]]
    assert rows(app, 2)[1] == ["text_frames", "[&quot;a dog&quot;,&quot;a cat&quot;]"]


def test_pictures_in_a_folder_are_shown(page, dataset):
    folder = dataset.video_dir() / "numbered"
    folder.mkdir()
    for number in range(1, 7):
        Image.new("RGB", (32, 24), (40 * number, 0, 0)).save(folder / f"{number:05d}.jpg")
    context = {"media": "frames", "frames": {"fps": 3, "first": 1}}
    write_questions(dataset.questions("val"), [question("a", video="numbered", context=context)])
    (pictures,) = strips(page(by="likely"))
    assert [picture["title"] for picture in pictures] == ["picture 1", "picture 2", "picture 3"]


def test_next_and_previous_follow_the_filters(page):
    app = page(type="CW", by="likely")
    assert "1 of 4" in words(app)
    button(app, "Next").click()
    text = words(app.run())
    assert "What is in c" in text
    assert "2 of 4" in text
    assert app.query_params["question"] == "c"
    button(app, "Previous").click()
    assert "1 of 4" in words(app.run())


def test_a_filter_that_the_question_does_not_pass_goes_on_to_one_that_does(page):
    app = page(question="a", by="likely", beside="written")
    app.selectbox(key="answer").set_value("wrong")
    text = words(app.run())
    assert "Why?" in text
    assert "1 of 1" in text
    app.text_input(key="q").set_value("no such words")
    assert "No question passes these filters." in words(app.run())


def test_a_link_to_a_question_outside_the_filters_opens_it_and_one_to_none_is_said(page):
    assert "not among 1" in words(page(question="a", type="TN"))
    text = words(page(question="<b>"))
    assert "There is no such question in val: &lt;b&gt;" in text
    assert "1 of 5" in text


def test_the_list_has_a_row_for_each_question(page):
    app = page(list="yes", by="likely", beside="written", page="x")
    frame = app.dataframe[0].value
    assert frame["id"].tolist() == ["a", "b", "c", "d", "e"]
    assert frame["likely"].tolist() == ["right", "wrong", "right", "not known", "unanswered"]
    assert frame["written answers"].tolist()[:3] == ["A A dog.", "B A cat.", "one cat"]


def test_answers_that_are_written_meanwhile_appear(page, dataset):
    app = page(by="likely", question="e")
    assert "likely: unanswered" in words(app)
    path = dataset.predictions("val", "likely")
    line = dumps({"id": "e", "prediction": None, "log_p": [0.0, 1.0, 0.0]})
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert "likely: right" in words(app.run())


def test_a_file_that_is_none_is_said_and_the_question_shown(page, dataset):
    dataset.predictions("val", "likely").write_bytes(b"<b>nonsense\n")
    text = words(page(by="likely", beside="written"))
    assert "likely.jsonl line 1 is no prediction" in text
    assert "written: wrong" in text


def test_without_questions_or_answers_the_page_says_what_makes_them(page, dataset):
    for path in dataset.predictions("val", "x").parent.iterdir():
        path.unlink()
    app = page()
    assert "evaluate_model.py qa asks one" in captions(app)
    assert "1 of 5" in words(app)
    dataset.questions("val").unlink()
    assert "This dataset has no questions" in words(page())


# Students and teachers


@pytest.fixture
def student(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student of distillation, below exp/cater, and two teachers; another data set's student."""
    monkeypatch.chdir(tmp_path)
    for name, of in (("mine-none-s0", "mine"), ("other-none-s0", "other")):
        folder = tmp_path / "exp" / "cater" / name
        likely = [Prediction("a", None, [float(np.log(p)) for p in (0.1, 0.2, 0.7)])]
        write_predictions(folder / "predictions" / "val.jsonl", likely, meta(dataset=of))
        (folder / "student.json").write_text('{"config": {}, "prompt_variant": "none"}')
    judged = Judgement("a", [-4.0, -2.0 + 2 * float(np.log(2)), -1.0], [4, 2, 1])
    path = dataset.judgements_of("videollava", "val")
    write_judgements(path, [judged])
    write_json(path.with_name("val.meta.json"), {"made_by": {"count": 4, "protocol": "middles"}})
    write_judgements(dataset.judgements_of("served", "val"), [Judgement("a", choice=1)])


def test_a_student_stands_beside_its_teachers(student: None, page: Callable[..., AppTest]):
    app = page(question="a", by="student mine-none-s0")
    header, *options = rows(app)
    assert header == ["", "option", "student mine-none-s0", "teacher served", "teacher videollava"]
    assert [row[2] for row in options] == ["10.0%", "20.0%", "70.0%chosen"]
    # By log p a token: -1, -1 + ln 2, -1.
    assert [row[4] for row in options] == ["25.0%", "50.0%chosen", "25.0%"]
    assert [row[3] for row in options] == ["", "chosen", ""]
    assert "reads no lines" in captions(app)
    assert "teacher videollava was shown 4 frames (middles)" in captions(app).replace("\\", "")


def test_a_model_stands_alone_and_a_teacher_may_be_looked_at(
    student: None, page: Callable[..., AppTest]
):
    assert rows(page(question="a", by="likely"))[0] == ["", "option", "likely"]
    app = page(question="a", by="teacher videollava", beside="student mine-none-s0")
    assert rows(app)[0][2:4] == ["teacher videollava", "student mine-none-s0"]
    assert "student other-none-s0" not in str([box.options for box in app.selectbox])
