"""The reproduction: its rows, arms, jobs and claims; no model is trained here."""

import os
import signal
import subprocess
import sys
import time

import orjson
import pytest
import yaml

from evaluation.scores import with_intervals
from inference.checkpoints import digest
from reproduction.jobs import Job, Runner, seconds
from reproduction.temple import commands, report, results
from reproduction.temple.arms import ARMS_YAML, arms, grids, read_rates, rows_of, steps_of
from reproduction.temple.claims import CLAIMS, findings, verdict
from reproduction.temple.plan import Plan
from reproduction.temple.rates import KEPT, best, choose, compare, told_in_order
from reproduction.temple.rows import (
    attributes,
    descriptions,
    drawn_pairs,
    neighbours,
    shares,
    story_rows,
    without_rejected,
)
from reproduction.temple.run import check_bases, parse_arguments, wanted_arms
from reproduction.temple.trainings import TRAINED, Base, Place, Training, benchmark, trainings
from tools.errors import UserError
from tools.statistics import Interval
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json
from tools.text.prompts import QUESTIONS
from tools.training.recipe import parse
from toyworld.stories import plan_story
from toyworld.truth import truth

RATES = dict.fromkeys(grids(), "1e-3")
MAIN = ["sft", "sft_x4", "chosen_sft", "temple", "mixed", "sft_dpo"]


# ---- rows of stories ----------------------------------------------------------------------------


def event(colour, shape, action):
    text = f"a {colour} {shape} {action} ."
    return {"colour": colour, "shape": shape, "action": action, "text": text}


RED = event("red", "circle", "moves left")
BLUE = event("blue", "star", "grows")
GREEN = event("green", "star", "grows")


def write_stories(folder, *told):
    """A dataset of stories, without videos."""
    lines = [
        orjson.dumps({"video_name": f"toy_{number:04d}.mp4", "events": list(events)})
        for number, events in enumerate(told)
    ]
    folder.mkdir()
    (folder / "truth.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return folder


@pytest.fixture
def toysft(tmp_path):
    return write_stories(tmp_path / "toysft", *[[RED, BLUE, GREEN]] * 3, *[[RED]] * 2)


def test_a_row_is_a_question_about_a_video_and_its_answer(toysft):
    single = [row for row in story_rows(toysft, 20, seed=0) if "toy_0003" in row["videos"][0]]
    question = single[0]["messages"][0]["content"]
    assert question.removeprefix("<video>") in QUESTIONS
    assert single[0] == {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": "first a red circle moves left ."},
        ],
        "videos": [f"{toysft}/video/toy_0003.mp4"],
    }


def test_a_story_is_described_in_the_order_of_its_events():
    told = "first a red circle moves left . next a blue star grows . finally a green star grows ."
    found = list(descriptions({"events": [RED, BLUE, GREEN]}))
    assert found == [("whole", question, told) for question in QUESTIONS]


def test_the_events_right_after_and_before_one_are_asked_for():
    assert list(neighbours({"events": [RED, BLUE]})) == [
        (
            "neighbour",
            "What happens right after a red circle moves left? Answer with that event alone.",
            "a blue star grows .",
        ),
        (
            "neighbour",
            "What happens right before a blue star grows? Answer with that event alone.",
            "a red circle moves left .",
        ),
    ]


def test_an_attribute_is_asked_for_where_one_event_alone_can_be_meant():
    found = attributes({"events": [RED, BLUE, GREEN]})  # two stars grow: of which colour is open
    assert {(question, answer) for _, question, answer in found} == {
        ("What does the red circle do in this video?", "moves left ."),
        ("What does the blue star do in this video?", "grows ."),
        ("What does the green star do in this video?", "grows ."),
        ("What colour is the circle that moves left in this video?", "red ."),
        ("What shape is the red thing that moves left in this video?", "circle ."),
        ("What shape is the blue thing that grows in this video?", "star ."),
        ("What shape is the green thing that grows in this video?", "star ."),
    }


def test_the_shares_of_the_kinds():
    assert shares(3072) == {"whole": 922, "neighbour": 922, "attribute": 614, "single": 614}
    assert shares(10) == {"whole": 3, "neighbour": 3, "attribute": 2, "single": 2}


def test_no_row_comes_twice_and_another_seed_draws_others(toysft):
    rows = story_rows(toysft, 40, seed=0)
    assert len(rows) == len({orjson.dumps(row) for row in rows}) == 40
    assert rows == story_rows(toysft, 40, seed=0)
    assert rows != story_rows(toysft, 40, seed=1)


