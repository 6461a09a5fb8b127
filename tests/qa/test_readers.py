"""Every benchmark's published layout, and what is wrong in its files."""

import csv

import orjson
import pytest

from qa.records import read_questions
from tools.store.dataset import Dataset

NEXTQA = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")


@pytest.fixture
def folder(tmp_path):
    """The folder of videos."""
    return tmp_path / "videos"


@pytest.fixture
def read(tmp_path, folder, run_script):
    """Run qa.read on rows; gives (questions by id, rejected rows, what was printed)."""

    def run(benchmark, rows, *flags, name="rows.json", videos=(), dataset="mine", split="val"):
        file = rows if hasattr(rows, "parts") else write(tmp_path / name, rows)
        folder.mkdir(exist_ok=True)
        for video in videos:
            (folder / video).parent.mkdir(parents=True, exist_ok=True)
            (folder / video).touch()
        words = ["-m", "qa.read", benchmark, "--file", file, "--dataset", dataset]
        words += ["--split", split, "--data_root", tmp_path / "data", *flags]
        words += [] if "--video_dir" in flags or not videos else ["--video_dir", folder]
        process = run_script(*words)
        if process.returncode:
            return process.stderr
        data = Dataset(dataset, tmp_path / "data" / dataset)
        path = data.rejected_questions(split)
        lines = path.read_bytes().splitlines() if path.exists() else []
        questions = {question.id: question for question in read_questions(data, split)}
        return questions, [orjson.loads(line) for line in lines], process.stdout

    return run


def write(path, rows):
    """Write rows as the file's ending says; a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str):
        path.write_text(rows)
    elif path.suffix == ".csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    else:
        path.write_bytes(orjson.dumps(rows))
    return path


def reasons(rejected):
    """(id or None, reason) of each rejected row."""
    return [(row["id"], row["reason"]) for row in rejected]


def nextqa(video, qid, answer, options, kind="CW"):
    """A row of NExT-QA's csv file."""
    row = dict(
        zip(NEXTQA, (video, 600, 640, 480, "why did she smile", answer, qid, kind), strict=True)
    )
    return row | {f"a{number}": option for number, option in enumerate(options)}


FIVE = ["happy", "a dog", "no", "tired", "wave"]


def test_nextqa(read, tmp_path):
    rows = [nextqa("0123", 0, 2, FIVE), nextqa("77", 0, 4, FIVE, "TN"), nextqa("9", 1, 0, FIVE)]
    names = write(tmp_path / "map.json", {"0123": "1000/0123", "77": "1001/77", "9": "1002/9"})
    videos = ["1000/0123.mp4", "1001/77.mp4", "1002/9.mp4"]
    questions, rejected, _ = read("nextqa", rows, "--map", names, name="val.csv", videos=videos)
    assert rejected == [] and sorted(questions) == ["0123/0", "77/0", "9/1"]
    question = questions["0123/0"]
    assert question.video == "1000/0123.mp4" and question.video_id.startswith("mine_")
    assert question.question == "why did she smile" and question.choices == FIVE
    assert (question.answer, question.answer_index, question.type) == ("no", 2, "CW")
    assert (question.start, question.end, question.references) == (None, None, [])
    assert question.context == {"media": "video"}
    assert question.origin["file"] == "val.csv" and question.origin["line"] == 2
    assert len(question.origin["sha256"]) == 64


def test_nextqa_finds_videos_in_subfolders_without_the_map(read):
    rows = [nextqa("0123", 0, 2, FIVE)]
    questions, _, _ = read("nextqa", rows, name="val.csv", videos=["1000/0123.mp4"])
    assert questions["0123/0"].video == "1000/0123.mp4"


