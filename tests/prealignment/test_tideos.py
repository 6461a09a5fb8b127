"""Text videos: answers as models write them, a server on loopback, the released file, templates."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import orjson
import pytest

from prealignment.texts.parsing import checked, entries, json_object, refers_to_options
from prealignment.texts.toy_tideos import toy_tideo
from tools.errors import Filtered
from toyworld.stories import plan_story

SERVER = Path(__file__).resolve().parents[1] / "inference" / "toy_server.py"
OPTIONS = ["he eats", "he washes", "he cuts", "he boils", "he sleeps"]


def written(frames=6, **question):
    """A text video as a model is asked to write it, whose one question has the answer B."""
    return {
        "frames": [
            {"caption": f"A cook does step {number}.", "objects": {"pan": "a black pan"}}
            for number in range(frames)
        ],
        "global_video_caption": "A cook fries an egg.",
        "QAs": [
            {
                "question": "What comes last?",
                "options": OPTIONS,
                "answer": "B",
                "answer_open_ended": "He washes.",
            }
            | question
        ],
    }


def changed(**fields):
    return json.dumps(written() | fields)


GOOD = json.dumps(written(), indent=1)
BAD_QUESTION = {"question": "Who?", "options": ["a cook", "a dog"], "answer": "A"}
LISTED = [
    {"caption": f"Step {n}.", "objects": [{"name": "pan", "description": "black"}, "an egg"]}
    for n in range(6)
]
# Answer -> the right option that is read out of it, or the reason why it holds no text video.
ANSWERS = {
    "plain": (GOOD, "he washes"),
    "fenced": (f"Sure! Here it is:\n```json\n{GOOD}\n```\nHope {{it}} helps.", "he washes"),
    "fence not closed": (f"```\n{GOOD}", "he washes"),
    "thinking": (f"<think>{{maybe}} B, hmm</think>{GOOD}", "he washes"),
    "chatter": (f"Here is the video: {GOOD} Let me {{know}}!", "he washes"),
    "trailing commas": (GOOD.replace("]\n}", "],\n}").replace('"B",', '"B",,'), "he washes"),
    "dictionary of Python": (str(written()), "he washes"),
    "raw line break": (GOOD.replace("fries an", "fries\nan"), "he washes"),
    "quotes inside": (GOOD.replace("A cook fries an egg.", 'A "cook" fries.'), "he washes"),
    "answer as text": (json.dumps(written(answer="he cuts")), "he cuts"),
    "lettered options": (
        json.dumps(
            written(
                options=[f"({x}) {text}" for x, text in zip("ABCDE", OPTIONS, strict=True)],
                answer="(D) he boils",
            )
        ),
        "he boils",
    ),
    "one bad question": (changed(QAs=[*written()["QAs"], BAD_QUESTION]), "he washes"),
    "objects as list": (changed(frames=LISTED), "he washes"),
    "captions alone": (changed(frames=[f"Step {n}." for n in range(6)]), "he washes"),
    "last braces missing": (GOOD[:-3], "he washes"),
    "breaks off in the frames": (GOOD[:200], "too_few_frames"),
    "breaks off before the description": (GOOD[: GOOD.index("global")], "no_description"),
    "bad question alone": (changed(QAs=[BAD_QUESTION]), "no_question"),
    "equal options": (json.dumps(written(options=["he", "He", "a", "b", "c"])), "no_question"),
    "letter that is no option": (json.dumps(written(answer="F")), "no_question"),
    "two options": (json.dumps(written(options=OPTIONS[:2])), "no_question"),
    "three frames": (json.dumps(written(3)), "too_few_frames"),
    "sixteen frames": (json.dumps(written(16)), "too_many_frames"),
    "no description": (changed(global_video_caption=" "), "no_description"),
    "list": ("[1, 2]", "no_json"),
    "refusal": ("I cannot do that.", "no_json"),
    "empty": ("", "no_json"),
}


def right_option(tideo, number=0):
    question = tideo["QAs"][number]
    return question["options"]["ABCDE".index(question["answer"])]


@pytest.mark.parametrize("case", ANSWERS)
def test_what_is_read_out_of_an_answer(case):
    answer, expected = ANSWERS[case]
    if " " in expected:
        tideo, _ = checked(json_object(answer, "stop"), "v", 0)
        assert right_option(tideo) == expected
        assert sorted(tideo["QAs"][0]["options"]) == sorted(OPTIONS)
        assert 5 <= len(tideo["frames"]) <= 15
        assert len(tideo["QAs"]) == 1
    else:
        with pytest.raises(Filtered, match=rf"^{expected}$"):
            checked(json_object(answer, "stop"), "v", 0)


def test_an_answer_that_was_cut_off_is_never_repaired():
    with pytest.raises(Filtered, match=r"^cut_off$"):
        json_object(GOOD, "length")


def test_a_frame_is_a_flat_object_whatever_its_objects_are():
    frames = checked(json.loads(changed(frames=LISTED)), "v", 0)[0]["frames"]
    assert frames[0] == {"caption": "Step 0.", "pan": "black", "an egg": "an egg"}
    assert entries(frames[0]) == ["Step 0.", "pan: black", "an egg"]
    released = [{"frame_caption": f"Step {n}.", "pan": "a black pan"} for n in range(5)]
    frames = checked(written() | {"frames": released}, "v", 0)[0]["frames"]
    assert frames[4] == {"caption": "Step 4.", "pan": "a black pan"}


def test_questions_that_are_left_out_are_counted_by_reason():
    bad = [
        BAD_QUESTION,
        "What?",
        {"question": "?", "options": [*OPTIONS[:4], "HE EATS"], "answer": "A"},
        {"question": "?", "options": OPTIONS, "answer": "all"},
    ]
    _, dropped = checked(written() | {"QAs": written()["QAs"] + bad}, "v", 0)
    assert dropped == {"not_5_options": 1, "no_text": 1, "equal_options": 1, "no_right_option": 1}


def test_the_order_of_the_options_hangs_on_seed_video_and_number():
    three = written() | {"QAs": written()["QAs"] * 3}

    def orders(video_id, seed):
        return [question["options"] for question in checked(three, video_id, seed)[0]["QAs"]]

    assert orders("v", 0) == orders("v", 0)
    assert orders("v", 0) != orders("w", 0)
    assert orders("v", 0) != orders("v", 1)
    assert len({tuple(order) for order in orders("v", 0)}) == 3
    letters = Counter(checked(written(), f"v{n}", 0)[0]["QAs"][0]["answer"] for n in range(500))
    assert all(70 <= letters[letter] <= 130 for letter in "ABCDE")  # 100 each, s.d. 9


@pytest.mark.parametrize(
    ("option", "refers"),
    [
        ("all of the above", True),
        ("None of these.", True),
        ("both A and C", True),
        ("(A) and (B)", True),
        ("neither b nor d", True),
        ("A, B and C", True),
        ("(a), (b), or (c)", True),
        ("Both B & C", True),
        ("both options A and B", True),
        ("all the above", True),
        ("none of the choices", True),
        ("a hand and a small ball", False),
        ("she calls both dogs", False),
        ("a and another one", False),
        ("none", False),
        ("a, big and small", False),
        ("they all sit above", False),
    ],
)
def test_options_that_name_others_keep_their_places(option, refers):
    assert refers_to_options(["x", option]) == refers
    options = [*OPTIONS[:4], option]
    orders = [
        checked(written(options=options, answer="E"), f"v{n}", 0)[0]["QAs"][0]["options"]
        for n in range(5)
    ]
    assert all(order == options for order in orders) == refers


@pytest.fixture
def make(run_script, tmp_path):
    """Run the command on the data set `texts`; its records by their ids."""

    def run(*words, returns=0):
        where = ("--dataset", "texts", "--data_root", tmp_path)
        done = run_script("-m", "prealignment.tideos", *words, *where)
        assert done.returncode == returns, done.stderr
        return done

    run.path = tmp_path / "texts" / "anno" / "tideos.jsonl"
    run.records = lambda: [orjson.loads(line) for line in run.path.read_bytes().splitlines()]
    return run


@pytest.fixture
def server(tmp_path):
    """A server that answers to "subject <case>" as ANSWERS has it; "length" is cut off."""
    script = {f"subject {case}\n": [answer] for case, (answer, _) in ANSWERS.items()}
    (tmp_path / "script.json").write_text(json.dumps(script | {"subject long\n": ["length"]}))
    words = [SERVER, tmp_path / "log.jsonl", "--script", tmp_path / "script.json"]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    yield f"toy@http://127.0.0.1:{int(process.stdout.readline())}/v1"
    process.kill()
    process.wait()
    process.stdout.close()


def test_every_seed_ends_as_done_filtered_or_failed(make, server, tmp_path):
    seeds = tmp_path / "seeds.txt"
    lines = [f"subject {case}" for case in (*ANSWERS, "long")]
    seeds.write_text("\n".join([*lines, "", lines[0]]))
    run = make(seeds, 1, "--model", server)
    read = "tideos: 15 done, 1 filtered (cut_off), 2 filtered (no_description), 3 filtered (no_json"
    assert read in run.stdout
    assert "4 filtered (no_question), 2 filtered (too_few_frames)" in run.stdout
    assert "15 text videos with 15 questions, 1 left out (not_5_options)" in run.stdout
    [record] = [record for record in make.records() if record["seed_text"] == "subject fenced"]
    assert record["video_id"].startswith("subject-fenced-")
    assert record["kind"] == "subject"
    bodies = [
        json.loads(line)["body"] for line in (tmp_path / "log.jsonl").read_text().splitlines()
    ]
    asked = [body for body in bodies if "subject fenced" in json.dumps(body)]
    assert asked[0]["temperature"] == 0.9
    assert len({body["seed"] for body in bodies if "subject " in json.dumps(body)}) == len(lines)


def test_seeds_that_are_added_are_asked_and_the_others_stay(make, server, tmp_path):
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("subject plain\n")
    make(seeds, 1, "--model", server)
    before = make.path.read_bytes()
    seeds.write_text("title of a video\tsubject chatter\nsubject plain\n")
    make(seeds, 1, "--model", server)
    assert before in make.path.read_bytes()
    assert [record["kind"] for record in make.records()] == ["title of a video", "subject"]
    refused = make(seeds, 1, "--model", server, "--questions", 3, returns=2)
    assert "questions=5, this run has questions=3" in refused.stderr


def test_the_released_file_becomes_the_same_records(make, tmp_path):
    flat = [{"caption": f"Step {n}.", "pan": "a black pan"} for n in range(5)]
    rows = [{**written(), "idx": 7, "frames": flat}, {**written(3), "idx": "8"}]
    (tmp_path / "textvid.json").write_text(json.dumps(rows))
    run = make(2, "--import", tmp_path / "textvid.json")
    assert "tideos: 1 done, 1 filtered (too_few_frames)" in run.stdout
    record = make.records()[0]
    assert (record["video_id"], record["frames"]) == ("7", flat)
    assert record["QAs"][0]["answer_open_ended"] == "He washes."
    (tmp_path / "textvid.json").write_text(json.dumps([{"frames": flat}]))
    refused = make(2, "--import", tmp_path / "textvid.json", returns=2)
    assert refused.stderr.strip().endswith("the text at place 0 has no idx")


def test_toy_stories_tell_what_the_videos_of_their_seed_show(make):
    make(1, "--toyworld", 6, "--seed", 5)
    for number, record in enumerate(make.records()):
        events = [shot.event for shot in plan_story(5, number, 5 + number).shots]
        assert [frame["caption"] for frame in record["frames"]] == [e.text for e in events]
        assert len(record["QAs"]) == 5
        for place, question in enumerate(toy_tideo(5, number)["QAs"]):
            assert right_option(record, place) == question["answer_open_ended"]
    six = make.path.read_bytes()
    make(2, "--toyworld", 8, "--seed", 5)
    assert make.path.read_bytes().startswith(six)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((1,), "give one of: a file of seeds, --import FILE, --toyworld N"),
        (("seeds.txt", 1, "--toyworld", 3), "give one of"),
        (("no_such.txt", 1, "--model", "toy@http://127.0.0.1:1/v1"), "no_such.txt cannot be read"),
        ((1, "--import", "no_such.json"), "no_such.json cannot be read"),
    ],
)
def test_mistakes_are_one_line(make, words, message):
    error = make(*words, returns=2).stderr
    assert message in error
    assert error.count("\n") == 1


def test_dryrun_cannot_write_text_videos(make, tmp_path):
    (tmp_path / "seeds.txt").write_text("an egg\n")
    run = make(tmp_path / "seeds.txt", 1, "--model", "dryrun", returns=2)
    assert "--toyworld N needs no model" in run.stderr
