"""`python -m distillation.teach`: who judges, what is written, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import orjson
import pytest

from distillation.judgements import Judgement, features_path, read_judgements, write_judgements
from distillation.teach import TeachStep, better_way, row_of
from distillation.teachers.report import calibration_error, report_of
from distillation.teachers.server import ServerTeacher, letters_of
from distillation.teachers.teacher import Case, Judged, View
from inference.models import open_captioner
from inference.tiny import teachers as tiny_teachers
from qa.records import Question, read_questions, write_questions
from tools.errors import UserError
from tools.store.dataset import REPOSITORY, Dataset

PLACES = ("beach", "forest", "night", "fire")
VIDEOS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_video):
    """A data root with three videos, of four questions each, whose third video is not there."""
    root = tmp_path_factory.mktemp("teach")
    dataset = Dataset("mine", root / "mine")
    questions = []
    for video in range(VIDEOS):
        shots = [(PLACES[(video + n) % 4], 12) for n in range(4)]
        if video < 2:
            make_video(root / "video" / f"v{video}.mp4", shots)
        for number, (place, _) in enumerate(shots):
            options = [PLACES[(n + video) % 4] for n in range(4)]
            questions.append(
                Question(
                    f"v{video}/{number}",
                    *("mine", "train", f"which place is number {number + 1}", f"v{video}"),
                    video=f"v{video}.mp4",
                    choices=options,
                    answer=place,
                    answer_index=options.index(place),
                )
            )
    write_questions(dataset.questions("train"), questions)
    dataset.remember_video_dir(root / "video")
    return root


@pytest.fixture(scope="module")
def questions(world):
    return read_questions(Dataset("mine", world / "mine"), "train")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_teachers.video_llava(tmp_path_factory.mktemp("tiny") / "video_llava")


@pytest.fixture
def teach(world, run_script):
    """(*words) -> the finished command."""

    def run(*words):
        fixed = ("--data_root", world, "--device", "cpu")
        return run_script("-m", "distillation.teach", "mine", 1, *words, *fixed)

    return run


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(teach, tiny, world, questions):
    words = ("--teacher_name", "videollava", "--model_id", tiny, "--by", "text", "--allow_chance")
    done = teach(*words, "--num_video_frames", 4)
    assert done.returncode == 0, done.stderr
    # The third video is not there: its questions have failed, and have no judgement.
    assert "judge: 8 done, 4 failed" in done.stdout
    assert "videollava on mine/train, 8 of 12 questions" in done.stdout
    assert "accuracy" in done.stdout and "places chosen: A" in done.stdout
    folder = world / "mine" / "teachers" / "videollava"
    table = world / "mine" / "anno" / "judged_train_videollava_text.jsonl"
    before = {path: path.read_bytes() for path in (*folder.iterdir(), table)}
    assert {path.name for path in folder.iterdir()} == {
        *("train.jsonl", "train.features.npy", "train.meta.json"),
    }
    judgements, vectors = read_judgements(folder / "train.jsonl", questions[:8])
    assert {own.frames for own in judgements.values()} == {4}
    assert vectors["v0/0"].shape == (64,) and vectors["v0/0"].any()
    assert not np.array_equal(vectors["v0/0"], vectors["v1/0"])

    lines = table.read_bytes().splitlines(keepends=True)
    table.unlink()
    # Three rows were on disk, and half of the fourth.
    table.with_name(f"{table.name}.0-1").write_bytes(b"".join(lines[:3]) + lines[3][:50])
    assert teach(*words, "--num_video_frames", 4).returncode == 0
    assert {path: path.read_bytes() for path in before} == before

    changed = teach(*words, "--num_video_frames", 8)
    assert changed.returncode == 2
    assert "was made with count=4, this run has count=8" in changed.stderr


class Toy:
    """tests/inference/toy_server.py in a process of its own."""

    def __init__(self, log, *flags):
        script = REPOSITORY / "tests" / "inference" / "toy_server.py"
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, script, log, *map(str, flags)], stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def bodies(self):
        return [json.loads(line)["body"] for line in self.log.read_text().splitlines()]


@pytest.fixture
def toy(tmp_path):
    """(*flags) -> a server on the loopback."""
    started = []

    def start(*flags):
        started.append(Toy(tmp_path / f"log{len(started)}", *flags))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def case(key="q", options=PLACES, text="which place"):
    frames = [np.full((28, 28, 3), 100, np.uint8)] * 2
    return Case(key, frames, 1.0, text, list(options))


def served(server, cases):
    """(the teacher, what it says of each case)."""
    teacher = ServerTeacher(open_captioner(f"toy@{server.url}"), View(2))
    teacher.check("cpu")
    teacher.load("cpu", 1)
    return teacher, [result for _, result in sorted(teacher.judge(cases, "letter"))]


def test_a_server_that_says_log_p_is_asked_in_every_order(toy):
    server = toy("--likes", "night")
    _, [first, second] = served(server, [case("a"), case("b", ("night", "fire", "snow"))])
    assert first.feature is None and first.judgement.log_p is None and first.unlisted == 0
    # Over the orders another option has -1, -2, -3 and -4: its mean is -2.5, the liked one's -0.1.
    weights = np.exp([-2.5, -2.5, -0.1, -2.5])
    assert np.exp(first.judgement.letter_log_p) == pytest.approx(weights / weights.sum())
    assert int(np.argmax(second.judgement.letter_log_p)) == 0
    asked = [body for body in server.bodies() if "Which place" in str(body)]
    assert len(asked) == 4 + 3
    assert all(body["max_tokens"] == 1 and body["top_logprobs"] == 20 for body in asked)
    first_lines = {body["messages"][0]["content"][-1]["text"].splitlines()[1] for body in asked}
    assert first_lines >= {f"A. {place}" for place in PLACES}


def test_a_server_that_prefers_a_letter_prefers_no_option(toy):
    _, [judged] = served(toy("--likes", ""), [case()])
    assert np.exp(judged.judgement.letter_log_p) == pytest.approx([0.25] * 4)


def test_letters_that_a_server_leaves_out_are_less_probable_than_those_it_gives(toy):
    _, [judged] = served(toy("--likes", "night", "--top", 2), [case()])
    assert judged.unlisted == 4 * 2
    assert int(np.argmax(judged.judgement.letter_log_p)) == 2


def test_a_server_without_log_p_gives_its_letter(toy, tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"Place one": ["C"], "Place two": ["Perhaps"]}))
    cases = [case(text=f"place {number}") for number in ("one", "two")]
    teacher, results = served(toy("--script", path), cases)
    assert not teacher.gives_log_p
    assert results[0].judgement == Judgement("q", choice=2, frames=2)
    # What names no option fails; it is not A.
    assert isinstance(results[1], ValueError) and "names no option" in str(results[1])


def test_a_request_that_fails_fails_its_question_alone(toy):
    server = toy("--likes", "night", "--pictures", 2)
    many = Case("c", [np.zeros((28, 28, 3), np.uint8)] * 3, 1.0, "which", list(PLACES))
    _, [fine, failed] = served(server, [case(), many])
    assert isinstance(fine, Judged) and "3 pictures are too many" in str(failed)


def test_tokens_that_are_a_letter_are_summed():
    row = letters_of({"A": np.log(0.2), " A": np.log(0.1), "B": np.log(0.3), "Aha": -1.0}, 3)
    assert np.exp(row) == pytest.approx([0.3, 0.3, 0.0])


@pytest.fixture
def file_of(tmp_path, questions):
    """(right, name) -> a file of judgements, so many of which are right."""

    def write(right, name="mine.jsonl", features=None):
        rows = []
        for place, question in enumerate(questions):
            own = (question.answer_index + (place >= right)) % 4
            rows.append(Judgement(question.id, [-4.0 * (n != own) for n in range(4)], [1] * 4))
        write_judgements(tmp_path / name, rows, features)
        return tmp_path / name

    return write


def test_a_file_of_judgements_is_a_teacher(teach, file_of, world, questions):
    features = np.arange(36, dtype=np.float16).reshape(12, 3)
    path = file_of(11, "judge.jsonl", features)
    done = teach("--teacher_name", path)
    assert done.returncode == 0, done.stderr
    assert "accuracy 0.917 [" in done.stdout and "chance 0.250" in done.stdout
    copy = world / "mine" / "teachers" / "judge" / "train.jsonl"
    assert copy.read_bytes() == path.read_bytes()
    assert np.load(features_path(copy)).tolist() == features.tolist()
    report = orjson.loads(copy.with_name("train.meta.json").read_bytes())["report"]
    assert report["accuracy"]["value"] == pytest.approx(11 / 12)


def test_a_teacher_that_may_be_guessing_is_refused(teach, file_of, world):
    # Chance is 0.25, its standard error sqrt(0.25 * 0.75 / 12) = 0.125.
    done = teach("--teacher_name", file_of(7, "guess.jsonl"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: guess may be guessing: its accuracy 0.583 is below chance plus 3 standard errors,"
        " 0.625"
    )
    assert not (world / "mine" / "teachers" / "guess").exists()
    assert teach("--teacher_name", file_of(7, "guess.jsonl"), "--allow_chance").returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher_name", "videollav"], "unknown model 'videollav'"),
        (["--teacher_name", "dryrun"], "dryrun gives no log p of options"),
        (
            ["--teacher_name", "toyvl", "--load_in_4bit"],
            "--load_in_4bit goes with videollava and flamingo and chatunivl, not with toyvl",
        ),
        (
            ["--teacher_name", "videollava", "--attend", "all"],
            "--attend goes with flamingo, not with videollava",
        ),
        (
            ["--teacher_name", "toy@http://127.0.0.1:9/v1", "--by", "text"],
            "--by text: toy compares options by letter alone",
        ),
        (["--teacher_name", "none.jsonl"], "none.jsonl is not there"),
        (["--input_jsonl", "train.jsonl"], "--input_jsonl is of another program: here name the"),
        (["--teacher_name", "toyvl", "--split", "dev"], "no questions of the split 'dev'"),
    ],
)
def test_a_mistake_is_one_line(words, message, teach):
    done = teach(*words)
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


class Known:
    """A teacher that knows the first option by one way, and says so by the other."""

    name, batch_size, by, view, order_blind_below = "known", 2, ("text", "letter"), View(), 0


def table_of(dataset, by, rows):
    step = TeachStep(dataset, "train", Known(), by)
    step.writes[0].write(rows)
    return step


@pytest.mark.parametrize(
    ("right", "way"),
    [
        ({"text": 9, "letter": 5}, "text"),
        ({"text": 5, "letter": 9}, "letter"),
        ({"text": 6, "letter": 6}, "text"),
    ],
)
def test_auto_takes_what_is_right_more_often(right, way, questions, tmp_path):
    dataset = Dataset("mine", tmp_path / "mine")
    steps = {}
    for by, count in right.items():
        rows = []
        for place, question in enumerate(questions):
            own = (question.answer_index + (place >= count)) % 4
            values = [-4.0 * (n != own) for n in range(4)]
            judged = Judgement(question.id, letter_log_p=values)
            if by == "text":
                judged = Judgement(question.id, values, [1] * 4)
            rows.append(row_of(Judged(judged)))
        steps[by] = table_of(dataset, by, rows)
    assert better_way(steps, questions) == way
    steps["letter"] = table_of(
        dataset,
        "letter",
        [{"video_id": q.id, "filtered": True, "filter_reason": "x"} for q in questions],
    )
    assert better_way(steps, questions) == "text"
    hidden = [Question(q.id, "mine", "train", "?", choices=["a", "b"]) for q in questions]
    steps["letter"] = table_of(dataset, "letter", rows)
    with pytest.raises(UserError, match="--by auto compares accuracies"):
        better_way(steps, hidden)


def test_the_report_by_hand():
    questions = [
        Question(
            f"q{n}", "mine", "train", "?", f"v{n // 2}", choices=["a", "b"], answer_index=n % 2
        )
        for n in range(4)
    ]
    sure, half = [0.0, -100.0], [0.0, 0.0]
    judgements = {
        "q0": Judgement("q0", letter_log_p=sure),  # right
        "q1": Judgement("q1", letter_log_p=sure),  # wrong
        "q2": Judgement("q2", letter_log_p=half),  # the first of equal ones: right
        "q3": Judgement("q3", [-100.0, -2.0], [1, 2]),  # right
    }
    report = report_of(questions, judgements)
    assert report.accuracy.value == 0.75 and report.chance == 0.5
    assert report.standard_error == pytest.approx(0.25)
    assert report.least == pytest.approx(1.25) and report.is_at_chance
    assert report.entropy == pytest.approx(0.25)  # one of four is undecided
    # Three are sure, two of them right: |2 - 3|; one is half sure and right: |1 - 0.5|.
    assert report.ece == pytest.approx((1 + 0.5) / 4)
    assert report.chosen == [0.75, 0.25] and report.right == [0.5, 0.5]
    hidden = [Question("q0", "mine", "test", "?", choices=["a", "b"])]
    unknown = report_of(hidden, judgements)
    assert unknown.accuracy is None and not unknown.is_at_chance
    assert "its accuracy is not known" in next(unknown.lines())


def test_the_calibration_error_of_a_calibrated_teacher_is_small():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.2, 1, 20_000)
    right = rng.random(20_000) < confidence
    assert calibration_error(list(zip(confidence, right, strict=True))) < 0.02
    assert calibration_error([(0.9, False)] * 10) == pytest.approx(0.9)
