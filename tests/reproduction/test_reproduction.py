"""The reproduction: its arms, its parts and what is collected; no model is trained here."""

import hashlib
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
import yaml

from evaluation.scores import with_intervals
from inference.checkpoints import digest
from reproduction import temple
from reproduction.claims import read_claims
from reproduction.jobs import Runner
from reproduction.temple import pipeline, rows, stories
from reproduction.temple import run as run_module
from reproduction.temple.arms import (
    ARMS_YAML,
    arms,
    grids,
    last_phase,
    read_rates,
    rows_of,
    steps_of,
    studies,
)
from reproduction.temple.pipeline import Pipeline
from reproduction.temple.rates import KEPT, best, choose, compare
from reproduction.temple.results import collect, merged, still_valid
from reproduction.temple.run import RATES as RATES_FILE
from reproduction.temple.run import check_bases, main, parse_arguments, wanted_arms
from reproduction.temple.stories import STORIES, StorySet
from reproduction.temple.trainings import (
    VALIDATION_SEED,
    Base,
    Training,
    Workspace,
    benchmark,
    phases_of,
)
from reproduction.toyvl import TRAINED
from tools.errors import UserError
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, write_json
from tools.training.recipe import parse
from toyworld.stories import plan_story
from toyworld.truth import truth

RATES = dict.fromkeys([*grids(), *grids("losses"), *grids("grpo")], "1e-3")
MAIN = ["sft", "sft_x4", "chosen_sft", "temple", "mixed", "sft_dpo"]


# Arms


def test_the_main_arms():
    assert [arm.name for arm in arms().values() if arm.main] == MAIN


def test_all_arms_are_those_that_validation_alone_did_not_see():
    assert [arm.name for arm in wanted_arms(parse_arguments(["--all_arms"]))] == [
        *MAIN,
        *("hard_to_easy", "r16", "r8", "r4", "r2", "no_sft_term", "other_model", "distinct"),
        "large_chosen",
    ]
    assert [arm.name for arm in wanted_arms(parse_arguments(["--arms", "fine"]))] == ["fine"]
    kinds = ("chosen_sft", "temple", "mixed", "r8")
    assert [arm.name for arm in wanted_arms(parse_arguments(["--study", "noise"]))] == [
        *kinds,
        *(f"noisy_{kind}_n{percent}" for kind in kinds for percent in (10, 20, 35)),
        "noisy_large_chosen_n20",
    ]


def test_a_study_trains_all_that_its_claims_name():
    claims = read_claims(Path(temple.__file__).with_name("claims.yaml"))
    for name, members in studies().items():
        own = {arm.name for arm in members if arm.study == name}
        trained = {arm.name for arm in members}
        for claim in claims:
            if own & {claim.better, claim.worse}:
                assert {claim.better, claim.worse} <= trained, (name, claim)


def test_a_study_without_rates_of_its_own_leaves_the_chosen_ones(tmp_path):
    before = RATES_FILE.read_bytes()
    with pytest.raises(UserError, match="--study noise has no learning rates of its own"):
        main(["--choose_rates", "--study", "noise", "--exp", str(tmp_path)])
    assert RATES_FILE.read_bytes() == before


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


def test_only_the_main_arms_share_stages():
    groups = {name: Training(Workspace(), arm, 0, "").group for name, arm in arms().items()}
    assert [name for name, group in groups.items() if group == "toyvl_s0"] == MAIN
    assert groups["no_sft_term"] == "toyvl_s0_no_sft_term"


def test_a_stage_that_main_arms_share_takes_equally_many_rows_in_all_of_them():
    counts = {}
    for name in MAIN:
        for phase in arms()[name].phases(RATES):
            for stage, count in zip(last_phase(phase), rows_of(phase), strict=True):
                assert counts.setdefault(stage.data_file("toyvl"), count) == count
    assert {arms()[name].pairs for name in MAIN} == {"own"}
    assert not any(arms()[name].settings for name in MAIN)