def test_nextqa_rejects_equal_empty_and_absent_options_and_missing_videos(read):
    rows = [
        nextqa("1", 0, 0, ["happy", "a dog", "Happy", "tired", "wave"]),
        nextqa("1", 1, 0, ["happy", "a dog", "happy.", "tired", "wave"]),
        nextqa("1", 2, 0, ["happy", "", "sad", "tired", "wave"]),
        nextqa("1", 3, 5, FIVE),
        nextqa("2", 4, 1, FIVE),
    ]
    questions, rejected, printed = read("nextqa", rows, name="val.csv", videos=["1.mp4"])
    assert list(questions) == ["1/0"]  # letters count
    assert reasons(rejected) == [
        ("1/1", "equal_options"),
        ("1/2", "empty_option"),
        ("1/3", "answer_not_an_option"),
        ("2/4", "missing_video"),
    ]
    assert rejected[0]["origin"]["line"] == 3
    numbers = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert numbers == ["5", "-1", "-1", "-1", "-1", "1"]


def test_an_id_that_comes_twice_is_refused_with_both_places(read):
    error = read("nextqa", [nextqa("1", 0, 2, FIVE)] * 2, name="val.csv", videos=["1.mp4"])
    assert "two questions have the id '1/0'" in error
    assert "'line': 2" in error and "'line': 3" in error and "Traceback" not in error


def test_next_oe(read, tmp_path):
    rows = [
        dict(zip(NEXTQA, ("5", 1, 1, 1, "is he old", "no", 4, "DB"), strict=True)),
        dict(zip(NEXTQA, ("5", 1, 1, 1, "where is it", "home", 5, "DL"), strict=True)),
    ]
    more = write(tmp_path / "add.json", {"5": {"5": "house "}})
    questions, _, _ = read("nextqa", rows, "--answers", more, name="test.csv", videos=["5.mp4"])
    assert questions["5/4"].choices is None and questions["5/4"].answer_index is None
    assert (questions["5/4"].answer, questions["5/4"].references) == ("no", [])
    assert questions["5/5"].references == ["house"]
    rows = [
        rows[0] | {"additional_ref_answer": ""},
        rows[1] | {"additional_ref_answer": "house"},
    ]
    questions, _, _ = read("nextqa", rows, name="test.csv", videos=["5.mp4"])
    assert [questions[key].references for key in ("5/4", "5/5")] == [[], ["house"]]


def star(number, answer, start=1.0, end=2.0, **other):
    """A row of STAR, its options not in the order of their ids."""
    options = [(3, "The door."), (0, "The cup."), (2, "The bag."), (1, "The box.")]
    row = {
        "question_id": f"Interaction_T1_{number}",
        "question": "Which object was opened?",
        "video_id": "6H78U",
        "start": start,
        "end": end,
        "choices": [{"choice_id": key, "choice": text} for key, text in options],
        "answer": answer,
    }
    return row | other


def test_star(read, folder, make_video):
    make_video(folder / "Charades" / "6H78U.mp4", [("beach", 60)])  # 5 seconds
    rows = [
        star(0, "The box."),
        star(1, " The bag "),
        star(2, "The lamp."),
        star(3, "The cup.", 2.0, 2.0),
        star(4, "The cup.", 4.0, 5.4),
        star(5, "The cup.", 4.0, 99.0),
    ]
    rows[3]["start"], rows[3]["end"] = 2.0, 2.0
    questions, rejected, printed = read("star", rows, "--video_dir", folder)
    question = questions["Interaction_T1_0"]
    assert question.choices == ["The cup.", "The box.", "The bag.", "The door."]
    assert (question.answer, question.answer_index, question.type) == ("The box.", 1, "Interaction")
    assert (question.start, question.end) == (1.0, 2.0)
    assert questions["Interaction_T1_1"].answer_index == 2
    assert questions["Interaction_T1_4"].end == 5.0  # times are rounded in part
    assert "cut to its length: 1 questions" in printed
    assert reasons(rejected) == [
        ("Interaction_T1_2", "answer_not_an_option"),
        ("Interaction_T1_3", "impossible_span"),
        ("Interaction_T1_5", "span_beyond_video"),
    ]


