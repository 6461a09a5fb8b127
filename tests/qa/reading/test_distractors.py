"""Multiple choice out of open questions."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from qa.distractors import Kinds, with_choices
from qa.matching import normalise
from qa.records import Question


def asked(number, question, answer, video=None):
    """An open question."""
    video = video or f"v{number}"
    return Question(f"{number:04}", "mine", "val", question, video_id=video, answer=answer)


@pytest.mark.parametrize(
    ("question", "answer", "kind"),
    [
        ("how many people are there?", "two", "number"),
        ("how old is he", "young", "number"),
        ("what is on the shirt", "7", "number"),
        ("what color is the car?", "teal", "colour"),
        ("what is it", "red", "colour"),
        ("is it red", "no", "yes_no"),
        ("who sings?", "man", "who"),
        ("what is a man doing?", "talk", "verb"),
        ("what does the girl do", "jump", "verb"),
        ("what is a man playing?", "guitar", "noun"),
        ("how does he go down", "jump", "verb"),  # most questions with this answer ask for a verb
        ("what is someone holding", "man", "who"),
    ],
)
def test_the_kind_of_an_answer(question, answer, kind):
    pairs = [("what does it do", "jump"), ("who is it", "man"), ("what is it", "guitar")]
    assert Kinds(pairs).of(question, answer) == kind


def split():
    """Open questions of each kind, with frequent and rare answers."""
    nouns, verbs = [f"noun{i}" for i in range(30)], [f"verb{i}" for i in range(30)]
    rng = random.Random(0)
    questions = []
    for number in range(600):
        if number % 3 == 0:
            answer, question = nouns[min(rng.randrange(30), rng.randrange(30))], "what is it"
        elif number % 3 == 1:
            answer, question = verbs[min(rng.randrange(30), rng.randrange(30))], "what does it do"
        else:
            answer, question = rng.choice(["two", "three", "four", "five", "six"]), "how many"
        questions.append(asked(number, question, answer))
    return questions


def test_wrong_options_are_of_the_answers_kind():
    made, without = with_choices(split(), [], 5, seed=0)
    assert without == [] and len(made) == 600
    for question in made:
        assert len(set(question.choices)) == 5
        assert question.choices[question.answer_index] == question.answer
        kinds = {option.rstrip("0123456789") for option in question.choices}
        numbers = {"two", "three", "four", "five", "six"}
        assert kinds in ({"noun"}, {"verb"}) or kinds == numbers
    positions = Counter(question.answer_index for question in made)
    assert all(90 < positions[position] < 150 for position in range(5))


def test_options_depend_on_seed_and_id_alone():
    questions = split()
    made, _ = with_choices(questions, [], 5, seed=0)
    assert with_choices(questions[::-1], [], 5, seed=0)[0] == made[::-1]
    assert with_choices(questions, [], 5, seed=1)[0] != made


def guesses(questions, frequent):
    """Share of questions whose right option is the most frequent (rarest) right answer of all."""
    times = Counter(question.answer for question in questions)
    best = max if frequent else min
    hits = [best(q.choices, key=lambda option: times[option]) == q.answer for q in questions]
    return sum(hits) / len(hits)


def test_no_answer_gives_itself_away_by_its_frequency():
    """With wrong options drawn evenly from the answers, the most frequent would be right in .37."""
    nouns = [question for question in split() if question.question == "what is it"]
    many = [replace(question, id=f"{i}/{question.id}", video_id=f"{i}{question.id}")
            for i in range(10) for question in nouns]  # fmt: skip
    made, _ = with_choices(many, [], 5, seed=0)
    assert 0.17 < guesses(made, frequent=True) < 0.25
    assert 0.15 < guesses(made, frequent=False) < 0.23


def test_right_answers_outside_the_pool_do_not_stand_out():
    questions = split()
    pool = [(q.question, q.answer) for q in questions if not q.answer.endswith(("0", "1", "2"))]
    made, _ = with_choices(questions, pool, 5, seed=0)
    known = {answer for _, answer in pool}
    outside = Counter()
    for question in made:
        if question.question != "how many":
            for option in question.choices:
                outside[option == question.answer] += option not in known
    wrong_to_right = outside[False] / outside[True]
    assert outside[True] > 50
    assert 3.2 < wrong_to_right < 4.8  # four wrong options a right one


def test_another_right_answer_to_the_same_question_is_not_wrong():
    questions = [asked(i, "what is a man doing", f"verb{i}", video="v") for i in range(6)]
    questions.append(asked(7, "what is a man doing", "run", video="w"))
    made, without = with_choices(questions, [], 5, seed=0)
    by_id = {question.id: question for question in made}
    assert set(by_id["0000"].choices) == {"verb0", "run"}
    assert len(by_id["0007"].choices) == 5 and without == []


def test_equal_answers_in_other_spellings_are_no_wrong_options():
    """Neither equal to the right one, nor to each other; both where many draws are made and where
    all answers are looked at."""
    spellings = ["1", "one", "2", "two", "Two", "3", "three"]
    questions = [asked(i, "how many", answer) for i, answer in enumerate(spellings * 20)]
    questions += [asked(1000 + i, "is it", answer) for i, answer in enumerate(["Yes", "yes", "no"])]
    for count in (3, 5):
        made, without = with_choices(questions, [], count, seed=0)
        assert without == []
        for question in made:
            assert question.choices[question.answer_index] == question.answer
            same = [normalise(option) for option in question.choices]
            kinds = {"1", "2", "3"} if question.question == "how many" else {"yes", "no"}
            assert len(same) == len(set(same)) == len(kinds) and set(same) == kinds
    assert {option for question in made for option in question.choices} >= set(spellings)


def test_a_kind_with_few_answers_has_few_options():
    questions = [asked(0, "is it", "yes"), asked(1, "is it", "no"), asked(2, "who", "man")]
    made, without = with_choices(questions, [], 5, seed=0)
    assert [sorted(question.choices) for question in made] == [["no", "yes"]] * 2
    assert [question.id for question in without] == ["0002"]


def test_what_has_options_or_no_answer_stays_as_it_is():
    hidden = asked(0, "what is it", None)
    closed = replace(asked(1, "what is it", "a"), choices=["a", "b"], answer_index=0)
    assert with_choices([hidden, closed], [], 5, seed=0) == ([hidden, closed], [])


def test_choices_on_the_command_line(read, write, tmp_path):
    rows = [{"id": i, "video_id": 1, "question": "what is it", "answer": f"a{i}"} for i in range(3)]
    rows.append({"id": 9, "video_id": 1, "question": "how many", "answer": "two"})
    pool = [row | {"answer": f"b{row['id']}", "video_id": 99} for row in rows[:3]]
    flags = ["--choices", 3, "--pool", write(tmp_path / "train_qa.json", pool)]
    questions, rejected, _ = read("msrvttqa", rows, *flags, videos=["video1.mp4"])
    for number in range(3):
        question = questions[str(number)]
        assert question.answer == f"a{number}" and len(question.choices) == 3
        assert question.context["answer_kind"] == "noun"
    assert [row["reason"] for row in rejected] == ["no_other_answer"]
    error = read("msrvttqa", rows, "--choices", 3, "--pool", write(tmp_path / "t.json", []))
    assert "the layout is not known" in error
