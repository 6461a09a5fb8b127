"""Step 1 on real videos. `dryrun` names the mean colour of what it is shown, as in "A light red
scene named Sofi": it is right about a colour in its moment alone, and gets a word right elsewhere.
"""

import json
import shutil

import numpy as np
import pytest

from grounding.answerer.captioner import example_of
from grounding.bridge.moments import frame_times, intervals_of, iou
from grounding.labels import FrameAnswersStep, LabelSettings
from grounding.pseudo_labels import check_labels, import_labels, read_labels
from grounding.questions import question_table, write_question_table
from grounding.training.data import text_of
from inference.engines.dryrun import DryrunCaptioner
from qa.records import Question, write_questions
from tools.errors import UserError
from tools.store.dataset import Dataset
from tools.store.jsonl import dumps
from tools.video.sampling import sample_moments

COLOURS = {"red": (200, 20, 20), "green": (20, 150, 20), "blue": (20, 20, 180)}
# Video -> (colour, seconds) one after the other.
FILMS = {
    "one": (("green", 3), ("red", 2), ("green", 3)),
    "two": (("blue", 1), ("red", 1), ("blue", 6)),
    "twice": (("green", 2), ("red", 2), ("blue", 2), ("red", 2)),
}
RATE = 8


def solid(film):
    for colour, seconds in film:
        picture = np.full((32, 48, 3), COLOURS[colour], np.uint8)
        yield from [picture] * (seconds * RATE)


@pytest.fixture(scope="module")
def asked_root(make_video, tmp_path_factory):
    """The folder of the data set `asked`."""
    folder = tmp_path_factory.mktemp("asked") / "videos"
    dataset = Dataset("mine", folder.parent / "mine")
    for name, film in FILMS.items():
        make_video(folder / f"{name}.mp4", frames=solid(film), size=(48, 32), rate=RATE)
    dataset.remember_video_dir(folder)

    def question(key, video, answer="a red scene", **others):
        where = {"video_id": video, "video": video and f"{video}.mp4"}
        where |= {"dataset": "mine", "split": "train", "question": "What is there?"}
        return Question(id=key, answer=answer, **where, **others)

    questions = [
        question("q1", "one"),
        question("q2", "two"),
        question("q3", "twice"),
        question("q4", "one", "two dogs"),
        question("q5", "gone"),
        question("q6", "one", None),
        question("q7", None),
        question("q8", "twice", start=0.0, end=4.0),
        question("q9", "twice", start=9.0, end=10.0),
    ]
    write_questions(dataset.questions("train"), questions)
    return dataset.root


@pytest.fixture
def asked(asked_root, dataset):
    """A data set of FILMS, with questions of which not all can have a label."""
    shutil.copytree(asked_root, dataset.root, dirs_exist_ok=True)
    return dataset


@pytest.fixture(scope="module")
def first_run(asked_root, run_script, tmp_path_factory):
    """A copy of it, after the command; read it only. And what the command printed."""
    dataset = Dataset("mine", tmp_path_factory.mktemp("labelled") / "mine")
    shutil.copytree(asked_root, dataset.root)
    run = make(run_script, dataset)
    assert run.returncode == 0, run.stderr
    return dataset, run.stdout


@pytest.fixture
def labelled(first_run, dataset):
    """A data set whose labels have been made."""
    shutil.copytree(first_run[0].root, dataset.root, dirs_exist_ok=True)
    return dataset


def make(run_script, dataset, *flags, workers=1):
    where = ("--data_root", dataset.root.parent, "--model", "dryrun")
    return run_script("-m", "grounding.labels", "mine", workers, *where, *flags)


def test_labels_are_the_moments_and_every_question_ends_somewhere(first_run):
    asked, printed = first_run
    assert "frame_answers: 5 done, 1 filtered (no_answer), 1 filtered (no_video), 1 failed (" in (
        printed
    )
    assert "1 failed (VideoError: no such file)" in printed
    assert "1 failed (ValueError: the part that is asked about starts at 9.0 s" in printed
    assert "labels: 3 done, 1 filtered (low_confidence), 1 filtered (no_label)" in printed
    labels = read_labels(asked.pseudo_labels("train"))
    assert {key: row["span_time"] for key, row in labels.items()} == {
        "q1": [3.0, 5.0],
        "q2": [1.0, 2.0],
        "q8": [2.0, 4.0],  # of its own part alone
    }
    row = labels["q1"]
    assert (row["video_id"], row["answer"], row["metric"]) == (
        "one",
        "a red scene",
        "rouge1_recall",
    )
    assert row["span_ratio"] == [0.375, 0.625]
    assert intervals_of(row["span_ratio"], 16) == (6, 9)
    assert len(row["frame_times"]) == len(row["answers"]) == len(row["scores"]) == 32
    assert row["frame_times"][:2] == [0.125, 0.375]
    assert set(row["scores"]) == {0.6667, 1.0}
    assert "A light red scene" in row["answers"][14]
    assert len(row["fingerprint"]) == 16
    kept = (asked.anno / "labels_train_dryrun.jsonl.filtered").read_text()
    assert '"confidence":0.0' in kept