def test_star_rejects_options_that_differ_by_a_full_stop_alone(read):
    row = star(0, "The box.")
    row["choices"][0]["choice"] = "The box"
    row["choices"].append({"choice_id": 4, "choice": "The lamp."})
    _, rejected, _ = read("star", [star(1, "The cup."), row], "--whole", videos=["6H78U.mp4"])
    assert reasons(rejected) == [("Interaction_T1_0", "equal_options")]


def test_hidden_labels_have_no_answer(read):
    row = star(0, None)
    del row["answer"]
    questions, rejected, printed = read("star", [row], "--whole", videos=["6H78U.mp4"])
    question = questions["Interaction_T1_0"]
    assert (question.answer, question.answer_index, rejected) == (None, None, [])
    assert (question.start, question.end) == (None, None)  # --whole
    assert "labels are hidden: 1 questions" in printed


def test_a_video_that_cannot_be_opened_is_a_reason_where_its_length_counts(read):
    error = read("star", [star(0, "The cup.")], videos=["6H78U.mp4"])
    assert "no question is left of 1: 1 unreadable_video (6H78U.mp4: empty file: 0 bytes)" in error


def tvqa(qid, times, clip="friends_s01e01_seg02_clip_00", **other):
    """A row of TVQA."""
    row = {"qid": qid, "q": "Who laughs ?", "ts": times, "vid_name": clip, "show_name": "Friends"}
    row |= {f"a{number}": f"{name} " for number, name in enumerate("ABCDE")}
    return row | {"answer_idx": 3} | other


SUBTITLES = """1
00:00:01,000 --> 00:00:02,500
(Ross:) Hi.
I am here.

2
00:00:04,000 --> 00:00:06,000
(Caf\u00e9 owner:) Welcome!
"""


def test_tvqa_with_folders_of_pictures_and_subtitles(read, folder, tmp_path):
    clip, bang = "friends_s01e01_seg02_clip_00", "s01e01_seg02_clip_00"
    for path in (f"friends_frames/{clip}", f"bbt_frames/{bang}"):
        for number in range(1, 31):  # 10 seconds
            write(folder / path / f"{number:05}.jpg", "")
    write(tmp_path / "srt" / f"{clip}.srt", "").write_bytes(SUBTITLES.encode("iso-8859-1"))
    write(tmp_path / "srt" / f"{bang}.srt", SUBTITLES.replace("Welcome", "Sheldon"))
    rows = [
        tvqa(1, "2.4-4.1"),
        tvqa(2, "nan-nan"),
        tvqa(3, "2.5-4.0", clip=bang, show_name="The Big Bang Theory"),
        tvqa(4, "8.0-99.0"),
        tvqa(5, "2.4"),
        tvqa(6, "1.0-2.0", clip="castle_s01e01_seg02_clip_00"),
    ]
    del rows[2]["answer_idx"]
    flags = ["--subtitles", tmp_path / "srt", "--video_dir", folder]
    questions, rejected, printed = read("tvqa", rows, *flags, name="tvqa_val.jsonl")
    first = questions["1"]
    assert (first.choices, first.answer, first.type) == (list("ABCDE"), "D", "Friends")
    assert (first.start, first.end) == (2.4, 4.1)
    assert (first.video, first.context["media"]) == (f"friends_frames/{clip}", "frames")
    assert first.context["frames"] == {"fps": 3, "first": 1}
    assert first.context["subtitles"] == [
        [1.0, 2.5, "(Ross:) Hi. I am here."],
        [4.0, 6.0, "(Caf\u00e9 owner:) Welcome!"],
    ]
    assert (questions["2"].start, questions["2"].end) == (None, None)
    assert len(questions["2"].context["subtitles"]) == 2
    assert "the whole clip is asked about: 1 questions" in printed
    assert questions["3"].video == f"bbt_frames/{bang}"
    assert questions["3"].answer_index is None
    assert questions["3"].context["subtitles"] == []
    assert reasons(rejected) == [
        ("4", "span_beyond_video"),
        (None, "unreadable_field"),
        ("6", "missing_video"),
    ]


