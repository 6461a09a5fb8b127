"""evaluate_model.py judge, against a real server on loopback that answers well and badly."""

import json
import signal
import subprocess
import sys
import time

import pytest

from qa.judge.asking import known_cases
from qa.judge.verdicts import Verdict, read_verdict
from qa.predictions import Prediction, write_predictions
from qa.records import Question, write_questions
from tools.store.dataset import REPOSITORY
from tools.text.judging import FORMS, JudgePrompt

YES = '{"pred": "yes", "score": 5}'
NO = '{"pred": "no", "score": 0}'
TRIES_OVER = "after the third try"


class Server:
    """tests/inference/toy_server.py in a process of its own."""

    def __init__(self, folder, script, *flags):
        self.log = folder / "log.jsonl"
        (folder / "script.json").write_text(json.dumps(script))
        words = [REPOSITORY / "tests" / "inference" / "toy_server.py", self.log]
        words += ["--script", folder / "script.json", "--model", "toy-2026-01-01", *flags]
        self.process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True
        )
        self.url = f"toy@http://127.0.0.1:{int(self.process.stdout.readline())}/v1"

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def bodies(self):
        """What it was asked, without the requests that only try it."""
        bodies = [json.loads(line)["body"] for line in self.log.read_text().splitlines()]
        return [body for body in bodies if body["max_tokens"] > 32]

    def predictions(self):
        """The predictions that it was asked about, in the order in which they came."""
        texts = [body["messages"][1]["content"][0]["text"] for body in self.bodies()]
        return [text.partition("Predicted answer: ")[2].partition("\n")[0] for text in texts]


@pytest.fixture
def serve(tmp_path):
    """Start a server: `serve({text of the conversation: [replies]}, *flags)`."""
    started = []

    def start(script=None, *flags):
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(Server(folder, script or {}, *flags))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def question(number, answer="a dog", video=None, **others):
    video = video or f"video{number}"
    return Question(
        *(f"q{number}", "mine", "val", f"What is seen in number {number}?"),
        **{"video_id": video, "video": f"{video}.mp4", "answer": answer, **others},
    )


@pytest.fixture
def world(dataset, run_script, monkeypatch):
    """Questions and predictions of the dataset `mine`, and the command on them."""

    class World:
        root = dataset.root.parent

        def questions(self, *questions):
            write_questions(dataset.questions("val"), questions)

        def predict(self, name, texts, **meta):
            """Predictions {id: text}, of a model of this name."""
            path = dataset.predictions("val", name)
            rows = [Prediction(id_, text) for id_, text in texts.items()]
            write_predictions(path, rows, {"dataset": "mine", "split": "val", **meta})
            return path

        def command(self, path, server, *flags):
            judge = getattr(server, "url", server)
            where = ["--dataset", "mine", "--split", "val", "--data_root", self.root]
            return ["judge", "--predictions", path, "--judge", judge, *where, *flags]

        def judge(self, path, server, *flags):
            run = run_script("evaluate_model.py", *self.command(path, server, *flags))
            assert run.returncode == 0, run.stderr
            return run.stdout

        def refused(self, path, server, *flags):
            """The one line of an error."""
            run = run_script("evaluate_model.py", *self.command(path, server, *flags))
            assert run.returncode == 2
            (line,) = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
            return line

    return World()


