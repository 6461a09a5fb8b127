"""NExT-QA, STAR, TVQA, EgoSchema, MVBench and CaTeR's rows, and what is wrong in their files."""

import pytest

NEXTQA = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")


def nextqa(video, qid, answer, options, kind="CW"):
    """A row of NExT-QA's csv file."""
    row = dict(
        zip(NEXTQA, (video, 600, 640, 480, "why did she smile", answer, qid, kind), strict=True)
    )
    return row | {f"a{number}": option for number, option in enumerate(options)}


FIVE = ["happy", "a dog", "no", "tired", "wave"]


def test_nextqa(read, tmp_path, write):
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


def test_nextqa_rejects_equal_empty_and_absent_options_and_missing_videos(read, reasons):
    rows = [
        nextqa("1", 0, 0, FIVE),
        nextqa("1", 5, 0, ["happy", "a dog", "Happy", "tired", "wave"]),
        nextqa("1", 6, "\u00b2", FIVE),
        nextqa("1", 1, 0, ["happy", "a dog", "happy.", "tired", "wave"]),
        nextqa("1", 2, 0, ["happy", "", "sad", "tired", "wave"]),
        nextqa("1", 3, 5, FIVE),
        nextqa("2", 4, 1, FIVE),
    ]
    questions, rejected, printed = read("nextqa", rows, name="val.csv", videos=["1.mp4"])
    assert list(questions) == ["1/0"]
    assert reasons(rejected) == [
        ("1/5", "equal_options"),
        ("1/6", "answer_not_an_option"),
        ("1/1", "equal_options"),
        ("1/2", "empty_option"),
        ("1/3", "answer_not_an_option"),
        ("2/4", "missing_video"),
    ]
    assert rejected[0]["origin"]["line"] == 3
    assert rejected[0]["detail"] == "'happy' comes 2 times"
    numbers = [line.split()[0] for line in printed.splitlines() if line.startswith("  ")]
    assert numbers == ["7", "-2", "-2", "-1", "-1", "1"]


def test_an_id_that_comes_twice_is_refused_with_both_places(read):
    error = read("nextqa", [nextqa("1", 0, 2, FIVE)] * 2, name="val.csv", videos=["1.mp4"])
    assert "two questions have the id '1/0'" in error
    assert "'line': 2" in error and "'line': 3" in error and "Traceback" not in error


def test_next_oe(read, tmp_path, write):
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


def test_star(read, folder, make_video, reasons):
    make_video(folder / "Charades" / "6H78U.mp4", [("beach", 60)])  # 5 seconds
    rows = [
        star(0, "The box."),
        star(1, " The bag "),
        star(2, "The lamp."),
        star(3, "The cup.", 2.0, 2.0),
        star(4, "The cup.", 4.0, 5.4),
        star(5, "The cup.", 4.0, 6.1),  # more than a second behind the end
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


def test_star_rejects_options_that_differ_by_a_full_stop_alone(read, reasons):
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


def test_tvqa_with_folders_of_pictures_and_subtitles(read, folder, tmp_path, write, reasons):
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
        tvqa(7, "1-inf"),
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
        (None, "unreadable_field"),
    ]


def egoschema(uid, **other):
    """A row of EgoSchema."""
    options = {f"option {number}": f"C cooks {number}" for number in range(5)}
    row = {"q_uid": uid, "google_drive_id": "x", "question": "What is C doing?"}
    return row | options | other


def test_egoschema(read, tmp_path, write):
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


def test_egoschema_in_the_videos_of_ego4d_and_as_csv(read, folder, tmp_path, make_video, write):
    make_video(folder / "full.mp4", [("beach", 60)])
    part = {"video_uid": "full", "starting_sec": 1.0, "ending_sec": 4.0}
    names = write(tmp_path / "uid_to_ego4d.json", {"aa": part})
    questions, _, _ = read("egoschema", [egoschema("aa")], "--map", names, "--video_dir", folder)
    question = questions["aa"]
    assert (question.video, question.start, question.end) == ("full.mp4", 1.0, 4.0)
    row = {"uid": "aa", "question": "what", **{f"a{n}": "uvwxy"[n] for n in range(5)}}
    questions, _, _ = read("egoschema", [row | {"answer": 3}], name="val.csv", videos=["aa.mp4"])
    assert questions["aa"].answer == "x"
    error = read("egoschema", [row | {"answer": "\u00b2"}], name="val.csv")
    assert "1 answer_not_an_option" in error and error.count("\n") == 1


def mvbench(video, answer="the cup", **other):
    """A row of MVBench."""
    candidates = ["The door", "the cup", "the box."]
    return {"video": video, "question": "What?", "candidates": candidates, "answer": answer} | other


def test_mvbench_keeps_the_folder_of_a_video(read, tmp_path, folder, write, reasons):
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


@pytest.mark.parametrize(
    ("names", "first"),
    [(("frame2.jpg", "frame1.jpg"), 1), (("0.jpg", "1.jpg"), 0), (("video7_09.png",), 9)],
)
def test_the_first_picture_of_a_cater_row_has_the_smallest_number(read, names, first):
    row = {"id": "q", "question": "what", "choices": ["a", "b"], "answer_idx": 0}
    row |= {"frame_paths": [f"data/frames/video7/{name}" for name in names]}
    questions, _, _ = read("cater", [row], videos=[f"video7/{n}" for n in names])
    assert questions["q"].context == {"media": "frames", "frames": {"fps": 1, "first": first}}


@pytest.mark.parametrize(
    ("benchmark", "flag", "content", "message"),
    [
        ("nextqa", "--map", {"1": {"video_uid": "x"}}, "1 unreadable_field (what goes with '1'"),
        ("nextqa", "--map", ["1"], "holds a list, where a JSON object was expected"),
        ("egoschema", "--map", {"aa": "x"}, "1 unreadable_field (what goes with 'aa' is 'x')"),
        ("egoschema", "--answers", {"aa": "x"}, "1 unreadable_field (what goes with 'aa' is 'x')"),
        ("egoschema", "--answers", {"aa": 7}, "1 answer_not_an_option (there is no option 7 of 5)"),
    ],
)
def test_a_file_beside_the_questions_that_is_another(
    read, write, tmp_path, benchmark, flag, content, message
):
    row = nextqa("1", 0, 2, FIVE) if benchmark == "nextqa" else egoschema("aa")
    other = write(tmp_path / "other.json", content)
    error = read(benchmark, [row], flag, other, videos=["1.mp4", "aa.mp4"])
    assert message in error and error.count("\n") == 1