def egoschema(uid, **other):
    """A row of EgoSchema."""
    options = {f"option {number}": f"C cooks {number}" for number in range(5)}
    row = {"q_uid": uid, "google_drive_id": "x", "question": "What is C doing?"}
    return row | options | other


def test_egoschema(read, tmp_path):
    rows = [egoschema("aa"), egoschema("bb"), egoschema("cc")]
    del rows[2]["question"]  # 20 rows of an early revision
    questions, rejected, printed = read("egoschema", rows, videos=["aa.mp4", "bb.mp4", "cc.mp4"])
    assert sorted(questions) == ["aa", "bb"] and questions["aa"].answer_index is None
    assert "labels are hidden: 2 questions" in printed
    assert [(row["reason"], row["origin"]["place"]) for row in rejected] == [("missing_field", 2)]
    answers = write(tmp_path / "subset_answers.json", {"bb": 4})
    questions, rejected, _ = read("egoschema", rows[:2], "--answers", answers)
    assert (questions["bb"].answer_index, questions["bb"].answer) == (4, "C cooks 4")
    assert [row["reason"] for row in rejected] == ["no_answer"]


def test_egoschema_in_the_videos_of_ego4d_and_as_csv(read, folder, tmp_path, make_video):
    make_video(folder / "full.mp4", [("beach", 60)])
    part = {"video_uid": "full", "starting_sec": 1.0, "ending_sec": 4.0}
    names = write(tmp_path / "uid_to_ego4d.json", {"aa": part})
    questions, _, _ = read("egoschema", [egoschema("aa")], "--map", names, "--video_dir", folder)
    question = questions["aa"]
    assert (question.video, question.start, question.end) == ("full.mp4", 1.0, 4.0)
    row = {"uid": "aa", "question": "what", **{f"a{n}": "uvwxy"[n] for n in range(5)}}
    questions, _, _ = read("egoschema", [row | {"answer": 3}], name="val.csv", videos=["aa.mp4"])
    assert questions["aa"].answer == "x"


def mvbench(video, answer="the cup", **other):
    """A row of MVBench."""
    candidates = ["The door", "the cup", "the box."]
    return {"video": video, "question": "What?", "candidates": candidates, "answer": answer} | other


def test_mvbench_takes_a_folder_and_keeps_the_folder_of_a_video(read, tmp_path, folder):
    """video_10142.mp4 is in two folders, and Episodic Reasoning shows pictures."""
    tasks = {
        "moving_count": [mvbench("video_10142.mp4"), mvbench("video_1.mp4", "the lamp")],
        "object_shuffle": [mvbench("video_10142.mp4", "the box")],
        "action_antonym_20250131": [mvbench("9.webm", "THE CUP")],
        "fine_grained_pose": [mvbench("S001.avi")],
        "episodic_reasoning": [
            mvbench("friends_frames/friends_s01", start=0, end=2.5),
            mvbench("friends_frames/friends_s01", start=3.0, end=20.0),
        ],
    }
    for name, rows in tasks.items():
        write(tmp_path / "json" / f"{name}.json", rows)
    for number in range(1, 10):
        path = f"data0613/tvqa/frames_fps3_hq/friends_frames/friends_s01/{number:05}.jpg"
        write(folder / path, "")
    videos = ["clevrer/video_validation/video_10142.mp4", "perception/videos/video_10142.mp4"]
    videos += ["clevrer/video_validation/video_1.mp4", "ssv2_video/9.webm"]
    questions, rejected, _ = read("mvbench", tmp_path / "json", videos=videos, split="test")
    assert {key: question.video for key, question in questions.items()} == {
        "moving_count/0": "clevrer/video_validation/video_10142.mp4",
        "object_shuffle/0": "perception/videos/video_10142.mp4",
        "episodic_reasoning/0": "data0613/tvqa/frames_fps3_hq/friends_frames/friends_s01",
    }
    assert questions["object_shuffle/0"].answer == "the box."  # as the option is written
    assert questions["episodic_reasoning/0"].context["frames"] == {"fps": 3, "first": 1}
    assert questions["moving_count/0"].type == "moving_count"
    digests = {question.origin["sha256"] for question in questions.values()}
    assert len(digests) == 3  # each file's own
    assert reasons(rejected) == [
        ("action_antonym/0", "answer_not_an_option"),
        ("episodic_reasoning/1", "span_beyond_video"),
        ("fine_grained_pose/0", "missing_video"),  # withdrawn
        ("moving_count/1", "answer_not_an_option"),
    ]


