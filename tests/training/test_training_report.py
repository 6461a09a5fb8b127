"""The report of a training: what swift logged, as one picture and one table."""

import json

import pytest

from tools.training.report import read_log, stage_folders, table_row

R16, R16_R8 = (f"qwen2vl7b=lr1e-3_r8_a16_bs2_freeze_{levels}" for levels in ("r16", "r16-r8"))
SFT = f"{R16_R8}=lr1e-3_r8_a8_bs1_sft60k"
OTHER = "qwen2vl7b=lr1e-3_r8_a16_bs2_freeze_r2"


def dpo(step, of, **values):
    """A line that swift logs of DPO."""
    return {
        "loss": 2 - step / 10,
        "learning_rate": 1e-3 / step,
        "rewards/accuracies": min(1.0, step / 4),
        "rewards/margins": step / 100,
        "global_step/max_steps": f"{step}/{of}",
        "elapsed_time": "1s",
        **values,
    }


def held_out(step, of, loss, accuracy):
    return {
        "eval_loss": loss,
        "eval_rewards/accuracies": accuracy,
        "eval_rewards/margins": 0.5,
        "global_step/max_steps": f"{step}/{of}",
    }


@pytest.fixture
def stage(tmp_path):
    """A function that writes a stage's folder: the lines of its runs of swift, what was counted."""

    def make(name, *runs, rows=None, torn=""):
        folder = tmp_path / "exp" / "toy" / "outputs" / name
        for number, lines in enumerate(runs):
            run = folder / f"v{number}-20260101-000000"
            run.mkdir(parents=True)
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (run / "logging.jsonl").write_text(text + torn)
        if rows:
            (folder / "stage.json").write_text(json.dumps({"rows": rows}))
        return folder

    return make


def test_a_log_is_read(stage):
    lines = [dpo(1, 2), dpo(2, 2), held_out(2, 2, 0.6, 0.75), {"last_model_checkpoint": "c"}]
    log = read_log(stage(R16, lines, rows={"rows": 4, "kept": 3}))
    assert (log.label, log.state, log.rows, log.kept) == ("r16", "new", 4, 3)
    assert (log.steps, log.max_steps) == (2, 2)
    assert log.series["loss"] == [(1, 1.9), (2, 1.8)]
    assert log.series["eval_rewards/accuracies"] == [(2, 0.75)]
    assert "elapsed_time" not in log.series


def test_what_a_resumed_run_did_again_counts_once(stage):
    killed = [dpo(step, 6, loss=9.0) for step in (1, 2, 3, 4)]
    resumed = [dpo(step, 6, loss=1.0) for step in (3, 4, 5)]
    log = read_log(stage(R16, killed, resumed, torn='{"loss": 1.0, "glob'))
    assert log.series["loss"] == [(1, 9.0), (2, 9.0), (3, 1.0), (4, 1.0), (5, 1.0)]
    assert (log.steps, log.max_steps) == (5, 6)


def test_a_run_that_logged_nothing_yet(stage):
    folder = stage(R16, [])
    (folder / "v1-20260101-000000").mkdir()
    log = read_log(folder)
    assert (log.steps, log.numbers("loss"), log.last("loss")) == (0, [], None)


def test_the_end_of_a_series_is_the_mean_of_its_last_tenth(stage):
    log = read_log(stage(R16, [dpo(step, 20, loss=float(step)) for step in range(1, 21)]))
    assert log.last("loss") == 19.5


def test_the_log_p_of_both_sides_at_both_ends_of_a_stage(stage):
    lines = [
        dpo(step, 20, **{"logps/chosen": -50.0 - step, "logps/rejected": -50.0 - 3 * step})
        for step in range(1, 21)
    ]
    row = table_row(read_log(stage(R16, lines)))
    assert (row["chosen_log_p_first"], row["chosen_log_p_last"]) == ("-51.5", "-69.5")
    assert (row["rejected_log_p_first"], row["rejected_log_p_last"]) == ("-54.5", "-108.5")


def test_an_experiment_is_its_stage_and_those_before_it(stage, tmp_path):
    folders = {name: stage(name, [dpo(1, 1)]) for name in (SFT, R16, OTHER, R16_R8)}
    found = [folder.name for folder in stage_folders(folders[SFT])]
    assert found == [R16, R16_R8, SFT]
    everything = [R16, R16_R8, SFT, OTHER]
    for path in (tmp_path / "exp" / "toy", tmp_path / "exp" / "toy" / "outputs"):
        assert [folder.name for folder in stage_folders(path)] == everything


def test_one_picture_and_one_table(stage, run_script, tmp_path):
    lines = [dpo(1, 2, **{"logps/chosen": -5.0}), dpo(2, 2), held_out(2, 2, 0.6, 0.75)]
    stage(R16, lines, rows={"rows": 4, "kept": 3})
    sft = [{"loss": 3.0, "learning_rate": 1e-4, "global_step/max_steps": "1/9"}]
    stage(R16_R8, [dpo(1, 1)])
    folder = stage(SFT, sft)
    done = run_script("-m", "tools.training.report", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "training_report.tsv").read_text().splitlines() == [
        "stage\tstate\trows\tkept\tsteps\tof\tloss_first\tloss_last\tmargin\taccuracy"
        "\theld_out_loss\theld_out_margin\theld_out_accuracy\tpeak_lr"
        "\tchosen_log_p_first\tchosen_log_p_last\trejected_log_p_first\trejected_log_p_last",
        "r16\tnew\t4\t3\t2\t2\t1.9\t1.8\t0.02\t0.5\t0.6\t0.5\t0.75\t0.001\t-5\t-5\t\t",
        "r8\tnew\t\t\t1\t1\t1.9\t1.9\t0.01\t0.25\t\t\t\t0.001\t\t\t\t",
        "sft60k\tnew\t\t\t1\t9\t3\t3\t\t\t\t\t\t0.0001\t\t\t\t",
    ]
    assert (folder / "training_report.png").read_bytes().startswith(b"\x89PNG")
    assert [line.split()[0] for line in done.stdout.splitlines() if "new" in line] == [
        "r16", "r8", "sft60k"
    ]  # fmt: skip
    out = tmp_path / "out"
    run_script("-m", "tools.training.report", folder.parent.parent, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "training_report.png",
        "training_report.tsv",
    ]


@pytest.mark.parametrize(
    ("path", "line"),
    [("nowhere", "nowhere: no such folder"), (".", "no stage of a training in it, such as exp/")],
)
def test_a_mistake_gets_one_line(run_script, tmp_path, path, line):
    done = run_script("-m", "tools.training.report", tmp_path / path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert line in done.stderr