def test_too_few_stories_for_so_many_rows(toysft):
    with pytest.raises(UserError) as error:
        story_rows(toysft, 100, seed=0)
    assert str(error.value) == (
        f"{toysft} has 18 different rows of the kind 'whole', and 30 of 100 are to be: render more"
        " stories, or ask for fewer rows"
    )


# ---- rows of pairs ------------------------------------------------------------------------------


def write_pairs(folder, level, n):
    path = folder / f"toyvl_i0_r{level}.json"
    rows = [
        {"messages": [f"r{level}", i], "rejected_response": "x", "videos": []} for i in range(n)
    ]
    path.write_bytes(orjson.dumps(rows))
    return path


def test_a_mixed_level_has_the_very_pairs_of_its_levels(tmp_path):
    files = [write_pairs(tmp_path, level, 10) for level in (16, 8)]
    alone = [drawn_pairs([path], 6, seed=3) for path in files]
    assert drawn_pairs(files, 12, seed=3) == alone[0] + alone[1]


def test_all_pairs_come_once_before_one_comes_twice(tmp_path):
    rows = drawn_pairs([write_pairs(tmp_path, 16, 4)], 10, seed=0)
    numbers = [row["messages"][1] for row in rows]
    assert [sorted(numbers[:4]), sorted(numbers[4:8])] == [[0, 1, 2, 3]] * 2
    assert len(set(numbers[8:])) == 2


def test_chosen_texts_alone(tmp_path):
    rows = drawn_pairs([write_pairs(tmp_path, 16, 1)], 1, seed=0)
    assert without_rejected(rows) == [{"messages": ["r16", 0], "videos": []}]


def test_pairs_that_cannot_be_drawn(tmp_path):
    files = [write_pairs(tmp_path, 16, 4), tmp_path / "gone.json"]
    with pytest.raises(UserError, match="5 rows cannot be shared evenly by 2 files"):
        drawn_pairs(files, 5, seed=0)
    with pytest.raises(UserError, match=r"gone.json: no such file; convert_to_swift.py"):
        drawn_pairs(files, 4, seed=0)
    with pytest.raises(UserError, match=r"r2.json has no pairs"):
        drawn_pairs([write_pairs(tmp_path, 2, 0)], 4, seed=0)


# ---- arms ---------------------------------------------------------------------------------------


def test_the_main_arms_are_the_issues():
    assert [arm.name for arm in arms().values() if arm.main] == MAIN