def test_mvbench_refuses_a_file_of_another_name(read):
    assert "is none of MVBench's files: action_antonym" in read("mvbench", [mvbench("1.mp4")])


def test_cater(read):
    row = {"id": "q1", "dataset": "toy", "question": "what", "choices": list("vwxyz")}
    row |= {"answer_idx": 4, "event_prompts": ["a"], "frame_prompts": ["b"]}
    row |= {"teacher_embedding": [0.1, 0.2], "teacher_hard_idx": 0}
    filmed = row | {"id": "q2", "frame_paths": ["data/frames/video7/0.jpg"]}
    questions, _, printed = read("cater", [row, filmed], name="train.jsonl", videos=["video7.mp4"])
    assert questions["q1"].context == {
        "event_prompts": ["a"],
        "frame_prompts": ["b"],
        "teacher_hard_idx": 0,
        "media": "text",
    }
    assert questions["q1"].answer == "z" and questions["q1"].video_id is None
    assert questions["q2"].video == "video7.mp4"
    assert "a teacher's vector stays in the file: 2 questions" in printed


def test_msrvttqa_and_msvdqa(read, tmp_path):
    row = {"id": 158581, "video_id": 6513, "question": "what is a man doing?", "answer": "talk"}
    questions, _, _ = read("msrvttqa", [row | {"category_id": 14}], videos=["v/video6513.mp4"])
    question = questions["158581"]
    assert (question.video, question.answer, question.choices) == ("v/video6513.mp4", "talk", None)
    names = write(tmp_path / "youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid1\n\nab_1_2 vid2\n")
    rows = [row | {"video_id": 1}, row | {"id": 7, "video_id": 2}]
    videos = ["-4wsuPCjDBc_5_15.avi", "vid2.avi"]
    questions, _, _ = read("msvdqa", rows, "--map", names, videos=videos, dataset="msvd")
    assert [questions[key].video for key in ("158581", "7")] == videos


def activitynet(*ids):
    """Questions and answers as ActivityNet-QA lists them."""
    asked = [
        {"video_name": f"n{i}", "question": f"is it {i}", "question_id": f"n{i}_0"} for i in ids
    ]
    answers = [{"answer": f"yes {i}", "type": i, "question_id": f"n{i}_0"} for i in ids]
    return asked, answers


VIDEOS = ["v_n0.mp4", "v_n1.mkv", "v_n2.webm"]


def answers_by_id(questions):
    return {key: question.answer for key, question in questions.items()}


def test_activitynetqa_joins_answers_by_id_whatever_their_order(read, tmp_path):
    asked, answers = activitynet(0, 1, 2)
    file = write(tmp_path / "a.json", answers[::-1])
    questions, _, _ = read("activitynetqa", asked, "--answers", file, videos=VIDEOS)
    assert answers_by_id(questions) == {"n0_0": "yes 0", "n1_0": "yes 1", "n2_0": "yes 2"}
    assert questions["n2_0"].type == "2" and questions["n2_0"].video == "v_n2.webm"
    file = write(tmp_path / "a.json", answers[1:])
    _, rejected, _ = read("activitynetqa", asked, "--answers", file)
    assert reasons(rejected) == [(None, "no_answer")]


