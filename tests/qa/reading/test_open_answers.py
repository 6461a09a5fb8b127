"""Open answers, in the data sets' own files and in lists of zero-shot evaluation."""


def test_msrvttqa_and_msvdqa(read, tmp_path, write):
    row = {"id": 158581, "video_id": 6513, "question": "what is a man doing?", "answer": "talk"}
    questions, _, _ = read("msrvttqa", [row | {"category_id": 14}], videos=["v/video6513.mp4"])
    question = questions["158581"]
    assert (question.video, question.answer, question.choices) == ("v/video6513.mp4", "talk", None)
    names = write(tmp_path / "youtube_mapping.txt", "-4wsuPCjDBc_5_15 vid1\n\nab_1_2 vid2\n")
    rows = [row | {"video_id": 1}, row | {"id": 7, "video_id": 2}]
    videos = ["-4wsuPCjDBc_5_15.avi", "vid2.avi"]
    questions, _, _ = read("msvdqa", rows, "--map", names, videos=videos)
    assert [questions[key].video for key in ("158581", "7")] == videos
    listed = {"video_name": "ab_1_2", "question": "who", "question_id": "q1", "answer": "man"}
    questions, _, _ = read("msvdqa", [listed], "--map", names)
    assert questions["q1"].video == "vid2.avi"


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


def test_activitynetqa_joins_answers_by_id_whatever_their_order(read, tmp_path, write, reasons):
    asked, answers = activitynet(0, 1, 2)
    file = write(tmp_path / "a.json", answers[::-1])
    questions, _, _ = read("activitynetqa", asked, "--answers", file, videos=VIDEOS)
    assert answers_by_id(questions) == {"n0_0": "yes 0", "n1_0": "yes 1", "n2_0": "yes 2"}
    assert questions["n2_0"].type == "2" and questions["n2_0"].video == "v_n2.webm"
    file = write(tmp_path / "a.json", answers[1:])
    _, rejected, _ = read("activitynetqa", asked, "--answers", file)
    assert reasons(rejected) == [(None, "no_answer")]
    file = write(tmp_path / "a.json", [*answers, answers[2] | {"answer": "no"}])
    error = read("activitynetqa", asked, "--answers", file)
    assert error == f"error: {file}: 1 question_id come twice\n"
    rows = [f"{row['question_id']},{row['answer']}" for row in answers]
    file = write(tmp_path / "a.csv", "\n".join(["question_id,answer", *rows[:2], f"{rows[2]},?"]))
    _, rejected, _ = read("activitynetqa", asked, "--answers", file)
    assert reasons(rejected) == [(None, "unreadable_field")]


def test_chunks_of_questions_have_the_answers_that_the_whole_has(read, tmp_path, write):
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


def test_without_ids_equal_lengths_are_joined_by_position(read, tmp_path, write):
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