def test_the_other_arms_are_the_issues_and_what_only_validation_saw_is_left_out(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--all_arms"])
    assert [arm.name for arm in wanted_arms(parse_arguments())] == [
        *MAIN,
        *("hard_to_easy", "r16", "r8", "r4", "r2", "no_sft_term", "other_model", "distinct"),
        "large_chosen",
    ]
    monkeypatch.setattr(sys, "argv", ["run.py", "--arms", "fine"])
    assert [arm.name for arm in wanted_arms(parse_arguments())] == ["fine"]


@pytest.mark.parametrize("name", list(arms()))
def test_every_arm_is_a_recipe_of_equal_steps(name):
    phases = arms()[name].phases(RATES)
    parse(phases[-1])
    kinds = {"sft": [100], "sft_x4": [400]}
    assert sorted(sum(steps_of(phase)) for phase in phases) == kinds.get(name, [100, 300])


def test_four_times_the_data_takes_as_many_steps_as_alignment_and_fine_tuning_together():
    both, x4 = (arms()[name].phases(RATES) for name in ("temple", "sft_x4"))
    assert sum(sum(steps_of(phase)) for phase in both) == sum(steps_of(x4[0]))


def test_alignment_rows_are_shared_out_to_the_stages():
    temple, mixed, alone = (arms()[name].phases(RATES)[0] for name in ("temple", "mixed", "r2"))
    assert rows_of(temple) == [600, 600, 600, 600]
    assert rows_of(mixed) == rows_of(alone) == [2400]
    of_seven_rows = "toyvl=lr1e-3_r32_a64_bs7_freeze_r16-r8-r4-r2-r1"
    assert rows_of(of_seven_rows) == [420] * 5


def test_an_arm_whose_rows_or_settings_differ_shares_no_stage():
    groups = {name: Training(Place(), arm, 0, "").group for name, arm in arms().items()}
    assert {name for name, group in groups.items() if group == "toyvl_s0"} == {
        *MAIN,
        "hard_to_easy",
    }
    assert groups["no_sft_term"] == "toyvl_s0_no_sft_term"


def test_every_rate_of_a_recipe_is_tried():
    for arm in arms().values():
        parse(arm.phases(dict.fromkeys(grids(), "1e-3"))[-1])


def test_rates_that_were_never_chosen(tmp_path):
    with pytest.raises(UserError, match="no learning rates yet; --choose_rates finds them"):
        read_rates(tmp_path / "learning_rates.json")


def test_of_five_seeds_two_start_from_another_base():
    place = Place()
    assert [place.base_of(seed).name for seed in range(6)] == [
        "toyvl", "toyvl", "toyvl", "toyvl_1", "toyvl_1", "toyvl",
    ]  # fmt: skip
    other = {seed: Training(place, arms()["other_model"], seed, "").pairs_base for seed in (0, 3)}
    assert [base.name for base in other.values()] == ["toyvl_1", "toyvl"]


# ---- jobs ---------------------------------------------------------------------------------------


def python(code):
    return lambda: [[sys.executable, "-c", code]]


@pytest.fixture
def runner(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("reproduction.jobs.POLL_SECONDS", 0.01)
    found = Runner(tmp_path / "logs", workers=2, say=said.append)
    found.said = said
    return found


def append(path, word):
    return python(f"open({str(path)!r}, 'a').write({word!r})")


def test_a_job_comes_after_those_that_it_needs(runner, tmp_path):
    out = tmp_path / "out"
    jobs = [
        Job("a", python(f"import time; time.sleep(0.3); open({str(out)!r}, 'a').write('a')")),
        Job("b", append(out, "b"), ["a"]),
        Job("c", append(out, "c"), ["a", "b"]),
    ]
    assert runner.run(jobs) == {"a": "done", "b": "done", "c": "done"}
    assert out.read_text() == "abc"


def test_a_failure_costs_what_needs_it_and_nothing_else(runner, tmp_path):
    jobs = [
        Job("bad", python("print('fine'); raise SystemExit('error: no such thing')")),
        Job("lost", append(tmp_path / "lost", "x"), ["bad"]),
        Job("lost_too", append(tmp_path / "lost", "x"), ["lost"]),
        Job("good", append(tmp_path / "good", "x")),
    ]
    assert runner.run(jobs) == {
        "bad": "failed",
        "lost": "left out",
        "lost_too": "left out",
        "good": "done",
    }
    log = tmp_path / "logs" / "bad.log"
    assert f"bad: failed: error: no such thing (all of it in {log})" in "\n".join(runner.said)
    assert "left out: lost, which needs bad" in runner.said
    assert not (tmp_path / "lost").exists()


def test_the_commands_of_a_job_end_with_the_first_that_fails(runner, tmp_path):
    bad, good = python("raise SystemExit(3)")(), append(tmp_path / "out", "x")()
    assert runner.run([Job("both", lambda: [*bad, *good])]) == {"both": "failed"}
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_run(runner, tmp_path):
    jobs = [
        Job("there", append(tmp_path / "out", "x"), done=lambda: True),
        Job("next", append(tmp_path / "out", "y"), ["there"]),
    ]
    assert runner.run(jobs) == {"there": "there", "next": "done"}
    assert (tmp_path / "out").read_text() == "y"


def test_a_job_cannot_need_what_comes_later(runner):
    with pytest.raises(ValueError, match="a needs b, not among the jobs before it"):
        runner.run([Job("a", python(""), ["b"]), Job("b", python(""))])


def test_seconds_are_kept_over_all_tries_and_a_torn_line_is_passed_over(runner, tmp_path):
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    for _ in range(2):
        runner.run([Job("burn", python(burn))])
    with open(tmp_path / "logs" / "jobs.jsonl", "a") as file:
        file.write('{"job": "bu')
    wall, cpu = seconds(tmp_path / "logs")["burn"]
    assert 0.4 < cpu < 4
    assert wall >= 0.4


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_driver_that_is_to_end_ends_what_it_started(tmp_path, sent):
    """The child outlives a signal to the driver alone, unless the driver ends it."""
    driver = f"""
import sys
from pathlib import Path
from reproduction.jobs import Job, Runner
from tools.cli import run_script
code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
jobs = [Job("sleep", lambda: [[sys.executable, "-c", code]])]
run_script(lambda: Runner(Path({str(tmp_path)!r}), 1).run(jobs))
"""
    words = [sys.executable, "-c", driver]
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        log = tmp_path / "sleep.log"
        while not (log.exists() and log.read_text().splitlines()[1:]):
            time.sleep(0.05)
        process.send_signal(sent)
        assert "interrupted: all that was finished is kept" in process.communicate(timeout=20)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().split()[-1]), 0)