def test_chunks_of_questions_have_the_answers_that_the_whole_has(read, tmp_path):
    """The public scripts cut the questions into chunks, and not the answers."""
    asked, answers = activitynet(0, 1, 2)
    file = write(tmp_path / "a.json", answers)
    chunks = {}
    for number, chunk in enumerate((asked[:2], asked[2:])):
        split, flags = f"chunk{number}", ["--answers", file]
        questions, _, _ = read("activitynetqa", chunk, *flags, videos=VIDEOS, split=split)
        chunks |= answers_by_id(questions)
    whole, _, _ = read("activitynetqa", asked, "--answers", file)
    assert chunks == answers_by_id(whole)


def test_without_ids_equal_lengths_are_joined_by_position(read, tmp_path):
    asked, answers = activitynet(0, 1)
    for row in asked + answers:
        del row["question_id"]
    asked = [row | {"answer": None} for row in asked]
    file = write(tmp_path / "a.json", answers)
    questions, _, _ = read("activitynetqa", asked, "--answers", file, videos=VIDEOS)
    assert answers_by_id(questions) == {"n0/0": "yes 0", "n1/1": "yes 1"}
    error = read("activitynetqa", asked[:1], "--answers", file)
    assert "has 1 rows" in error and "2: without question_id in both" in error


def test_lists_of_chat_univi_have_ids_by_position(read):
    row = {"question": "is it", "video_name": "n0", "answer": "no"}
    questions, _, _ = read("activitynetqa", [row, row], name="activitynet_qa.json", videos=VIDEOS)
    assert answers_by_id(questions) == {"n0/0": "no", "n0/1": "no"}


def test_tgifqa(read):
    head = "gif_name\tquestion\ta1\ta2\ta3\ta4\ta5\tanswer\tvid_id\tkey\n"
    text = head + "tumblr_1\twhat\tnod\twave\tjump\tsit\trun\t3\tACTION1\t0\n"
    flags, name = ["--more_extensions", "gif"], "Test_action_question.csv"
    questions, _, _ = read("tgifqa", text, *flags, name=name, videos=["tumblr_1.gif"])
    [question] = questions.values()
    assert (question.answer, question.answer_index, question.type) == ("sit", 3, "action")
    assert question.video == "tumblr_1.gif"
    text = "gif_name\tquestion\tanswer\ttype\tvid_id\tdescription\n"
    text += "tumblr_1\twhat colour\tred\t2\tFRAMEQA1\ta red car\n"
    questions, _, _ = read("tgifqa", text, *flags, name="Test_frameqa_question.csv")
    [question] = questions.values()
    assert (question.id, question.answer, question.type) == ("tumblr_1/2", "red", "2")


def test_videochatgpt(read):
    row = {"Q": "What?", "A": "A man cooks.", "video_name": "v_n0"}
    questions, _, _ = read("videochatgpt", [row], name="temporal_qa.json", videos=VIDEOS)
    assert questions["v_n0/0"].type == "temporal" and questions["v_n0/0"].answer == "A man cooks."
    row = {"Q1": "Is it?", "Q2": "What is it?", "A": "A cup.", "video_name": "v_n0"}
    questions, _, _ = read("videochatgpt", [row], name="consistency_qa.json")
    assert {key: question.question for key, question in questions.items()} == {
        "v_n0/0/1": "Is it?",
        "v_n0/0/2": "What is it?",
    }