def rows_of(path, judge="toy"):
    file = path.with_name(f"{path.stem}.judged-{judge}.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def verdicts_of(path):
    return {row["id"]: (row["verdict"], row["score"]) for row in rows_of(path)}


# What a reply says


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (YES, Verdict("yes", 5)),
        ("{'pred': 'no', 'score': 0}", Verdict("no", 0)),
        ('{"score": 3, "pred": "Yes"}', Verdict("yes", 3)),
        ('{"Pred": "YES.", "Score": "4"}', Verdict("yes", 4)),
        ('{"pred": "yes", "score": 4.8}', Verdict("yes", 5, rounded=True)),
        ('{"pred": "yes", "score": 2.5}', Verdict("yes", 3, rounded=True)),
        ('{"pred": "no", "score": "2.4"}', Verdict("no", 2, rounded=True)),
        ('```json\n{"pred": "yes", "score": 5}\n```', Verdict("yes", 5)),
        ("Here it is:\n```\n{'pred': 'no', 'score': 1}\n```\nDone.", Verdict("no", 1)),
        ("They match, so {'pred': 'yes', 'score': 4}. Good.", Verdict("yes", 4)),
        (
            '<think>{"pred": "no", "score": 0}?</think>{"pred": "yes", "score": 5}',
            Verdict("yes", 5),
        ),
        ("Yes.", Verdict("yes")),
        ("**no**", Verdict("no")),
    ],
)
def test_a_reply_that_can_be_read(reply, verdict):
    assert read_verdict(reply) == verdict


@pytest.mark.parametrize(
    ("reply", "verdict", "score", "fault"),
    [
        ("", None, None, "it is empty"),
        ("not yes", None, None, "it is no JSON object"),
        ("Yes, the two answers agree.", None, None, "it is no JSON object"),
        ('["yes", 5]', None, None, "it is no JSON object"),
        ('{"pred": "unknown", "score": 3}', None, 3, '"pred" is neither "yes" nor "no"'),
        ('{"pred": "not yes", "score": 3}', None, 3, '"pred" is neither "yes" nor "no"'),
        ('{"pred": true, "score": 3}', None, 3, '"pred" is neither "yes" nor "no"'),
        ('{"pred": "yes"}', "yes", None, '"score" is no whole number from 0 to 5'),
        ('{"pred": "yes", "score": 6}', "yes", None, '"score" is no whole number from 0 to 5'),
        ('{"pred": "yes", "score": -0.1}', "yes", None, '"score" is no whole number from 0 to 5'),
        ('{"pred": "yes", "score": "nan"}', "yes", None, '"score" is no whole number from 0 to 5'),
        ('{"pred": "no", "score": true}', "no", None, '"score" is no whole number from 0 to 5'),
        (f"{YES} or {NO}", None, None, "it holds several different dictionaries"),
    ],
)
def test_a_reply_that_is_asked_for_again(reply, verdict, score, fault):
    assert read_verdict(reply) == Verdict(verdict, score, fault=fault)


# A whole run

REPLIES = {
    "well": [YES],
    "late": [f"late {YES}"],
    "fenced": [f"```json\n{NO}\n```"],
    "in prose": ["I say {'pred': 'yes', 'score': 4} because they agree."],
    "float": ['{"pred": "yes", "score": 3.5}'],
    "word": ["No"],
    "nonsense": ["I like dogs.", "Dogs bark.", TRIES_OVER],
    "better": ["I like dogs.", YES],
    "no score": ['{"pred": "no"}', "I like dogs.", "I like cats."],
    "busy": ["429", NO],
    "broken": ["500", "503", YES],
    "dying": ["drop", YES],
    "blocked": ["400"],
}
IDS = {text: f"q{number}" for number, text in enumerate(REPLIES)}