def test_every_rate_of_a_recipe_is_tried():
    for arm in arms().values():
        parse(arm.phases(dict.fromkeys([*grids(), *grids(arm.study)], "1e-3"))[-1])


def test_rates_that_were_never_chosen(tmp_path):
    with pytest.raises(UserError, match="no learning rates yet; --choose_rates finds them"):
        read_rates(tmp_path / "learning_rates.json")


def test_rates_of_a_study_that_were_never_chosen(tmp_path):
    path = tmp_path / "learning_rates.json"
    write_json(path, {"rates": {name: {"rate": "1e-3"} for name in grids()}})
    assert set(read_rates(path, [arms()["noisy_temple_n10"]])) == {"sft", "chosen_sft", "temple"}
    with pytest.raises(UserError, match="no learning rate of ipo: --choose_rates --study losses"):
        read_rates(path, [arms()["ipo"]])


def test_each_seed_starts_from_a_base_of_its_own():
    workspace = Workspace()
    names = [base.name for base in workspace.bases]
    assert len(set(names)) == len(names) >= 2
    assert [base.seed for base in workspace.bases] == list(range(len(names)))
    assert [workspace.base_of(seed).name for seed in range(len(names))] == names
    assert workspace.base_of(VALIDATION_SEED).name == "toyvl"
    other = arms()["other_model"]
    pairs = [Training(workspace, other, n, "").pairs_base.name for n in range(len(names))]
    assert pairs == [*names[1:], names[0]]


@pytest.mark.parametrize("base", Workspace().bases, ids=lambda base: base.name)
def test_the_bases_are_there_and_were_made_by_the_command_that_stands_beside_them(base):
    trained = read_json(base.folder / TRAINED)
    assert f"--seed {base.seed} " in trained["command"]
    assert trained["clips"] > 0.9
    assert trained["lists_of_8"] > 0.9


BASE_NAMES = ("toyvl", "toyvl_1")

# A whole run; what would render, decode, caption, train or score is played by `Stubs`

FEW = {**yaml.safe_load(ARMS_YAML.read_text()), "steps": {"alignment": 4, "sft": 1}}


class Stubs(Runner):
    """Runs each job in this process: rows are drawn for real, other programs leave stubs."""

    def __init__(self, folder):
        super().__init__(folder, workers=2)
        self.jobs = {}

    def _run(self, name, commands, environment):
        self.jobs[name] = (commands, environment)
        super()._run(name, commands, environment)

    def _command(self, command, environment, out):
        script = command[2] if command[1] == "-m" else Path(command[1]).name
        if script == "reproduction.temple.rows":
            rows.main(command[3:])
        elif script == "run.sh":
            train(command[2], environment)
        elif script == "evaluate_model.py":
            score(**flags(command))
        elif script == "tools.pairs.order_rows":
            Path(flags(command)["output"]).write_bytes(orjson.dumps([{"messages": 1}] * 9))
        elif script == "convert_to_swift.py":
            folder = Path(flags(command)["output"])
            folder.mkdir(parents=True, exist_ok=True)
            for level in command[3:7]:
                path = folder / f"{command[2]}_i0_r{level}.json"
                path.write_bytes(orjson.dumps([{"messages": number} for number in range(9)]))
        return 0, 0.25


def flags(command):
    """{name: value} of the flags of a command that take one value."""
    return {name[2:]: value for name, value in pairwise(command) if name[:2] == "--"}


def train(recipe, environment):
    """What run.sh leaves behind."""
    for stage, steps in zip(last_phase(recipe), steps_of(recipe), strict=True):
        folder = Path(environment["EXP_DIR"], environment["GROUP"], "outputs", stage.name)
        checkpoint = folder / "v0-now" / f"checkpoint-{steps}"
        merged = checkpoint.with_name(checkpoint.name + "-merged")
        merged.mkdir(parents=True)
        checkpoint.mkdir()
        state = {"global_step": steps, "max_steps": steps}
        (checkpoint / "trainer_state.json").write_bytes(orjson.dumps(state))
        (merged / "model.safetensors").write_text(str(folder))
        (merged / "config.json").write_text("{}")
        data = Path(environment["DATA_DIR"], stage.data_file(environment["DATA_MODEL"]))
        sha = hashlib.sha256(data.read_bytes()).hexdigest()
        made = {"settings": {"BETA": "0.1", "LOSS_TYPE": "sigmoid"}, "sha256": sha}
        (folder / "stage.json").write_bytes(orjson.dumps({"made_with": made}))