def test_videoinstruct_as_a_list_and_as_an_object(read):
    row = {"q": "What is it?\n<video>", "a": "A cup.", "video_id": "v_n0"}
    questions, _, _ = read("videoinstruct", [row, row], videos=VIDEOS)
    assert sorted(questions) == ["v_n0/0", "v_n0/1"]
    assert questions["v_n0/0"].question == "What is it?"
    questions, _, _ = read("videoinstruct", {"0": row, "7": row})
    assert sorted(questions) == ["v_n0/0", "v_n0/7"]


def turns(*texts, first="human"):
    """A conversation in turns."""
    speakers = ["human", "gpt"] if first == "human" else ["gpt", "human"]
    return [{"from": speakers[i % 2], "value": text} for i, text in enumerate(texts)]


def test_llava(read, folder):
    write(folder / "llava_image_tune" / "x.jpg", "")
    rows = [
        {
            "id": "1",
            "image": "llava_image_tune/x.jpg",
            "conversations": turns("<image>\nWhat?", "It."),
        },
        {
            "id": "2",
            "video": "tune/v_n0.mp4",
            "conversations": turns("Q1 <video>", "A1", "Q2", "A2"),
        },
        {"id": "1", "model": "", "conversations": turns("Hi", "Hello")},
        {"id": "3", "conversations": turns("I begin.", "Q", "A", first="gpt")},
        {"id": "4", "conversations": turns("Q", "A", "Q")},
        {"id": "5", "image": "llava_image_tune/y.jpg", "conversations": turns("Q", "A")},
    ]
    videos = ["tune/v_n0.mkv"]
    questions, rejected, printed = read("llava", rows, videos=videos)
    image = questions["1/0"]  # ids repeat where files were merged
    assert (image.question, image.answer) == ("What?", "It.")
    assert (image.video, image.context) == ("llava_image_tune/x.jpg", {"media": "image"})
    video = questions["2"]
    assert (video.video, video.question, video.answer) == ("tune/v_n0.mkv", "Q2", "A2")
    assert video.context["conversation"] == [["human", "Q1"], ["gpt", "A1"]]
    assert (questions["1/2"].video, questions["1/2"].context) == (None, {"media": "text"})
    assert (questions["3"].question, questions["3"].context) == ("Q", {"media": "text"})
    assert "before the first question was dropped: 1 questions" in printed
    assert reasons(rejected) == [(None, "unreadable_field"), ("5", "missing_video")]


def test_textvid_has_no_videos(read):
    asked = {"question": "what", "options": list("vwxyz"), "answer": "C"}
    rows = [
        {
            "idx": 12,
            "frames": [{"caption": "a room", "cup": "red"}],
            "global_video_caption": "A room.",
            "QAs": [asked | {"answer_open_ended": "It is x."}, asked | {"answer": "F"}],
        },
        {"idx": 13, "frames": [], "global_video_caption": "", "QAs": []},
    ]
    questions, rejected, _ = read("textvid", rows, split="train")
    question = questions["12/0"]
    assert (question.answer, question.answer_index, question.references) == ("x", 2, ["It is x."])
    assert (question.video, question.video_id, question.unit) == (None, "12", "12")
    assert question.context == {
        "media": "text",
        "text_frames": [{"caption": "a room", "cup": "red"}],
        "text_caption": "A room.",
    }
    assert [row["reason"] for row in rejected] == ["answer_not_an_option", "missing_field"]


def test_captions_of_msrvtt_and_vatex(read):
    file = {
        "videos": [
            {"video_id": "video0", "split": "train"},
            {"video_id": "video1", "split": "validate"},
            {"video_id": "video2", "split": "validate"},
        ],
        "sentences": [
            {"sen_id": 0, "video_id": "video1", "caption": "a man sings"},
            {"sen_id": 1, "video_id": "video0", "caption": "a dog"},
            {"sen_id": 2, "video_id": "video1", "caption": "someone sings"},
        ],
    }
    videos = ["video0.mp4", "video1.mp4", "video2.mp4"]
    questions, rejected, _ = read("msrvtt", file, videos=videos)
    question = questions["video1"]
    assert (question.answer, question.references) == ("a man sings", ["someone sings"])
    assert question.choices is None and question.question.startswith("What happens")
    assert [row["reason"] for row in rejected] == ["other_split", "missing_field"]
    row = {"videoID": "ab_000010_000020", "enCap": ["a", "b"], "chCap": ["c"]}
    questions, _, _ = read("vatex", [row], videos=["ab_000010_000020.mp4"], dataset="vatex")
    assert questions["ab_000010_000020"].references == ["b"]