@pytest.mark.parametrize(
    ("baseline", "span"), [("none", (0.0, 8.0)), ("min", (3.0, 5.0)), ("top", (3.0, 5.0))]
)
def test_partial_credit_makes_the_whole_clip_win_without_a_baseline(
    labelled, run_script, baseline, span
):
    """Another baseline needs no new answers."""
    run = make(run_script, labelled, "--baseline", baseline, "--redo", "labels")
    assert run.returncode == 0, run.stderr
    assert "frame_answers: nothing to do" in run.stdout
    assert iou(read_labels(labelled.pseudo_labels("train"))["q1"]["span_time"], span) == 1


def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(labelled, run_script):
    asked = labelled
    path = asked.pseudo_labels("train")
    in_one_go = path.read_bytes()
    assert make(run_script, asked, "--redo", "frame_answers").returncode == 0
    again = json.loads(path.read_bytes().splitlines()[0])
    assert again["answers"] == json.loads(in_one_go.splitlines()[0])["answers"]
    for table in asked.anno.glob("*_train*"):
        table.unlink()
    assert make(run_script, asked, "--limit", 2).returncode == 0
    answers = asked.table("frame_answers_train_dryrun").path
    first = answers.read_bytes().splitlines()
    assert make(run_script, asked, workers=2).returncode == 0
    assert answers.read_bytes().splitlines()[:2] == first
    assert path.read_bytes() == in_one_go


def test_another_baseline_is_refused(labelled, run_script):
    refused = make(run_script, labelled, "--baseline", "none")
    assert refused.returncode == 2
    assert "baseline=mean" in refused.stderr
    assert refused.stderr.count("\n") == 1


TURNS = [["human", "What does the dog do?"], ["gpt", "It jumps."]]


def asked_after(turns):
    """A question after earlier turns."""
    where = {"video_id": "one", "video": "one.mp4", "answer": "a red scene"}
    context = {"media": "video", "conversation": turns}
    return Question("q", "mine", "train", "And then?", context=context, **where)


def test_the_model_is_asked_after_the_earlier_turns_as_in_training(asked):
    question = asked_after(TURNS)
    write_questions(asked.questions("train"), [question])
    write_question_table(asked, "train")
    step = FrameAnswersStep(asked, DryrunCaptioner(), LabelSettings(frames=2))
    [record] = step.reads.read()
    for request in step._requests(record)[0]:
        assert [message["role"] for message in request.messages] == ["user", "assistant", "user"]
        example = example_of(request)
        assert example.question == text_of(question)
        assert len(example.frames) == 1


def test_other_earlier_turns_are_other_questions(asked):
    fingerprints = set()
    for turns in (TURNS, [["human", "What does the cat do?"], ["gpt", "It sleeps."]], []):
        write_questions(asked.questions("train"), [asked_after(turns)])
        write_question_table(asked, "train")
        fingerprints.add(question_table(asked, "train").meta()["fingerprint"])
    assert len(fingerprints) == 3


def test_without_questions_or_labels_one_line_says_so(dataset, run_script):
    run = make(run_script, dataset)
    assert run.returncode == 2
    assert "no questions of the split 'train'" in run.stderr
    with pytest.raises(UserError, match=r"python -m grounding\.labels DATASET WORLD_SIZE"):
        read_labels(dataset.pseudo_labels("train"))


def released(tmp_path, entries):
    file = tmp_path / "pseudo_label.json"
    file.write_text(json.dumps(entries))
    return file


QUESTIONS = [
    Question(id=str(number), dataset="mine", split="train", question="?", video_id="v", answer="a")
    for number in range(5)
]


def test_released_labels_of_32_frames_become_ratios(tmp_path):
    entries = {"0": [0, 31], "1": [12, 15], "2": [5, 4], "3": [0, 32], "4": "none"}
    rows, left_out, scale = import_labels(released(tmp_path, entries), QUESTIONS)
    assert scale == "frames of 0 to 31"
    assert {row["id"]: row["span_ratio"] for row in rows} == {"0": (0, 1), "1": (0.375, 0.5)}
    assert left_out == {"inverted": 1, "out_of_range": 1, "no_span": 1}
    assert intervals_of(rows[1]["span_ratio"], 32) == (12, 15)


def test_released_ratios_are_taken_as_they_are(tmp_path):
    rows, left_out, scale = import_labels(
        released(tmp_path, {"0": [0.25, 1], "3": [0.0, 0.5]}), QUESTIONS
    )
    assert scale == "ratios of the video's time"
    assert [row["span_ratio"] for row in rows] == [(0.25, 1), (0.0, 0.5)]
    assert not left_out