def score(model, model_name, dataset, data_root, out, **others):
    """A score file; TEMPLE's models have nine pairs of ten in order, others five."""
    right = 9 if "temple" in model_name else 5
    counts = {metric: (1, 1) for metric in KEPT} | {"ordered": (right, 10)}
    story = {"video_name": "toy_0000.mp4", "n": 4, "caption": "", "counts": counts}
    scores = {
        "model": model,
        "name": model_name,
        "dataset": dataset,
        "weights": digest(model),
        "benchmark": benchmark(Path(data_root, dataset)),
        "videos": [story],
    }
    write_json(Path(out), with_intervals(scores))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with two bases and rendered stories, and small numbers of rows."""
    bases = tuple(Base(name, tmp_path / name, seed) for seed, name in enumerate(BASE_NAMES))
    for base in bases:
        base.folder.mkdir()
        (base.folder / "model.safetensors").write_text(base.name)
        (base.folder / TRAINED).write_text("{}")
    made = Workspace(tmp_path / "data", tmp_path / "exp", bases)
    few = {name: StorySet(3, "1,4,4", 5, told.begins_with) for name, told in STORIES.items()}
    monkeypatch.setattr(pipeline, "STORIES", few)
    for name in few:
        (made.data / name / "video").mkdir(parents=True)
        lines = [truth(plan_story(5, number, (1, 4, 4)[number])) for number in range(3)]
        (made.data / name / "truth.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
        for line in lines:
            (made.data / name / "video" / line["video_name"]).touch()
    monkeypatch.setattr("reproduction.temple.arms._yaml", lambda: FEW)
    digest.cache_clear()
    benchmark.cache_clear()
    return made


@pytest.fixture(autouse=True)
def warm(monkeypatch):
    """No swift is started here."""
    monkeypatch.setattr(pipeline, "warm_swift", lambda environment: Path("/warm"))


@pytest.fixture
def run(workspace):
    """Run arms; gives {job: (commands, environment)} of the jobs that had something to do."""

    def run(*names, seeds=(0,)):
        runner = Stubs(workspace.logs)
        chosen = [
            phases_of(workspace, arms()[name], seed, RATES) for seed in seeds for name in names
        ]
        assert Pipeline(workspace, runner, "toytest").run(chosen) == []
        return runner.jobs

    return run


def test_each_phase_is_one_job_and_the_second_run_has_nothing_to_do(run):
    sft, temple = "lr1e-3_r32_a32_bs32_toysft", "lr1e-3_r32_a64_bs8_freeze_r16-r8-r4-r2"
    phases = [sft, temple, f"{temple}={sft}", f"{sft}={temple}"]  # two arms begin with sft
    jobs = run("sft", "temple", "sft_dpo")
    assert {job for job in jobs if job.startswith(("train-", "score-"))} == {
        "score-toytest-toyvl",
        *(f"train-toyvl_s0-{phase}" for phase in phases),
        *(f"score-toytest-toyvl_s0-{phase}" for phase in phases),
    }
    assert run("sft", "temple", "sft_dpo") == {}


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(run, workspace):
    run("temple")
    last = phases_of(workspace, arms()["temple"], 0, RATES)[-1]
    last.scores("toytest").unlink()
    assert list(run("temple")) == [f"score-toytest-{last.key}"]


def test_a_model_that_was_trained_with_other_settings_does_not_count(run, workspace):
    run("no_sft_term")
    phase = phases_of(workspace, arms()["no_sft_term"], 0, RATES)[0]
    note = phase.folders[0] / "stage.json"
    made = read_json(note)
    for alpha, counts in (("0", True), ("1.0", False)):
        write_json(note, {"made_with": {**made["made_with"], "settings": {"RPO_ALPHA": alpha}}})
        assert phase.trained() is counts


def test_pairs_are_begun_first_since_most_arms_wait_for_them(run):
    jobs = list(run("sft", "temple", seeds=[0, 1]))
    assert set(jobs[:3]) >= {"shots-toypairs", "pairs-toypairs-toyvl"}


def test_an_arm_is_trained_with_its_seed_rows_and_settings(run, workspace):
    jobs = run("no_sft_term", seeds=[1])
    group = "toyvl_1_s1_no_sft_term"
    recipe = "lr1e-3_r32_a64_bs8_freeze_r16-r8-r4-r2"
    order = list(jobs)
    commands, environment = jobs[f"train-{group}-{recipe}"]
    assert commands == [
        ["bash", str(pipeline.REPOSITORY / "train_scripts/run.sh"), f"toyvl={recipe}"]
    ]
    before = [
        "pairs-toypairs-toyvl_1",
        *(f"rows-{group}-toyvl_1_i0_r{level}" for level in (16, 8, 4, 2)),
    ]
    assert max(map(order.index, before)) < order.index(f"train-{group}-{recipe}")
    assert environment.items() >= {
        ("RPO_ALPHA", "0"),
        ("SEED", "1"),
        ("GROUP", group),
        ("MODEL", str(workspace.bases[1].folder)),
        ("DATA_MODEL", "toyvl_1"),
        ("DATA_DIR", str(workspace.exp / "rows" / group)),
        ("OMP_NUM_THREADS", "1"),
        ("DEVICE", "cpu"),
    }
    assert environment["PATH"].startswith("/warm:")  # a swift that has been started already


def test_models_are_scored_by_a_python_that_has_imported_torch_already(run):
    jobs = run("sft")
    for name in ("toyvl", "toyvl_s0-lr1e-3_r32_a32_bs32_toysft"):
        ((command,), _) = jobs[f"score-toytest-{name}"]
        assert command[:3] == ["/warm/swift", str(REPOSITORY / "evaluate_model.py"), "toy"]


def test_datasets_begin_with_the_ones_that_they_name():
    for more in STORIES.values():
        if more.begins_with:
            first = STORIES[more.begins_with]
            assert (first.seed, first.events) == (more.seed, more.events)
            assert first.videos < more.videos
            assert first.begins_with is None


def test_stories_that_begin_with_others_are_rendered_after_them(workspace):
    for name in ("toysft", "toysft-x4"):
        (workspace.data / name / "truth.jsonl").unlink()
    runner = Stubs(workspace.logs)
    Pipeline(workspace, runner, "toytest").render("toysft-x4")
    assert list(runner.jobs) == ["render-toysft", "render-toysft-x4"]
    ((first,), _), ((more,), _) = runner.jobs.values()
    assert more[-2:] == ["--begin_with", str(workspace.data / "toysft")]
    assert "--begin_with" not in first


def test_stories_of_another_seed_are_rendered_again(workspace):
    folder = workspace.data / "toytest"
    assert stories.is_rendered(folder, StorySet(3, "1,4,4", 5))
    assert not stories.is_rendered(folder, StorySet(3, "1,4,4", 6))
    assert not stories.is_rendered(folder, StorySet(4, "1,4,4", 5))
    assert not stories.is_rendered(folder / "no", StorySet(3, "1,4,4", 5))


def test_pairs_of_many_videos_are_made_only_for_an_arm_that_wants_them(run, workspace):
    jobs = run("many_chosen")
    (command,) = jobs["rows-toyvl_s0_many_chosen-toyvl_i0_chosen"][0]
    files = [word for word in command if word.endswith(".json")]
    folder = workspace.exp / "pairs" / "toypairs-x5" / "all"
    assert files[:-1] == [str(folder / f"toyvl_i0_r{level}.json") for level in (16, 8, 4, 2)]
    assert [job for job in jobs if job.startswith("pairs-")] == ["pairs-toypairs-x5-toyvl"]
    assert "pairs-toypairs-toyvl" in run("temple")


def test_a_reward_for_order_takes_a_row_for_eight_answers(run, workspace):
    assert rows_of(arms()["order_reward"].phases(RATES)[0]) == [4 * 16 // 8]
    jobs = run("order_reward")
    (order_rows,) = jobs["order-toypairs-toyvl"][0]
    assert order_rows[2] == "tools.pairs.order_rows"
    ((command,), _) = jobs["rows-toyvl_s0_order_reward-toyvl_i0_order"]
    assert flags(command)["pairs"] == flags(order_rows)["output"]
    assert list(jobs).index("pairs-toypairs-toyvl") < list(jobs).index("order-toypairs-toyvl")


def test_stages_of_the_same_levels_share_one_draw(run):
    jobs = run("restarts", "one_schedule")
    files = ["r16-8-4-2", "r8-4-2-16", "r4-2-16-8", "r2-16-8-4"]
    parts = [
        flags(command)["part"]
        for file in files
        for command in jobs[f"rows-toyvl_s0_restarts-toyvl_i0_{file}"][0]
    ]
    assert parts == ["1/4", "2/4", "3/4", "4/4"]
    ((command,), _) = jobs["rows-toyvl_s0_one_schedule-toyvl_i0_r16-8-4-2"]
    assert "--part" not in command


def test_pairs_of_wrong_captions_are_made_after_those_of_the_base(run, workspace):
    jobs = run("noisy_temple_n20", seeds=[1])
    assert [job for job in jobs if job.startswith("pairs-")] == [
        *("pairs-toypairs-toyvl_1", "pairs-toypairs-toyvl_1_n20")
    ]
    noise, responses, *_ = jobs["pairs-toypairs-toyvl_1_n20"][0]
    assert noise[2:] == [
        *("reproduction.temple.noise", "--dataset", "toypairs", "--model", "toyvl_1"),
        *("--seed", "1", "--data_root", str(workspace.data), "--percent", "20"),
    ]
    assert flags(responses)["model_name"] == "toyvl_1_n20"
    ((rows,), _) = jobs["rows-toyvl_1_s1_noisy_temple_n20-toyvl_1_i0_r16"]
    assert Path(flags(rows)["pairs"]).name == "toyvl_1_n20_i0_r16.json"
    train = next(jobs[job] for job in jobs if job.startswith("train-"))
    assert train[1]["DATA_MODEL"] == "toyvl_1"


def test_no_pairs_are_made_for_arms_of_fine_tuning_alone(run):
    assert [job for job in run("sft") if job.startswith(("shots-", "pairs-"))] == []


@pytest.mark.parametrize("spoil", ["half", "other weights", "other questions"])
def test_a_score_file_that_is_not_this_models_is_made_again(run, workspace, spoil):
    run("sft")
    (one,) = phases_of(workspace, arms()["sft"], 0, RATES)
    path = one.scores("toytest")
    whole = path.read_bytes()
    if spoil == "half":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        key = {"other weights": "weights", "other questions": "benchmark"}[spoil]
        path.write_bytes(orjson.dumps({**orjson.loads(whole), key: "0"}))
    assert list(run("sft")) == ["score-toytest-toyvl_s0-lr1e-3_r32_a32_bs32_toysft"]
    assert path.read_bytes() == whole


def test_a_model_of_other_rows_does_not_count(run, workspace):
    run("sft")
    (one,) = phases_of(workspace, arms()["sft"], 0, RATES)
    assert one.trained()
    (path,) = one.rows
    path.write_bytes(b"[]")
    assert not one.trained()


def test_what_is_collected(run, workspace):
    names, seeds = ("sft", "temple"), (0, 1)
    run(*names, seeds=seeds)
    results = collect(workspace, [arms()[name] for name in names], range(2), RATES, "toytest")
    assert results["asked"]["videos"] == ["toy_0000.mp4"]
    assert results["asked"]["events"] == [4]
    assert results["bases"].keys() == {"toyvl", "toyvl_1"}
    assert {name: list(arm["seeds"]) for name, arm in results["arms"].items()} == {
        "sft": ["0", "1"],
        "temple": ["0", "1"],
    }
    first, last = results["arms"]["temple"]["seeds"]["1"]["phases"]
    assert results["arms"]["temple"]["seeds"]["1"]["base"] == "toyvl_1"
    assert (first["steps"], first["planned"]) == ([1, 1, 1, 1], [1, 1, 1, 1])
    assert (last["steps"], last["planned"]) == ([1], [1])
    assert last["counts"] == {
        "ordered": [[9], [10]],
        **{metric: [[1], [1]] for metric in KEPT if metric != "ordered"},
    }
    assert last["scores"]["ordered"] == {"all": 0.9, "4": 0.9}
    assert first["cpu_s"] == 0.2  # 0.25 s, as the stub says


def test_an_arm_counts_once_all_of_it_is_there(run, workspace):
    run("temple")
    temple = [arms()["temple"]]
    assert collect(workspace, temple, [0], RATES, "toytest")["arms"].keys() == {"temple"}
    phases_of(workspace, temple[0], 0, RATES)[-1].scores("toytest").unlink()
    assert collect(workspace, temple, [0], RATES, "toytest")["arms"] == {}


def test_arms_that_are_in_the_results_already_stay_and_those_of_now_replace_them(run, workspace):
    run("sft", "temple", seeds=(0, 1))
    two = [arms()[name] for name in ("sft", "temple")]
    known = collect(workspace, two, range(2), RATES, "toytest")
    known["arms"]["temple"]["seeds"]["0"]["phases"][0]["cpu_s"] = 9.0
    known["machine"] = "an older one"
    del known["arms"]["temple"]["machine"]  # as in results of before entries had it
    now = collect(workspace, [arms()["sft"]], [0], RATES, "toytest")
    now["arms"]["sft"]["seeds"]["0"]["phases"][0]["cpu_s"] = 7.0
    now["arms"]["sft"]["label"] = "SFT as of now"
    del now["bases"]["toyvl_1"]
    both = merged(now, known, still_valid(known, workspace, RATES))
    assert list(both["arms"]) == ["sft", "temple"]
    assert both["arms"]["temple"] == {**known["arms"]["temple"], "machine": "an older one"}
    sft = both["arms"]["sft"]
    assert sft["label"] == "SFT as of now"
    assert sft["seeds"]["0"]["phases"][0]["cpu_s"] == 7.0
    assert sft["seeds"]["1"] == known["arms"]["sft"]["seeds"]["1"]
    assert both["bases"].keys() == {"toyvl", "toyvl_1"}
    # What was asked about other stories cannot be compared.
    other = {**known, "asked": {**known["asked"], "benchmark": "0"}}
    assert merged(now, other, still_valid(other, workspace, RATES)) == now


@pytest.mark.parametrize("changed", ["recipe", "settings", "planned", "stories", "bases"])
def test_what_would_be_trained_differently_now_is_left_out(run, workspace, changed):
    run("sft", "temple")
    two = [arms()[name] for name in ("sft", "temple")]
    known = collect(workspace, two, [0], RATES, "toytest")
    assert still_valid(known, workspace, RATES) == known["arms"]
    sft = known["arms"]["sft"]
    if changed == "recipe":
        sft["recipe"] = "toyvl=lr9"
    elif changed == "settings":
        sft["settings"] = {"BETA": "9"}
    elif changed == "planned":
        sft["seeds"]["0"]["phases"][0]["planned"] = [7]
    else:
        known[changed] = {"toyvl": {"trained": "otherwise"}}
        assert still_valid(known, workspace, RATES) == {}
        return
    assert list(still_valid(known, workspace, RATES)) == ["temple"]


def test_a_study_takes_what_it_compares_with_from_the_results_and_is_added_to_them(
    tmp_path, monkeypatch, capsys
):
    known = read_json(RATES_FILE.parent / "reproduction.json")
    assert len(known["arms"]["temple"]["seeds"]) == 5
    write_json(tmp_path / "reproduction.json", known)
    trained = []

    def run(_, wanted):
        trained.extend(phases[0].arm.name for phases in wanted)
        return []

    own = {**known["arms"]["temple"], "label": "four levels, one schedule, SFT"}
    study = {**known, "arms": {"one_schedule": own}}
    monkeypatch.setattr(Pipeline, "run", run)
    monkeypatch.setattr(run_module, "collect", lambda *_: study)
    words = ["--study", "curriculum", "--exp", str(tmp_path / "exp"), "--out", str(tmp_path)]
    main(words)
    assert {*trained} == {"one_schedule", "restarts"}
    both = read_json(tmp_path / "reproduction.json")["arms"]
    assert both.keys() == known["arms"].keys() | {"one_schedule"}
    assert "no longer in" not in capsys.readouterr().out
    # From other stories, all must be trained again, and what has gone is named.
    write_json(tmp_path / "reproduction.json", {**known, "stories": {}})
    trained.clear()
    main(words)
    assert {*trained} == {"temple", "mixed", "one_schedule", "restarts"}
    others = ", ".join(sorted(known["arms"]))
    assert f"since they would be trained or asked otherwise: {others}" in capsys.readouterr().out


def test_an_arm_that_nobody_knows():
    with pytest.raises(UserError) as error:
        main(["--arms", "sft", "templ"])
    assert str(error.value) == f"no arm 'templ' in arms.yaml; there are: {', '.join(arms())}"


@pytest.mark.parametrize("other", ["--choose_rates", "--quick"])
def test_a_look_on_validation_is_asked_for_alone(capsys, other):
    with pytest.raises(SystemExit) as ended:
        main(["--validate", other])
    assert ended.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_base_that_has_changed_is_found_out(workspace):
    weights = workspace.bases[0].folder / "model.safetensors"
    check_bases(workspace)
    check_bases(workspace)
    weights.write_text("trained again")
    with pytest.raises(UserError) as error:
        check_bases(workspace)
    assert str(error.value) == (
        f"{weights.parent} has changed since {workspace.exp} was begun: move {workspace.exp} and"
        f" {workspace.data}/toypairs* away"
    )
    weights.unlink()
    with pytest.raises(UserError, match="holds no model: python -m reproduction"):
        check_bases(workspace)


# Rates


def test_the_best_rate_and_of_equal_ones_the_smallest():
    tried = {
        rate: {"ordered": share} for rate, share in (("1e-2", 0.7), ("3e-4", 0.6), ("1e-3", 0.7))
    }
    assert best(tried) == "1e-3"


def test_rates_are_chosen_from_a_seed_and_on_stories_that_no_result_comes_from(workspace):
    runner = Stubs(workspace.logs)
    path = workspace.exp / "learning_rates.json"
    choose(workspace, runner, {"sft": ["1e-3"], "temple": ["1e-3", "3e-3"]}, path)
    chosen = read_json(path)
    assert (chosen["seed"], chosen["dataset"]) == (100, "toyval")
    assert {arm: entry["rate"] for arm, entry in chosen["rates"].items()} == {
        "sft": "1e-3",
        "temple": "1e-3",
    }
    values = {**dict.fromkeys(KEPT, 1.0), "ordered": 0.9}
    assert chosen["rates"]["temple"]["tried"] == {"1e-3": values, "3e-3": values}
    groups = [path.name for path in workspace.exp.iterdir() if path.name.startswith("toyvl_s")]
    assert groups == ["toyvl_s100"]
    # Final models alone are scored.
    assert len([job for job in runner.jobs if job.startswith("score-")]) == 3


def test_arms_are_compared_on_validation_and_no_result_changes(workspace):
    chosen = [arms()[name] for name in ("sft", "temple")]
    path = workspace.exp / "validation.json"
    compare(workspace, Stubs(workspace.logs), chosen, RATES, path)
    compared = read_json(path)["arms"]
    assert {arm: values["ordered"] for arm, values in compared.items()} == {
        "sft": 0.5,
        "temple": 0.9,
    }
    assert collect(workspace, chosen, range(2), RATES, "toytest")["arms"] == {}
