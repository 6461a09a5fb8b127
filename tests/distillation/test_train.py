"""Training: modes, labels, rates that are tried, and going on after an interruption."""

import shutil

import numpy as np
import orjson
import pytest
from safetensors.numpy import load_file

from distillation.inputs.lines import write_lines
from distillation.judgements import Judgement, write_judgements
from qa.records import read_questions
from tools.store.files import read_json

TAUGHT = ("--distill_mode", "hybrid", "--teacher_name", "sure")


def accuracy(folder):
    return max(row["val_accuracy"] for row in read_json(folder / "epochs.json"))


@pytest.fixture(scope="module")
def seeing(trained):
    """A student that has learned from labels what happens first and last."""
    return trained("seeing", "--epochs", 30)


@pytest.fixture(scope="module")
def few_labels(trained):
    """(words) -> a student of few labels."""
    return lambda name, *words: trained(name, "--labels", 0.05, "--epochs", 20, *words)


def test_a_student_learns_what_happens_first_and_last(seeing):
    result, folder = seeing
    assert result.returncode == 0, result.stderr
    assert accuracy(folder) > 0.5  # of four options, from 64 videos
    assert "128 of 128 training questions have labels; 48 questions of val" in result.stdout


def test_a_folder_holds_what_was_trained_and_a_row_an_epoch(seeing):
    _, folder = seeing
    names = set(load_file(folder / "student.safetensors"))
    assert {"log_scale", "visual_mean", "time"} <= names
    assert not [name for name in names if name.startswith(("attend", "to_teacher"))]
    rows = read_json(folder / "epochs.json")
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not list(folder.glob("checkpoint-*"))
    about = read_json(folder / "student.json")
    assert about["chosen"] == {"lr": 0.005, "weight": 1.0}


def test_the_same_command_has_nothing_to_do_and_another_is_refused(trained, seeing):
    again, _ = trained("seeing", "--epochs", 30)
    assert "nothing to do" in again.stdout
    other, folder = trained("seeing", "--epochs", 31)
    assert other.returncode == 2
    assert f"{folder} holds another training: epochs differ" in other.stderr


def test_a_teacher_makes_up_for_missing_labels(few_labels):
    alone_result, alone = few_labels("alone")
    taught_result, taught = few_labels("taught", *TAUGHT)
    assert "8 of 128 training questions have labels" in alone_result.stdout
    assert "sure: 1.000 of 8 labelled training questions by text" in taught_result.stdout
    assert accuracy(taught) > accuracy(alone) + 0.1


