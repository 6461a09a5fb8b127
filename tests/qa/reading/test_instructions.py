"""Instruction data, texts that stand for videos, and captions."""

VIDEOS = ["v_n0.mp4"]


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


def test_llava(read, folder, write, reasons):
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


def test_several_files_make_one_split(read, write, tmp_path, reasons):
    """As Video-LLaVA's images, videos and texts, whose ids may be the same."""
    videos = {"id": "1", "video": "v_n0.mp4", "conversations": turns("What moves?", "A cup.")}
    texts = [
        {"id": "1", "conversations": turns("Hi", "Hello")},
        {"id": "2", "conversations": turns("Q", "A", "Q")},
    ]
    first, second = write(tmp_path / "tune.json", [videos]), write(tmp_path / "nlp.json", texts)
    questions, rejected, printed = read("llava", first, "--file", first, second, videos=VIDEOS)
    assert {key: question.answer for key, question in questions.items()} == {
        "1": "A cup.",
        "nlp/1": "Hello",
    }
    assert questions["nlp/1"].origin["file"] == "nlp.json"
    assert reasons(rejected) == [(None, "unreadable_field")]
    assert f"3 rows read from {first}, {second}" in printed
    assert "its id is another file's too, and has its file before it: 1 questions" in printed
    refused = read("msvdqa", first, "--file", first, second, "--answers", first)
    assert "error: --answers belongs to one --file: read one file" in refused


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
            {"video_id": "video3"},
        ],
        "sentences": [
            {"sen_id": 0, "video_id": "video1", "caption": "a man sings"},
            {"sen_id": 1, "video_id": "video0", "caption": "a dog"},
            {"sen_id": 2, "video_id": "video1", "caption": "someone sings"},
            {"sen_id": 3, "video_id": "video3", "caption": "in no split"},
            {"sen_id": 4, "video_id": "video4", "caption": "not among the videos"},
        ],
    }
    videos = [f"video{number}.mp4" for number in range(5)]
    questions, rejected, _ = read("msrvtt", file, videos=videos)
    question = questions["video1"]
    assert (question.answer, question.references) == ("a man sings", ["someone sings"])
    assert question.choices is None and question.question.startswith("What happens")
    assert list(questions) == ["video1"]
    assert [row["reason"] for row in rejected] == ["other_split", *["missing_field"] * 3]
    del file["videos"][3]
    for video in file["videos"]:
        del video["split"]
    questions, _, _ = read("msrvtt", file)
    assert list(questions) == ["video0", "video1"]
    row = {"videoID": "ab_000010_000020", "enCap": ["a", "b"], "chCap": ["c"]}
    questions, _, _ = read("vatex", [row], videos=["ab_000010_000020.mp4"])
    assert questions["ab_000010_000020"].references == ["b"]