@pytest.mark.parametrize("other", ["--choose_rates", "--quick"])
def test_a_look_on_validation_is_asked_for_alone(run_script, other):
    done = run_script("-m", "reproduction.temple.run", "--validate", other)
    assert done.returncode == 2
    assert done.stderr.startswith("error: argument ")
    assert "not allowed with argument" in done.stderr


# ---- the whole run, with stubs in place of models and of swift -----------------------------------

FEW = {**yaml.safe_load(ARMS_YAML.read_text()), "steps": {"alignment": 4, "sft": 1}}
TRAIN = """
import hashlib, json, sys
from pathlib import Path
for folder, rows, steps in json.loads(sys.argv[1]):
    folder = Path(folder)
    checkpoint = folder / "v0-now" / f"checkpoint-{steps}"
    merged = checkpoint.with_name(checkpoint.name + "-merged")
    merged.mkdir(parents=True)
    checkpoint.mkdir()
    state = {"global_step": steps, "max_steps": steps}
    (checkpoint / "trainer_state.json").write_text(json.dumps(state))
    (merged / "model.safetensors").write_text(str(folder))
    (merged / "config.json").write_text("{}")
    sha = hashlib.sha256(Path(rows).read_bytes()).hexdigest()
    (folder / "stage.json").write_text(json.dumps({"made_with": {"sha256": sha}}))
"""
WRITE = """
import sys
from pathlib import Path
path = Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(sys.argv[2])
"""


def fake_training(one):
    """What run.sh leaves behind; of its settings nothing is needed."""
    stages = zip(one.folders, one.rows, steps_of(one.phase), strict=True)
    given = [[str(folder), str(rows), steps] for folder, rows, steps in stages]
    return [sys.executable, "-c", TRAIN, orjson.dumps(given).decode()]


def fake_score(place, model, name, dataset, out):
    """A score file; TEMPLE's models tell nine pairs of ten in order, others five."""
    right = 9 if "temple" in name else 5
    story = {"video_name": "toy_0000.mp4", "n": 4, "caption": "", "counts": {"order": (right, 10)}}
    story["counts"] |= {metric: (1, 1) for metric in KEPT if metric not in story["counts"]}
    scores = {
        "model": str(model),
        "name": name,
        "dataset": dataset,
        "weights": digest(str(model)),
        "benchmark": benchmark(place.data / dataset),
        "videos": [story],
    }
    text = orjson.dumps(with_intervals(scores)).decode()
    return [sys.executable, "-c", WRITE, str(out), text]