@pytest.mark.parametrize("of_places", [True, False])
def test_released_labels_of_videoinstruct_are_of_the_places_in_its_file(
    dataset, make_video, run_script, tmp_path, of_places
):
    """VideoInstruct100K is a list; the released labels and questions are objects by place."""
    for name in ("a", "b"):
        make_video(tmp_path / "videos" / f"{name}.mp4", [("snow", 4)])
    rows = [{"q": f"{name}?", "a": "Yes.", "video_id": name} for name in ("a", "gone", "b")]
    content = {str(place): row for place, row in enumerate(rows, 10)} if of_places else rows
    file = tmp_path / "train.json"
    file.write_text(json.dumps(content))
    words = ("--file", file, "--video_dir", tmp_path / "videos", "--dataset", "mine")
    root = ("--split", "train", "--data_root", dataset.root.parent)
    assert run_script("qa/read.py", "videoinstruct", *words, *root).returncode == 0
    first = 10 if of_places else 0
    labels = released(
        tmp_path, {str(first + place): [8 * place, 8 * place + 7] for place in range(3)}
    )
    run = make(run_script, dataset, "--labels", labels)
    assert run.returncode == 0, run.stderr
    assert "2 labels, 1 left out (no_question)" in run.stdout
    kept = read_labels(dataset.pseudo_labels("train"))
    assert {row["question"]: row["span_ratio"] for row in kept.values()} == {
        "a?": [0, 0.25],
        "b?": [0.5, 0.75],
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"0": [0.5, 12]}, "mixes scales"),
        ({"7": [0, 3]}, "no label is of a question of mine/train: 7"),
        ([1, 2], "holds no labels"),
    ],
)
def test_released_files_that_do_not_fit(tmp_path, entries, message):
    with pytest.raises(UserError, match=message):
        import_labels(released(tmp_path, entries), QUESTIONS)


def test_importing_says_which_scale_it_is(asked, run_script, tmp_path):
    file = released(tmp_path, {"q1": [12, 19], "q2": [9, 3]})
    run = make(run_script, asked, "--labels", file)
    assert run.returncode == 0, run.stderr
    assert "frames of 0 to 31: 1 labels, 1 left out (inverted)" in run.stdout
    assert read_labels(asked.pseudo_labels("train"))["q1"]["span_ratio"] == [0.375, 0.625]


@pytest.mark.parametrize("total", [1, 2, 31, 32, 100])
def test_four_frames_of_a_span_of_a_video(make_video, read_stamp, tmp_path, total):
    """Frames of 0.04 s; a span that has fewer than four shows some of them more than once."""
    video = make_video(tmp_path / "v.mp4", [("snow", total)], rate=25)
    spans: list[tuple[float, float]] = []

    def choose(length):
        assert length == pytest.approx(total / 25)
        spans.append((length / 4, length / 2))
        return frame_times(spans, 4)

    sample = sample_moments(video, choose)
    times = sample.times
    stamps = [read_stamp(picture) for picture in sample.pictures]
    (start, end), frame = spans[0], 1 / 25
    assert len(stamps) == 4
    assert times == sorted(times) == pytest.approx([stamp * frame for stamp in stamps])
    assert all(start - frame < time < end for time in times)
    assert len(set(stamps)) == (4 if total > 16 else 1)


def test_labels_are_read_above_a_confidence_and_on_one_scale(tmp_path):
    file = tmp_path / "labels.jsonl"

    def write(*rows):
        file.write_bytes(b"\n".join(map(dumps, rows)))

    write(
        {"id": "a", "span_ratio": [0.25, 0.5], "confidence": 0.5},
        {"id": 7, "span_ratio": [0, 1], "confidence": 0.49},
        {"id": "imported", "span_ratio": [0, 1], "confidence": None},
    )
    assert list(read_labels(file, 0.5)) == ["a", "imported"]
    assert [row["span_ratio"] for row in read_labels(file).values()] == [
        [0.25, 0.5],
        [0, 1],
        [0, 1],
    ]
    write({"id": "a", "span_ratio": [4, 31], "confidence": 1})
    with pytest.raises(UserError, match=r"line 1: the span 4 to 31 is no ratio .* from 0 to 31"):
        read_labels(file)
    write({"id": "a", "confidence": 1})
    with pytest.raises(UserError, match="line 1 is no label"):
        read_labels(file)


def test_labels_of_another_split_are_not_taken(tmp_path):
    file = tmp_path / "labels.jsonl"
    questions = [Question(name, "mine", "val", "What is it?") for name in ("q1", "q2")]
    check_labels(file, {"q1": {"question": "What is it?"}, "q3": {}}, questions)
    check_labels(file, {}, questions)
    for rows in ({"q1": {"question": "Why?"}, "q2": {"question": "What is it?"}}, {"q3": {}}):
        with pytest.raises(UserError, match=r"other questions than mine/val has, such as 'q[13]'"):
            check_labels(file, rows, questions)