def test_every_kind_of_reply(world, serve):
    world.questions(*(question(number) for number in range(len(REPLIES))))
    predictions = world.predict("mine", {id_: f"a {text} dog" for text, id_ in IDS.items()})
    server = serve({f"a {text} dog": replies for text, replies in REPLIES.items()})

    printed = world.judge(predictions, server)

    assert verdicts_of(predictions) == {
        IDS["well"]: ("yes", 5),
        IDS["late"]: ("yes", 5),
        IDS["fenced"]: ("no", 0),
        IDS["in prose"]: ("yes", 4),
        IDS["float"]: ("yes", 4),
        IDS["word"]: ("no", None),
        IDS["nonsense"]: (None, None),
        IDS["better"]: ("yes", 5),
        IDS["no score"]: ("no", None),
        IDS["busy"]: ("no", 0),
        IDS["broken"]: ("yes", 5),
        IDS["dying"]: ("yes", 5),
    }
    (row,) = [row for row in rows_of(predictions) if row["id"] == IDS["nonsense"]]
    assert row == {
        "id": IDS["nonsense"],
        "verdict": None,
        "score": None,
        "raw": TRIES_OVER,
        "finish_reason": "stop",
        "model": "toy-2026-01-01",
        "prompt": JudgePrompt().digest,
        "sha1": row["sha1"],
    }
    # 7 of 11 that were read, 7 of 13 asked about; scores 5 5 0 4 4 5 0 5 5.
    assert "accuracy, yes / (yes + no)     0.636 [" in printed
    assert "accuracy of all (null: wrong)  0.538 [" in printed
    assert "mean score, 0 to 5             3.667 [" in printed
    assert "null verdicts                  0.154 [" in printed
    assert "exactly the answer             0.000 [" in printed
    assert "contains the answer            1.000 [" in printed
    assert "mean length, words             3.154 [" in printed
    assert "2 of 13 verdicts (15.4%) are null, so the two accuracies differ" in printed
    assert "the server refused 1 requests (first: HTTP 400: " in printed
    assert "1 scores were no whole numbers and were rounded half up" in printed


def test_a_judge_hears_what_was_wrong_with_its_reply(world, serve):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a better dog"})
    server = serve({"a better dog": ["I like dogs.", '{"pred": "maybe", "score": 1}', YES]})
    world.judge(predictions, server)
    first, second, third = (body["messages"] for body in server.bodies())
    assert [turn["role"] for turn in third] == ["system", *["user", "assistant"] * 2, "user"]
    assert second[:2] == first and third[:4] == second
    assert third[2]["content"] == "I like dogs."
    assert "it is no JSON object" in third[3]["content"][0]["text"]
    assert '"pred" is neither "yes" nor "no"' in third[5]["content"][0]["text"]


@pytest.mark.parametrize("strict", [False, True])
def test_json_is_asked_for_where_the_server_takes_it(world, serve, strict):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    server = serve({}, "--say", YES, *(["--strict"] if strict else []))
    world.judge(predictions, server)
    (body,) = server.bodies()
    wanted = None if strict else {"type": "json_object"}
    assert body.get("response_format") == wanted
    assert (body["temperature"], body["seed"]) == (0, 0)


def test_further_accepted_answers_are_shown_to_the_judge(world, serve):
    world.questions(question(1, references=["a puppy"]))
    predictions = world.predict("mine", {"q1": "puppy"})
    server = serve({}, "--say", YES)
    assert "exactly the answer             1.000 [" in world.judge(predictions, server)
    assert "Correct answer: a dog or a puppy\n" in json.dumps(server.bodies()[0]).replace(
        "\\n", "\n"
    )


# What is judged already


def test_only_a_changed_prediction_is_asked_about_again(world, serve):
    world.questions(*(question(number) for number in range(4)))
    server = serve({"a cat": [NO]}, "--say", YES)
    predictions = world.predict("mine", dict.fromkeys(["q0", "q1", "q2", "q3"], "a dog"))
    world.judge(predictions, server)
    before = {row["id"]: row for row in rows_of(predictions)}
    assert len(server.bodies()) == 4

    world.predict("mine", {"q0": "a dog", "q1": "a cat", "q2": "a dog", "q3": "a dog"})
    printed = world.judge(predictions, server)
    assert "4 different answers, 3 of them judged already; 1 requests" in printed
    assert server.predictions()[4:] == ["a cat"]
    after = {row["id"]: row for row in rows_of(predictions)}
    assert (after["q1"]["verdict"], after["q1"]["sha1"]) == ("no", after["q1"]["sha1"])
    assert before["q1"] != after["q1"]
    assert all(before[id_] == after[id_] for id_ in ("q0", "q2", "q3"))