def fake_pairs(place, base, dataset):
    files = [
        str(place.exp / "pairs" / dataset / kind / f"{base.name}_i0_r{level}.json")
        for kind in ("all", "distinct")
        for level in (16, 8, 4, 2)
    ]
    pairs = orjson.dumps([{"messages": number} for number in range(9)]).decode()
    code = f"import sys\nfor name in sys.argv[3:]: sys.argv[1] = name; exec({WRITE!r})"
    return [[sys.executable, "-c", code, "", pairs, *files]]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place with rendered stories, small numbers of rows, and stubs for what takes long."""
    found = Place(tmp_path / "data", tmp_path / "exp")
    base = tmp_path / "toyvl"
    base.mkdir()
    (base / "model.safetensors").write_text("first")
    second = found.bases[1]
    second.folder.mkdir(parents=True)
    (second.folder / "model.safetensors").write_text("second")
    bases = (Base("toyvl", base, 0, shipped=True), second)
    monkeypatch.setattr(Place, "bases", property(lambda self: bases))
    told = {name: commands.Stories(3, "1,4,4", 5) for name in commands.STORIES}
    monkeypatch.setattr(commands, "STORIES", told)
    for name in told:
        (found.data / name / "video").mkdir(parents=True)
        lines = [truth(plan_story(5, number, (1, 4, 4)[number])) for number in range(3)]
        (found.data / name / "truth.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
        for line in lines:
            (found.data / name / "video" / line["video_name"]).touch()
    monkeypatch.setattr("reproduction.temple.arms._yaml", lambda: FEW)
    monkeypatch.setattr(commands, "find_shots", lambda place, dataset: [sys.executable, "-c", ""])
    monkeypatch.setattr(commands, "make_pairs", fake_pairs)
    monkeypatch.setattr(commands, "train", fake_training)
    monkeypatch.setattr(commands, "score", fake_score)
    trained = [sys.executable, "-c", WRITE, str(second.folder / TRAINED), "{}"]
    monkeypatch.setattr(commands, "train_base", lambda place, base: trained)
    digest.cache_clear()
    benchmark.cache_clear()
    return found


def wanted(place, *names, seeds=(0,)):
    return trainings(place, [arms()[name] for name in names], seeds, RATES)


def run(runner, place, training):
    """Which jobs had something to do."""
    outcomes = runner.run(Plan(place, training, "toytest").jobs())
    assert set(outcomes.values()) <= {"done", "there"}
    return [name for name, outcome in outcomes.items() if outcome == "done"]


def test_a_run_is_one_job_a_phase_and_the_second_one_has_nothing_to_do(runner, place):
    training = wanted(place, "sft", "temple", "sft_dpo")
    sft, temple = "lr1e-3_r32_a32_bs32_toysft", "lr1e-3_r32_a64_bs8_freeze_r16-r8-r4-r2"
    phases = [sft, temple, f"{temple}={sft}", f"{sft}={temple}"]  # two arms begin with sft
    jobs = run(runner, place, training)
    assert {job for job in jobs if job.startswith(("train-", "score-"))} == {
        "score-toytest-toyvl",
        *(f"train-toyvl_s0-{phase}" for phase in phases),
        *(f"score-toytest-toyvl_s0-{phase}" for phase in phases),
    }
    assert run(runner, place, training) == [
        "shots-toypairs",  # which look for themselves
        "pairs-toypairs-toyvl",
    ]


def test_what_most_waits_for_comes_first_in_a_seed(place):
    names = ("sft_x4", "chosen_sft", "temple", "sft", "sft_dpo")
    jobs = [job.name for job in Plan(place, wanted(place, *names, seeds=(0, 3)), "toytest").jobs()]
    trained = [name.removeprefix("train-") for name in jobs if name.startswith("train-")]
    sft, levels = "lr1e-3_r32_a32_bs32_toysft", "lr1e-3_r32_a64_bs8_freeze_r16-r8-r4-r2"
    chosen = "lr1e-3_r32_a64_bs8_freeze_chosen"
    # A stage's start counts as 25 steps; alignment takes 4 of them here, fine-tuning 1.
    of_a_seed = [
        *(levels, sft),  # 104 and 26, in either order
        f"{sft}={levels}",  # 104
        chosen,  # 29 and 26
        f"{sft}-x4",  # 29
        *(f"{chosen}={sft}", f"{levels}={sft}"),  # 26
    ]
    groups = ("toyvl_s0", "toyvl_1_s3")
    assert trained == [f"{group}-{phase}" for group in groups for phase in of_a_seed]


def test_the_jobs_of_an_arm_know_its_seed_rows_and_settings(place):
    (one,) = [one for one in wanted(place, "no_sft_term", seeds=[3]) if one.phase.endswith("r2")]
    jobs = {job.name: job for job in Plan(place, [one], "toytest").jobs()}
    train = jobs[f"train-{one.key}"]
    group = "toyvl_1_s3_no_sft_term"
    assert set(train.needs) == {
        "base-toyvl_1",
        *(f"rows-{group}-toyvl_1_i0_r{level}" for level in (16, 8, 4, 2)),
    }
    assert train.environment.items() >= {
        ("RPO_ALPHA", "0"),
        ("SEED", "3"),
        ("GROUP", group),
        ("MODEL", str(place.exp / "toyvl_1")),
        ("DATA_MODEL", "toyvl_1"),
        ("DATA_DIR", str(place.exp / "rows" / group)),
        ("OMP_NUM_THREADS", "1"),
        ("DEVICE", "cpu"),
    }


def test_datasets_begin_with_the_ones_that_they_name():
    for told in commands.STORIES.values():
        if told.begins_with:
            first = commands.STORIES[told.begins_with]
            assert (first.seed, first.events) == (told.seed, told.events)
            assert first.videos < told.videos
            assert first.begins_with is None


def test_stories_that_begin_with_others_wait_for_them(place, monkeypatch):
    told = commands.Stories(4, "1,4,4", 5, "toypairs")
    monkeypatch.setattr(commands, "STORIES", {**commands.STORIES, "toypairs-x5": told})

    def rendering(*names):
        jobs = Plan(place, wanted(place, *names), "toytest").jobs()
        order = [job.name for job in jobs if job.name.startswith("render-toypairs")]
        found = next(job for job in jobs if job.name == "render-toypairs-x5")
        return order, found.needs, found.commands()[0]

    order, needs, command = rendering("many_chosen", "temple")
    assert order == ["render-toypairs", "render-toypairs-x5"]
    assert needs == ["render-toypairs"]
    assert command[-2:] == ["--begin_with", str(place.data / "toypairs")]
    order, needs, command = rendering("many_chosen")
    assert order == ["render-toypairs-x5"]
    assert needs == []
    assert "--begin_with" not in command


def test_pairs_of_many_videos_are_made_only_for_an_arm_that_wants_them(place):
    chosen, _ = wanted(place, "many_chosen")
    jobs = {job.name: job for job in Plan(place, [chosen], "toytest").jobs()}
    rows = jobs["rows-toyvl_s0_many_chosen-chosen"]
    assert rows.needs == ["pairs-toypairs-x5-toyvl"]
    files = [word for word in rows.commands()[0] if word.endswith(".json")]
    folder = place.exp / "pairs" / "toypairs-x5" / "all"
    assert files[:-1] == [str(folder / f"toyvl_i0_r{level}.json") for level in (16, 8, 4, 2)]
    assert not [name for name in jobs if "toypairs-toyvl" in name]


@pytest.mark.parametrize("spoil", ["half", "other weights", "other questions"])
def test_a_score_file_that_is_not_this_models_is_made_again(runner, place, spoil):
    training = wanted(place, "sft")
    run(runner, place, training)
    path = training[0].scores("toytest")
    whole = path.read_bytes()
    if spoil == "half":
        path.write_bytes(whole[: len(whole) // 2])
    elif spoil == "other weights":
        path.write_bytes(whole.replace(b'"weights":"', b'"weights":"0'))
    else:
        path.write_bytes(whole.replace(b'"benchmark":"', b'"benchmark":"0'))
    assert "score-toytest-toyvl_s0-lr1e-3_r32_a32_bs32_toysft" in run(runner, place, training)
    assert path.read_bytes() == whole


def test_a_model_of_other_rows_does_not_count(runner, place):
    (one,) = wanted(place, "sft")
    run(runner, place, [one])
    assert one.trained()
    (rows,) = one.rows
    rows.write_bytes(b"[]")
    assert not one.trained()


def test_what_is_collected(runner, place):
    names, seeds = ("sft", "temple"), (0, 3)
    run(runner, place, wanted(place, *names, seeds=seeds))
    found = results.collect(place, [arms()[name] for name in names], range(5), RATES, "toytest")
    assert found["asked"]["videos"] == ["toy_0000.mp4"]
    assert found["asked"]["events"] == [4]
    assert found["bases"].keys() == {"toyvl", "toyvl_1"}
    assert {name: list(arm["seeds"]) for name, arm in found["arms"].items()} == {
        "sft": ["0", "3"],
        "temple": ["0", "3"],
    }
    first, last = found["arms"]["temple"]["seeds"]["3"]["phases"]
    assert found["arms"]["temple"]["seeds"]["3"]["base"] == "toyvl_1"
    assert (first["steps"], first["planned"]) == ([1, 1, 1, 1], [1, 1, 1, 1])
    assert (last["steps"], last["planned"]) == ([1], [1])
    assert last["counts"] == {
        "order": [[9], [10]],
        **{metric: [[1], [1]] for metric in ("exact", "prefer_adjacent", "recall", "clip")},
    }
    assert last["scores"]["order"] == {"all": 0.9, "4": 0.9}
    assert first["wall_s"] >= first["cpu_s"] >= 0


def test_an_arm_counts_once_all_of_it_is_there(runner, place):
    temple = wanted(place, "temple")
    run(runner, place, temple[:1])
    assert results.collect(place, [arms()["temple"]], [0], RATES, "toytest")["arms"] == {}


def test_an_arm_that_nobody_knows(run_script):
    done = run_script("-m", "reproduction.temple.run", "--arms", "sft", "templ")
    assert (done.returncode, done.stderr) == (
        2,
        f"error: no arm 'templ' in arms.yaml; there are: {', '.join(arms())}\n",
    )


def test_a_base_that_has_changed_is_found_out(place):
    weights = place.bases[0].folder / "model.safetensors"
    check_bases(place)
    check_bases(place)
    weights.write_text("trained anew")
    with pytest.raises(UserError) as error:
        check_bases(place)
    assert str(error.value) == (
        f"{weights.parent} has changed since {place.exp} was begun: move {place.exp} and"
        f" {place.data}/toypairs* away"
    )
    weights.unlink()
    with pytest.raises(UserError, match="holds no model: python -m reproduction"):
        check_bases(place)


# ---- rates --------------------------------------------------------------------------------------


def test_an_event_left_out_counts_as_told_in_the_wrong_order():
    videos = [{"n": 4, "counts": {"order": [3, 3]}}, {"n": 8, "counts": {"order": [10, 28]}}]
    assert told_in_order({"videos": videos}) == 13 / 34


def test_the_best_rate_and_of_equal_ones_the_smallest():
    tried = {
        rate: {"told_in_order": share}
        for rate, share in (("1e-2", 0.7), ("3e-4", 0.6), ("1e-3", 0.7))
    }
    assert best(tried) == "1e-3"


def test_rates_are_chosen_from_a_seed_and_on_stories_that_no_result_comes_from(runner, place):
    found = choose(place, runner, {"sft": ["1e-3"], "temple": ["1e-3", "3e-3"]})
    assert (found["seed"], found["dataset"]) == (100, "toyval")
    assert {arm: entry["rate"] for arm, entry in found["rates"].items()} == {
        "sft": "1e-3",
        "temple": "1e-3",
    }
    told = {"order": 0.9, "exact": 1.0, "prefer_adjacent": 1.0, "recall": 1.0, "clip": 1.0}
    told["told_in_order"] = 1.5  # 9 pairs in order of the 6 that four events have: a stub's answer
    assert found["rates"]["temple"]["tried"] == {"1e-3": told, "3e-3": told}
    groups = [path.name for path in place.exp.iterdir() if path.name.startswith("toyvl_s")]
    assert groups == ["toyvl_s100"]


def test_arms_are_compared_on_validation_and_no_result_changes(runner, place):
    chosen = [arms()[name] for name in ("sft", "temple")]
    found = compare(place, runner, chosen, RATES)
    assert {arm: told["order"] for arm, told in found.items()} == {"sft": 0.5, "temple": 0.9}
    assert results.collect(place, chosen, range(5), RATES, "toytest")["arms"] == {}


# ---- claims -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "seeds", "told"),
    [
        (0.01, 0.05, 5, "supported"),
        (-0.05, -0.01, 5, "refuted"),
        (-0.01, 0.05, 5, "undecided"),
        (0.0, 0.05, 5, "undecided"),
        (0.01, 0.05, 1, "one seed"),
    ],
)
def test_a_verdict(low, high, seeds, told):
    assert verdict(Interval((low + high) / 2, low, high), seeds) == told


def made_up(**told):
    """Results in which an arm's seeds tell so many of ten pairs in order, in each of 12 videos."""

    def kept(right):
        counts = {"order": [[right] * 12, [10] * 12], "recall": [[4] * 12, [4] * 12]}
        return {
            "recipe": "toyvl=x",
            "steps": [96],
            "planned": [96],
            "wall_s": 60.0,
            "cpu_s": 50.0,
            "scores": {"order": {"all": right / 10}, "recall": {"all": 1.0}},
            "counts": {**counts, "clip": counts["recall"]},
        }

    return {
        "rates": {"sft": "1e-3"},
        "machine": "2 x CPU",
        "versions": {"torch": "2"},
        "preparation": {"pairs-toyvl": {"wall_s": 70.0, "cpu_s": 60.0}},
        "asked": {
            "dataset": "toytest",
            "benchmark": "b",
            "videos": [f"toy_{number:04d}.mp4" for number in range(12)],
            "events": [4] * 12,
        },
        "bases": {"toyvl": kept(5)},
        "arms": {
            arm: {
                "label": arm,
                "seeds": {
                    str(seed): {"base": "toyvl", "phases": [kept(right)]}
                    for seed, right in enumerate(seeds)
                },
            }
            for arm, seeds in told.items()
        },
    }