def test_an_interrupted_training_goes_on_and_ends_with_the_same_bytes(trained, monkeypatch, seeing):
    """It ends in the third of four epochs, after the checkpoint of the second."""
    from distillation.training.trainer import StudentTrainer

    words = ("--epochs", 4, "--dropout", 0.2, *TAUGHT)
    whole, unbroken = trained("unbroken", *words)
    assert whole.returncode == 0, whole.stderr
    compute = StudentTrainer.compute_loss

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 18:
            raise RuntimeError("power cut")
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StudentTrainer, "compute_loss", interrupted)
        broken, _ = trained("broken", *words)
    assert "power cut" in broken.stderr
    again, folder = trained("broken", *words)
    assert again.returncode == 0, again.stderr
    for name in ("student.safetensors", "epochs.json"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes()


def test_rates_and_weights_are_chosen_on_the_validation_questions(trained):
    words = ("--epochs", 3, "--lr", 1e-5, 1e-2, "--teacher_weight", 1, 3)
    result, folder = trained("chosen", *words, *TAUGHT)
    assert result.returncode == 0, result.stderr
    tried = read_json(folder / "student.json")["tried"]
    assert [(row["lr"], row["weight"]) for row in tried] == [(1e-5, 1), (1e-2, 1), (1e-2, 3)]
    best = max(tried, key=lambda row: row["val_accuracy"])
    assert read_json(folder / "student.json")["chosen"]["lr"] == best["lr"] == 1e-2
    assert accuracy(folder) == best["val_accuracy"]
    assert "(chosen)" in result.stdout


def test_lines_are_read_and_students_of_a_seed_begin_with_the_same_weights(trained, films):
    from distillation.student import StudentConfig
    from distillation.training.lesson import open_lesson
    from distillation.training.settings import TrainSettings, with_defaults

    def weights(**settings):
        own = with_defaults(TrainSettings(**settings), False, "films")
        small = {"heads": 2, "temporal_heads": 2}
        lesson = open_lesson(films, own, lambda **f: StudentConfig(**f, **small))
        return dict(lesson.new_student().named_parameters())

    plain, reading = weights(), weights(prompt_variant="event")
    assert {name.partition(".")[0] for name in reading.keys() - plain.keys()} == {
        "attend",
        "norm_query",
        "norm_line",
    }
    assert all(bool((plain[name] == reading[name]).all()) for name in plain)
    other = weights(seed=1)
    assert bool((plain["time"] != other["time"]).any())


def test_the_public_codes_name_of_the_folder_is_taken(trained, tmp_path):
    result, _ = trained("public", "--epochs", 1, "--out_dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "student.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--distill_mode", "soft"), "--distill_mode soft and --teacher_name None"),
        (("--teacher_name", "sure"), "none goes without a teacher"),
        (
            ("--distill_mode", "hard", "--teacher_name", "nobody"),
            "nobody has not judged films/train (these have: sure)",
        ),
        (("--teacher_weight", 3), "--teacher_weight is not read with --distill_mode none"),
        (
            ("--distill_mode", "hard", "--teacher_name", "sure", "--soft", "mse"),
            "--soft is not read with --distill_mode hard and --soft mse: leave it out",
        ),
        (
            (
                *("--distill_mode", "soft", "--teacher_name", "sure"),
                "--soft",
                "mse",
                "--by",
                "text",
            ),
            "--by is not read with --distill_mode soft and --soft mse: leave it out",
        ),
        (("--prompt_variant", "frame"), "films has frame lines by nobody"),
        (("--num_video_frames", 8), "the features by made-up have 4 frames a video"),
        (("--clip", "other"), "films has no features by other"),
        (("--preset", "faithful"), "features of the faithful preset by none"),
        (("--val", "train"), "64 videos, such as train00, are in train and in train"),
        (("--heads", 3), "a width of 16 cannot be shared by the heads"),
        (("--labels", 0), "--labels 0 of 128 questions leaves none"),
        (
            ("--train_file", "train.jsonl"),
            "--train_file is of another program: here name the data set that python -m qa.read",
        ),
        (("--split", "nothing"), "films has no questions of the split 'nothing'"),
    ],
)
def test_a_mistake_is_one_line(trained, words, message):
    result, _ = trained("mistake", *words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_the_vectors_of_a_teacher_are_learned_from_where_they_are_wanted(trained, films):
    words = ("--epochs", 2, "--soft", "feature", *TAUGHT)
    result, folder = trained("vectors", *words)
    assert result.returncode == 0, result.stderr
    assert load_file(folder / "student.safetensors")["to_teacher.weight"].shape == (32, 16)
    path = films.judgements_of("sure", "train").with_name("train.features.npy")
    kept = path.read_bytes()
    path.unlink()
    refused, _ = trained("no_vectors", *words)
    path.write_bytes(kept)
    assert "--soft feature needs the teacher's vectors" in refused.stderr


def test_questions_that_a_teacher_has_not_judged_are_left_out(trained, films):
    ids = [question.id for question in read_questions(films, "train")][:100]
    path = films.judgements_of("lazy", "train")
    write_judgements(path, [Judgement(key, [-1.0] * 4, [1] * 4) for key in ids])
    words = ("--epochs", 1, "--distill_mode", "hard", "--teacher_name", "lazy")
    result, _ = trained("partly", *words)
    shutil.rmtree(path.parent)
    assert "lacks 28 of 128 questions: left out" in result.stdout
    assert "100 of 100 training questions have labels" in result.stdout


def test_changed_vectors_of_a_teacher_are_another_training(trained, films):
    words = ("--epochs", 1, "--soft", "feature", *TAUGHT)
    assert trained("of_vectors", *words)[0].returncode == 0
    path = films.judgements_of("sure", "train").with_name("train.features.npy")
    kept = path.read_bytes()
    np.save(path, np.load(path)[::-1])
    refused, folder = trained("of_vectors", *words)
    path.write_bytes(kept)
    assert f"{folder} holds another training: teacher differ" in refused.stderr
    assert "nothing to do" in trained("of_vectors", *words)[0].stdout


def test_changed_lines_are_another_training_and_are_not_answered_with(
    trained, films, data_root, run_script
):
    words = ("--epochs", 1, "--prompt_variant", "event")
    result, folder = trained("of_lines", *words)
    assert result.returncode == 0, result.stderr
    path = films.prompt_lines("event", "seer")
    kept = path.read_bytes()
    rows = [orjson.loads(row) for row in kept.splitlines()]
    next(row for row in rows if row["video"] == "val00")["lines"].pop()
    write_lines(path, rows)
    refused, _ = trained("of_lines", *words)
    fixed = ("--data_root", data_root, "--device", "cpu")
    answered = run_script("-m", "distillation.evaluate", folder, *fixed)
    path.write_bytes(kept)
    assert f"{folder} holds another training: lines differ" in refused.stderr
    assert f"{folder} was trained with other lines of event by seer" in answered.stderr
    assert "nothing to do" in trained("of_lines", *words)[0].stdout


def test_a_teacher_of_choices_alone_teaches_hard_alone(trained, films):
    path = films.judgements_of("chooser", "train")
    rows = [Judgement(q.id, choice=q.answer_index) for q in read_questions(films, "train")]
    write_judgements(path, rows)
    teacher = ("--teacher_name", "chooser", "--epochs", 1)
    soft, _ = trained("choices_soft", *teacher, "--distill_mode", "soft")
    hard, _ = trained("choices_hard", *teacher, "--distill_mode", "hard")
    shutil.rmtree(path.parent)
    assert soft.returncode == 2 and soft.stderr.count("\n") == 1
    assert "128 of 128 judgements lack log p of the options" in soft.stderr
    assert hard.returncode == 0, hard.stderr
    assert "chooser: 1.000 of 128 labelled training questions by choice" in hard.stdout


def test_questions_without_features_are_left_out(trained, films):
    name = read_questions(films, "train")[0].video_id
    path = films.vectors("made-up", "tokens") / f"{name}.safetensors"
    kept = path.read_bytes()
    path.unlink()
    result, _ = trained("without", "--epochs", 1)
    path.write_bytes(kept)
    assert "films/train: 2 questions without features: left out" in result.stdout