def test_the_same_answer_to_the_same_question_is_asked_about_once(world, serve):
    same = {"question": "Is it day?", "answer": "yes"}
    records = [question(n) for n in range(3)]
    world.questions(*(Question(**{**vars(record), **same}) for record in records))
    server = serve({}, "--say", YES)
    predictions = world.predict("mine", dict.fromkeys(["q0", "q1", "q2"], "yes"))
    world.judge(predictions, server)
    assert len(server.bodies()) == 1
    assert verdicts_of(predictions) == dict.fromkeys(["q0", "q1", "q2"], ("yes", 5))


def test_another_prompt_and_another_model_are_asked_and_the_rows_of_the_others_stay(
    world, serve, tmp_path
):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    first = serve({}, "--say", YES)
    world.judge(predictions, first)
    prompt = tmp_path / "prompt.yaml"
    prompt.write_text("user: 'Judge {prediction} against {answer}, asked {question}'\n")
    world.judge(predictions, first, "--prompt", prompt)
    (turn,) = first.bodies()[1]["messages"]
    text = "Judge a dog against a dog, asked What is seen in number 1?"
    assert turn == {"role": "user", "content": [{"type": "text", "text": text}]}
    second = serve({}, "--say", NO, "--model", "toy-2026-02-02")
    printed = world.judge(predictions, second)
    assert "judged by toy-2026-02-02 with the prompt" in printed
    assert "accuracy of all (null: wrong)  0.000 [" in printed
    kept = {(row["model"], row["prompt"]): row["verdict"] for row in rows_of(predictions)}
    assert len(kept) == 3 and sorted(kept.values()) == ["no", "yes", "yes"]
    # None is asked about again, whichever is wanted, and the last row is the wanted one.
    world.judge(predictions, first)
    assert rows_of(predictions)[-1]["verdict"] == "yes"
    world.judge(predictions, second)
    assert rows_of(predictions)[-1]["verdict"] == "no"
    assert (len(first.bodies()), len(second.bodies())) == (2, 1)


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(world, serve):
    number = 40
    world.questions(*(question(n) for n in range(number)))
    texts = {f"q{n}": f"dog {n}." for n in range(number)}
    script = {"dog 7.": ["I like dogs."], "dog 8.": ["I like dogs.", NO], "dog 9.": [NO]}
    unbroken = world.predict("unbroken", texts)
    world.judge(unbroken, serve(script, "--say", YES))
    expected = unbroken.with_name("unbroken.judged-toy.jsonl").read_bytes()

    predictions = world.predict("killed", texts)
    file = predictions.with_name("killed.judged-toy.jsonl")
    part = file.with_name(f"{file.name}.part")
    server = serve(script, "--say", YES, "--delay", "0.2")
    command = world.command(predictions, server, "--concurrency", 4)
    run = subprocess.Popen(
        [sys.executable, REPOSITORY / "evaluate_model.py", *map(str, command)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=REPOSITORY,
    )
    deadline = time.monotonic() + 60
    while not (part.exists() and part.read_bytes().count(b"\n") >= 12):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    with open(part, "ab") as torn:
        torn.write(b'{"id": "q3')
    done = part.read_bytes().count(b"\n")
    before = len(server.bodies())

    printed = world.judge(predictions, server)
    assert f"40 different answers, {done} of them judged already" in printed
    assert file.read_bytes() == expected
    assert not part.exists()
    # 2 more tries of "dog 7.", 1 of "dog 8.".
    assert len(server.bodies()) - before == number - done + 3


def test_a_server_that_stays_away_ends_the_run_and_keeps_what_is_judged(world, serve, monkeypatch):
    from inference.engines import server as engine

    monkeypatch.setattr(engine, "RETRIES", 1)
    world.questions(*(question(number) for number in range(3)))
    predictions = world.predict("mine", {"q0": "first", "q1": "second", "q2": "third"})
    server = serve({"second": ["503"]}, "--say", YES)
    line = world.refused(predictions, server, "--concurrency", 1)
    assert line.startswith("error: the judge toy leaves a request unanswered (HTTP 503: ")
    assert line.endswith("); what it has judged is kept, and the same command goes on")
    assert verdicts_of(predictions) == {"q0": ("yes", 5)}


def test_a_refused_request_is_asked_again_by_the_next_run(world, serve):
    world.questions(question(1), question(2))
    predictions = world.predict("mine", {"q1": "a dog", "q2": "a blocked dog"})
    server = serve({"a blocked dog": ["400", NO]}, "--say", YES)
    assert "refused 1 requests" in world.judge(predictions, server)
    assert "refused" not in world.judge(predictions, server)
    assert verdicts_of(predictions) == {"q1": ("yes", 5), "q2": ("no", 0)}


def test_a_reply_that_was_cut_off_is_asked_for_again_by_the_next_run(world, serve):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    server = serve({"a dog": ["length", "length", "length", YES]})
    assert "1 replies were cut off before a verdict" in world.judge(predictions, server)
    assert "0 of them judged already" in world.judge(predictions, server)
    assert verdicts_of(predictions) == {"q1": ("yes", 5)}


# What a judge is worth


def replies_to_known_cases(form_of_no_use=None):
    """{request about a built-in case: [the right reply]}."""
    prompt = JudgePrompt()
    script = {}
    for case in known_cases(prompt.forms):
        content = case.content
        values = (content.question, content.answer, content.prediction, case.form)
        text = prompt.messages(*values)[1]["content"][0]["text"]
        reply = NO if case.form == form_of_no_use else {"yes": YES, "no": NO}[case.verdict]
        script[text] = [reply]
    return script


def test_the_known_cases():
    cases = known_cases(forms=2)
    assert len(cases) == 80
    assert sum(case.verdict == "yes" for case in cases) == 2 * 19
    assert {case.kind for case in cases} == {
        *("identical", "paraphrase", "same yes or no", "same number", "opposite", "other number"),
        *("other colour", "other thing", "empty", "does not know", "question repeated"),
        "lists everything",
    }


def test_a_judge_that_knows_them_passes_in_both_orders(world, serve):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    server = serve(replies_to_known_cases(), "--say", YES)
    printed = world.judge(predictions, server, "--check")
    assert "; 81 requests of about" in printed
    assert "--check: agreement 100.0% (80 of 80)\n" in printed
    texts = [body["messages"][1]["content"][0]["text"] for body in server.bodies()]
    assert [sum(form in text for text in texts) for form in FORMS] == [41, 40]


def test_a_judge_that_always_says_yes_is_refused_before_it_costs_anything(world, serve):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    server = serve({}, "--say", YES)
    assert world.refused(predictions, server, "--check") == (
        "error: the judge agrees with 47.5% of the cases whose verdicts are known, and must with"
        " 90%: take another judge or prompt, or pass --anyway"
    )
    assert len(server.bodies()) == 80 and "a dog" not in server.predictions()

    printed = world.judge(predictions, server, "--check", "--anyway")
    assert "--check: agreement 47.5% (38 of 80)\n" in printed
    assert "  empty: 'what is the animal on the sofa', 'a puppy', '': yes, not no\n" in printed
    assert verdicts_of(predictions) == {"q1": ("yes", 5)}


def test_a_judge_that_knows_them_in_one_order_alone_is_refused(world, serve):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    server = serve(replies_to_known_cases(form_of_no_use=1), "--say", YES)
    assert "agrees with 76.2% of the cases" in world.refused(predictions, server, "--check")


def test_a_local_model_can_judge_and_toyvl_cannot(world):
    world.questions(question(1))
    predictions = world.predict("mine", {"q1": "a dog"})
    flags = ("--max_new_tokens", 4, "--device", "cpu")
    printed = world.judge(predictions, "toyvl", *flags)
    assert "accuracy of all (null: wrong)  0.000 [" in printed
    (row,) = rows_of(predictions, "toyvl")
    assert row["model"].startswith("toyvl ") and row["verdict"] is None


# Two models


def test_two_models_share_verdicts_and_are_compared_in_pairs(world, serve):
    kinds = ["animal"] * 5 + ["pet"] * 5
    world.questions(*(question(n, answer="dog", type=kind) for n, kind in enumerate(kinds)))
    # The judge likes the first model's paraphrases; `contains` likes the second one's lists.
    first = {f"q{n}": "dog" if n < 4 else f"hound {n}" for n in range(10)}
    second = {f"q{n}": "dog" if n < 4 else f"dog cat {n}" for n in range(10)}
    server = serve({"hound": [YES], "dog cat": [NO]}, "--say", YES)
    ours, theirs = world.predict("first", first), world.predict("second", second)
    printed = world.judge(ours, server, "--baseline", theirs)
    assert len(server.bodies()) == 16
    lines = {line.strip().partition("  ")[0]: line for line in printed.splitlines()}
    assert "1.000 [1.00, 1.00]" in lines["accuracy of all (null: wrong)"]
    assert "0.400 [0.10, 0.70]" in lines["accuracy of all (null: wrong)"]
    assert "+0.600 [+0.30, +0.90] !" in lines["accuracy of all (null: wrong)"]
    assert "-0.600 [-0.90, -0.30]" in lines["contains the answer"]
    assert "1.000 [1.00, 1.00]  0.800 [" in lines["accuracy of all: animal"]
    assert "1.000 [1.00, 1.00]  0.000 [" in lines["accuracy of all: pet"]
    assert "0.400 [" in lines["accuracy of all: mean of 2 types"]
    assert "the judge and `contains` rank the two models differently" in printed
    assert set(verdicts_of(theirs).values()) == {("yes", 5), ("no", 0)}


def test_a_difference_below_the_judges_own_noise_is_marked(world, serve):
    world.questions(*(question(n) for n in range(20)))
    script = {f"dog {n}.": [YES, NO] if n < 5 else [YES] for n in range(20)}
    server = serve({**script, "cat": [NO]})
    texts = {f"q{n}": f"dog {n}." for n in range(20)}
    ours, theirs = world.predict("a", texts), world.predict("b", {**texts, "q19": "cat"})
    printed = world.judge(ours, server, "--baseline", theirs, "--again", 100)
    assert "flip rate of 21 judged again" in printed
    assert "0.238 [0.11, 0.45]" in printed  # 5 of 21
    assert "+0.050 [+0.00, +0.15] ~" in printed
    assert "a difference smaller than the judge's own flip rate" in printed


# Before anything is asked


def test_the_cost_is_printed_first(world, serve):
    world.questions(question(1), question(2))
    predictions = world.predict("mine", {"q1": "a dog", "q2": "a cat"})
    printed = world.judge(predictions, serve({}, "--say", YES), "--again", 2)
    text = "".join(
        part["text"]
        for turn in JudgePrompt().messages("What is seen in number 1?", "a dog", "a dog")
        for part in turn["content"]
    )
    tokens = round(len(text) / 4)
    assert printed.startswith(
        "2 different answers, 0 of them judged already; 4 requests of about"
        f" {tokens} prompt and 20 answer tokens: 0.00 M tokens (an estimate)\n"
    )
    assert 150 < tokens < 450


PLAIN = {"q1": "a dog", "q2": "a cat"}


@pytest.mark.parametrize(
    ("texts", "meta", "flags", "line"),
    [
        ({**PLAIN, "q9": "x"}, {}, (), "1 of 3 ids are no questions of mine/val: 'q9'"),
        ({"q1": "a dog"}, {}, (), "lacks 1 of 2 questions of mine/val: 'q2'; --allow_missing"),
        (PLAIN, {"dataset": "other"}, (), "was made for the dataset 'other', not for 'mine'"),
        (PLAIN, {}, ("--prompt", "absent.yaml"), "absent.yaml cannot be read"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_no_request(
    world, serve, texts, meta, flags, line, tmp_path
):
    world.questions(question(1), question(2))
    server = serve({}, "--say", YES)
    assert line in world.refused(world.predict("mine", texts, **meta), server, *flags)
    assert not server.log.exists() or server.log.read_text() == ""


def test_missing_predictions_can_be_left_out(world, serve):
    world.questions(question(1), question(2))
    predictions = world.predict("mine", {"q1": "a dog"})
    printed = world.judge(predictions, serve({}, "--say", YES), "--allow_missing")
    assert "1 questions about 1 videos of mine/val" in printed


def test_choices_without_text_are_no_answers_to_judge(world, serve, dataset):
    world.questions(question(1, choices=["a dog", "a cat"], answer_index=0))
    path = dataset.predictions("val", "mine")
    write_predictions(path, [Prediction("q1", None, [-1.0, -2.0])], {})
    assert world.refused(path, serve()).endswith(
        "1 of 1 predictions have log p and no text, and a judge reads texts: evaluate_model.py qa"
        " scores them"
    )


def test_hidden_labels_cannot_be_judged(world, serve):
    world.questions(question(1), question(2, answer=None))
    line = world.refused(world.predict("mine", PLAIN), serve())
    assert line.startswith("error: the labels of 1 of 2 questions of mine/val are hidden: ")


def test_a_model_is_not_compared_with_itself(world, serve):
    world.questions(question(1), question(2))
    path = world.predict("mine", PLAIN)
    line = world.refused(path, serve(), "--baseline", path)
    assert line.endswith("is --predictions: name another model's file")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[]", "must have the key user, and may have the key system"),
        ("users: x", "must have the key user, and may have the key system"),
        ("user: '{question} {answer}'", "user lacks the placeholder {prediction}"),
        (
            "user: '{question} {answer} {prediction} {frames}'",
            "user has the placeholder {frames}, which nothing fills",
        ),
        (
            "user: '{question} {answer} {prediction}'\nsystem: '{form}'",
            "system has the placeholder {form}, which nothing fills",
        ),
    ],
)
def test_a_prompt_that_cannot_be_used(world, tmp_path, text, line):
    world.questions(question(1))
    prompt = tmp_path / "prompt.yaml"
    prompt.write_text(text)
    predictions = world.predict("mine", {"q1": "a dog"})
    assert world.refused(predictions, "toyvl", "--prompt", prompt).endswith(line)


def test_a_prediction_that_names_a_placeholder_is_left_as_it_is():
    (_, user) = JudgePrompt().messages("Q", "A", "{answer}")
    assert "Predicted answer: {answer}\n" in user["content"][0]["text"]


def test_of_a_letter_the_text_of_its_option_is_judged(world, serve):
    choices = ["a cat", "a dog"]
    world.questions(question(1, choices=choices, answer_index=1), question(2))
    predictions = world.predict("mine", {"q1": "(B)", "q2": "A dog."})
    server = serve({}, "--say", YES)
    world.judge(predictions, server)
    texts = [json.dumps(body) for body in server.bodies()]
    assert sum("a dog" in text and "(B)" not in text for text in texts) == 2


# A part of the videos


def test_a_limit_asks_about_the_drawn_videos_alone(world, serve):
    records = [question(n, video=f"v{n % 5}") for n in range(10)]
    world.questions(*records)
    predictions = world.predict("mine", {f"q{n}": f"dog {n}." for n in range(10)})
    server = serve({}, "--say", YES)
    printed = world.judge(predictions, server, "--limit", 2)
    assert "4 questions about 2 videos of mine/val" in printed
    assert len(server.bodies()) == 4

    # A file may hold the drawn questions alone.
    part = world.predict("part", {f"q{text[4:-1]}": text for text in server.predictions()})
    world.judge(part, server, "--limit", 2)
    line = world.refused(part, server, "--limit", 4)
    assert line.endswith(
        "lacks 4 of the 8 questions that --limit draws; --allow_missing judges the others"
    )