def test_each_claim_gets_its_verdict():
    found = findings(made_up(sft=[5, 6, 5], temple=[7, 8, 8], sft_x4=[9, 9, 9], mixed=[7, 9, 8]))
    by_arms = {(one.claim.better, one.claim.worse, one.claim.metric): one for one in found}
    against_sft = by_arms["temple", "sft", "order"]
    assert against_sft.verdict == "supported"
    assert against_sft.effect.value == pytest.approx((0.2 + 0.2 + 0.3) / 3)
    assert by_arms["temple", "sft_x4", "order"].verdict == "refuted"
    assert by_arms["temple", "mixed", "order"].verdict == "undecided"
    assert by_arms["temple", "r16", "order"].verdict == "not run"
    assert by_arms["temple", "sft", "exact"].verdict == "not asked"
    assert len(found) == len(CLAIMS)


def test_only_seeds_that_both_arms_have_are_compared():
    found = findings(made_up(sft=[5, 5], temple=[9, 9, 1, 1]))
    assert found[0].effect.seeds == 2
    assert found[0].effect.value == pytest.approx(0.4)


def test_every_claim_is_about_arms_that_there_are():
    assert {arm for claim in CLAIMS for arm in (claim.better, claim.worse)} <= set(arms())


# ---- the report ---------------------------------------------------------------------------------