def test_rows_of_ones_own(read, folder, tmp_path, make_video):
    make_video(folder / "a.mp4", [("beach", 60)])
    for number in range(10):
        write(folder / "b" / f"{number}.png", "")
    rows = [
        {"video": "a.mp4", "question": "when", "choices": '["day", "night"]', "answer": "night",
         "start": "1", "end": "2.5", "type": "time", "references": '["at night"]'},
        {"video": "b", "media": "frames", "fps": "2", "first": "0", "question": "who",
         "start": "0", "end": "4"},
        {"question": "who"},
    ]  # fmt: skip
    columns = dict.fromkeys(name for row in rows for name in row)
    table = [dict.fromkeys(columns, "") | row for row in rows]
    questions, _, _ = read("own", table, "--video_dir", folder, name="mine.csv")
    first = questions["a.mp4/2"]
    assert (first.choices, first.answer_index, first.type) == (["day", "night"], 1, "time")
    assert (first.start, first.end, first.references) == (1.0, 2.5, ["at night"])
    assert questions["b/3"].context == {"frames": {"fps": 2.0, "first": 0}, "media": "frames"}
    assert questions["row/4"].context == {"media": "text"}
    row = {"id": "x", "video": "a", "question": "q", "a0": "u", "a1": "v", "answer_index": 1}
    row |= {"context": {"level": 3}}
    questions, _, _ = read("own", [row], name="mine.jsonl")
    assert (questions["x"].answer, questions["x"].context["level"]) == ("v", 3)


def test_rows_of_ones_own_that_cannot_be_read(read):
    rows = [
        {"question": "good"},
        {"question": "q", "choices": "day, night"},
        {"question": "q", "media": "sound"},
        {"question": "q", "media": "frames", "video": "v_n0"},
        {"question": " "},
        {"question": "q", "choices": ["one"]},
        {"question": "q", "video": "v_n0", "start": 1.0},
        {"question": "q", "video": "v_n0", "start": "soon", "end": 2.0},
    ]
    _, rejected, _ = read("own", rows, name="mine.jsonl", videos=VIDEOS)
    assert [row["reason"] for row in rejected] == [
        "unreadable_field",
        "unreadable_field",
        "missing_field",
        "empty_question",
        "too_few_options",
        "missing_field",
        "unreadable_field",
    ]


@pytest.mark.parametrize("benchmark", ["nextqa", "star", "tvqa", "egoschema", "mvbench", "msrvttqa",
    "msvdqa", "activitynetqa", "tgifqa", "videochatgpt", "videoinstruct", "llava", "textvid",
    "msrvtt", "vatex", "cater", "own"])  # fmt: skip
def test_an_unknown_layout_is_one_line(read, benchmark):
    name = "action_count.json" if benchmark == "mvbench" else "rows.json"
    error = read(benchmark, [{"page": 1, "text": "x"}], name=name)
    assert error.count("\n") == 1 and "the layout is not known as" in error


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.json", "[{", "is not JSON"),
        ("rows.jsonl", '{"question": "a"}\n[1]\n', "rows with named fields were expected"),
        ("rows.parquet", "PAR1", "is none of .csv .tsv .json .jsonl"),
        ("rows.csv", "question\n", "the layout is not known"),
    ],
)
def test_a_file_that_holds_no_rows_is_one_line(read, name, text, message):
    error = read("own", text, name=name)
    assert error.count("\n") == 1 and message in error
