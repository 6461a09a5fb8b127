"""From a teacher's log p to targets, and the file that holds them."""

import json

import numpy as np
import pytest

from distillation.judgements import Judgement, read_judgements, write_judgements
from distillation.training.targets import fit_tau, make_targets, softmax
from qa.records import Question
from tools.errors import UserError


def question(number, answer_index=0, choices=("a", "b", "c")):
    return Question(
        f"q{number}", "d", "train", "?", choices=list(choices), answer_index=answer_index
    )


def test_the_temperature_of_logits_that_were_scaled_by_2_is_2():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 5))
    labels = [int(rng.choice(5, p=softmax(row))) for row in logits]
    assert fit_tau(list(2 * logits), labels) == pytest.approx(2.0, abs=0.1)
    assert fit_tau([], []) == 1.0


def test_questions_with_different_numbers_of_options_share_a_temperature():
    values = [np.array([3.0, 0.0]), np.array([0.0, 3.0, 0.0, 0.0])] * 50
    labels = [0, 1] * 49 + [1, 0]
    tau = fit_tau(values, labels)
    assert 0.5 < tau < 3
    loss = [
        -sum(np.log(softmax(x / t)[y]) for x, y in zip(values, labels, strict=True))
        for t in (0.9 * tau, tau, 1.1 * tau)
    ]
    assert loss[1] < min(loss[0], loss[2])


def test_text_is_compared_by_log_p_a_token():
    judgement = {"q0": Judgement("q0", [-2.0, -3.0, -9.0], [1, 3, 3])}
    targets = make_targets(judgement, [question(0, 1)], [question(0, 1)], "text")
    assert targets.by == "text"
    assert targets.probabilities["q0"].argmax() == 1
    assert targets.accuracy == 1.0


def test_auto_takes_what_is_right_more_often_on_labelled_questions():
    questions = [question(n, 1) for n in range(5)]
    right_by_letter = {
        q.id: Judgement(q.id, [0.0, -9, -9], [1] * 3, [-9, 0, -9]) for q in questions
    }
    assert make_targets(right_by_letter, questions, questions).by == "letter"
    right_by_text = {q.id: Judgement(q.id, [-9, 0.0, -9], [1] * 3, [0, -9, -9]) for q in questions}
    assert make_targets(right_by_text, questions, questions).by == "text"


def test_a_teacher_that_gives_its_letter_alone_is_one_hot():
    targets = make_targets({"q0": Judgement("q0", choice=2)}, [question(0)], [question(0)])
    assert (targets.by, targets.probabilities["q0"].tolist()) == ("choice", [0.0, 0.0, 1.0])


def test_a_soft_term_wants_log_p_of_every_option_of_every_question():
    questions = [question(0), question(1)]
    judgements = {"q0": Judgement("q0", [0.0, -1, -1], [1] * 3), "q1": Judgement("q1", choice=2)}
    with pytest.raises(UserError, match=r"^1 of 2 judgements lack log p of the options.*: 'q1'; "):
        make_targets(judgements, questions, questions, reads_distribution=True)
    hard = make_targets(judgements, questions, questions).probabilities
    assert [row.tolist() for row in hard.values()] == [[1, 0, 0], [0, 0, 1]]
    assert make_targets(judgements, [questions[0]], [], reads_distribution=True).by == "text"


def test_asking_for_letters_that_are_not_there_is_one_line():
    judgements = {"q0": Judgement("q0", [0.0, -1, -1], [1] * 3)}
    with pytest.raises(UserError, match="--by letter: the teacher gave no log p of each letter"):
        make_targets(judgements, [question(0)], [question(0)], "letter")


def test_a_file_holds_judgements_and_vectors_in_the_order_of_the_ids(tmp_path):
    path = tmp_path / "teacher" / "train.jsonl"
    rows = [Judgement("q1", [-1.0, -2.0, -3.0], [1, 1, 2], frames=8), Judgement("q0", choice=1)]
    write_judgements(path, rows, np.array([[1.0, 1.5], [0.0, 0.5]]))
    judgements, vectors = read_judgements(path, [question(0), question(1)])
    assert [own for own in judgements.values()] == [rows[1], rows[0]]
    assert {key: row.tolist() for key, row in vectors.items()} == {"q0": [0, 0.5], "q1": [1, 1.5]}
    assert np.load(tmp_path / "teacher" / "train.features.npy").dtype == np.float16


def public(key, choice, embedding=None):
    """A row of the public code's files."""
    row = {"id": key, "question": "?", "choices": ["a", "b", "c"], "teacher_hard_idx": choice}
    return json.dumps(row | ({"teacher_embedding": embedding} if embedding else {}))


def test_rows_of_the_public_code_are_judgements(tmp_path):
    path = tmp_path / "train.videollava.jsonl"
    path.write_text("\n".join([public("q1", 2, [0.5, 1.5]), public("q0", 0, [0.0, 1.0])]))
    judgements, vectors = read_judgements(path, [question(0), question(1)])
    assert judgements == {"q1": Judgement("q1", choice=2), "q0": Judgement("q0", choice=0)}
    assert {key: row.tolist() for key, row in vectors.items()} == {"q1": [0.5, 1.5], "q0": [0, 1]}
    path.write_text(public("q0", 0))
    assert read_judgements(path, [question(0)]) == ({"q0": Judgement("q0", choice=0)}, {})
    path.write_text("\n".join([public("q0", 0, [0.0, 1.0]), public("q1", 2)]))
    with pytest.raises(UserError, match=r"the vectors of its lines are of several lengths"):
        read_judgements(path, [question(0), question(1)])
    path.write_text(public("q0", 3))
    with pytest.raises(UserError, match="'q0' has not the 3 options"):
        read_judgements(path, [question(0)])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "q0"}', "line 1 is no judgement (it has no log_p, no letter_log_p and no choice)"),
        ('{"id": "q0", "log_p": [0, 1, 2]}', "log_p and tokens belong together"),
        ('{"id": "q0", "log_p": [0, 1], "tokens": [1, 1]}', "'q0' has not the 3 options"),
        ('{"id": "q0", "log_p": [0, 1, 2], "tokens": [1, 1, 0]}', "an option has no tokens"),
        ('{"id": "q1", "choice": 0}', "lacks 1 of 1 questions: 'q0'"),
        ('{"id": "q0", "choice": 3}', "'q0' has not the 3 options"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, line, message):
    path = tmp_path / "train.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(UserError) as refused:
        read_judgements(path, [question(0)])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_as_many_vectors_as_lines_are_wanted(tmp_path):
    path = tmp_path / "train.jsonl"
    write_judgements(path, [Judgement("q0", choice=1)], np.zeros((1, 2)))
    np.save(tmp_path / "train.features.npy", np.zeros((2, 2), np.float16))
    with pytest.raises(UserError, match=r"has shape \(2, 2\), and train.jsonl 1 lines"):
        read_judgements(path, [question(0)])