def test_the_report_of_one_seed_says_what_that_is_worth(tmp_path):
    results.write(tmp_path / "reproduction.json", made_up(sft=[5], temple=[8]))
    report.write(tmp_path)
    lines = (tmp_path / "reproduction.md").read_text().splitlines()
    assert "**One seed proves nothing.**" in lines
    claim = "| DPO before SFT beats SFT alone | paper | order | +0.300 [+0.300, +0.300] |"
    assert f"{claim} **one seed** |" in lines
    assert "| sft | `x` | 96 | 96 | 60 s | 50 s |" in lines
    assert any(line.startswith("Seeds: 0 from toyvl. ") for line in lines)


def test_the_report_is_made_of_the_results_alone(tmp_path):
    results.write(tmp_path / "reproduction.json", made_up(sft=[5, 6], temple=[8, 9]))
    report.write(tmp_path)
    lines = (tmp_path / "reproduction.md").read_text().splitlines()
    assert "**One seed proves nothing.**" not in lines
    (sft,) = (line for line in lines if line.startswith("| sft | 2 |"))
    assert sft.startswith("| sft | 2 | 0.550 [0.500, 0.600] | 0.071 | 0.550 |")
    for name in ("order.png", "damage.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def rows_of_table(text, first, columns):
    """The rows of the table of a Markdown text whose head begins with `first`: these cells."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append([cell.strip().strip("*") for cell in line.strip("|").split("|")])
    places = [found[0].index(column) for column in columns]
    return [[row[place] for place in places] for row in found[2:]]


def test_what_is_told_of_the_results_is_what_they_hold():
    """The tables in results/ are made of reproduction.json, and README's are taken from them."""
    made = report.markdown(read_json(REPOSITORY / "reproduction" / "results" / "reproduction.json"))
    assert (REPOSITORY / "reproduction" / "results" / "reproduction.md").read_text() == made
    readme = (REPOSITORY / "README.md").read_text()
    told = ["seeds", "order of events", "all in order", "over neighbours swapped", "recall"]
    held = ["seeds", "order", "exact", "adjacent", "recall"]
    arm_rows = rows_of_table(readme, "arm", ["arm", *told, "clips"])
    assert arm_rows == rows_of_table(made, "arm", ["arm", *held, "clip"])
    assert len(arm_rows) == 16
    claim_rows = rows_of_table(readme, "claim", ["claim", "effect (95 %)", "verdict here"])
    assert claim_rows == rows_of_table(made, "claim", ["claim", "effect", "verdict"])
    assert len(claim_rows) == len(CLAIMS)


def test_a_report_without_results(run_script, tmp_path):
    done = run_script("-m", "reproduction.temple.report", str(tmp_path))
    assert (done.returncode, done.stderr) == (
        2,
        f"error: {tmp_path} holds no reproduction.json:"
        " python -m reproduction.temple.run makes it\n",
    )


def test_a_column_of_counts_takes_one_line(tmp_path):
    results.write(tmp_path / "r.json", made_up(sft=[5]))
    text = (tmp_path / "r.json").read_text()
    assert "[5,5,5,5,5,5,5,5,5,5,5,5]" in text
    assert orjson.loads(text) == made_up(sft=[5])
