"""Rounds of self-generation; what would caption, train and score is played by stubs here."""

import json
import subprocess
from pathlib import Path

import pytest

from evaluation.scores import with_intervals
from tools import rounds
from tools.errors import UserError
from tools.training.recipe import parse

PHASE = "lr1e-3_r8_a16_bs4_freeze_r16-r8"
RECIPE = f"toyvl={PHASE}"
VIDEOS = 20


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    """The commands that were run; `right` says how many of ten pairs of events each model has in
    order, the base's first."""

    class Stubs:
        right = (4, 6, 6)
        failing = None

        def __init__(self):
            self.commands, self.checks, self.refuses = [], [], 0

        def run(self, command, env, **_):
            if env.get("DRY_RUN"):
                self.checks.append((command, env))
                return subprocess.CompletedProcess(command, self.refuses, "", "error: no GPU\n")
            self.commands.append((command, env))
            words = [*map(str, command)]
            if self.failing and self.failing in " ".join(words):
                return subprocess.CompletedProcess(words, 1)
            if "evaluate_model.py" in words[1]:
                self.score(words)
            elif words[0] == "bash":
                folder = Path(env["EXP_DIR"], env["GROUP"], "outputs", words[2], "v0-now")
                (folder / "checkpoint-9-merged").mkdir(parents=True, exist_ok=True)
                (folder / "checkpoint-9-merged" / "config.json").write_text("{}")
            return subprocess.CompletedProcess(words, 0)

        def score(self, words):
            out = Path(words[words.index("--out") + 1])
            right = self.right[int(out.stem.removeprefix("scores_"))]
            videos = [
                {"video_name": str(n), "n": 5, "counts": {"ordered": [right, 10]}}
                for n in range(VIDEOS)
            ]
            scores = {
                **{"model": words[words.index("--model") + 1], "name": "m", "dataset": "toytest"},
                **{"benchmark": "b", "videos": videos},
            }
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(with_intervals(scores)))

    stubs = Stubs()
    monkeypatch.setattr(rounds.subprocess, "run", stubs.run)
    return stubs


def start(tmp_path, *words, phase=PHASE, dataset="mine"):
    root = tmp_path / "data"
    (root / "mine" / "anno").mkdir(parents=True, exist_ok=True)
    where = ["--exp", str(tmp_path), "--data_root", str(root)]
    rounds.main([dataset, "2", "--model", "toyvl", "--phase", phase, *where, *words])
    return json.loads((tmp_path / "rounds.json").read_text())


def test_each_round_is_made_by_the_model_of_the_one_before(stubs, tmp_path):
    start(tmp_path, "--rounds", "2")
    trained = str(tmp_path / "round0" / "outputs" / RECIPE / "v0-now" / "checkpoint-9-merged")
    said = [" ".join(map(str, command)) for command, _ in stubs.commands]
    second = [line for line in said if "toyvl-round1" in line and "evaluate" not in line]
    assert f"generate_meta_data.py 2 --dataset mine --model {trained}" in second[0]
    assert "generate_dpo_data.py mine 2 --iter 1" in second[1] and trained in second[1]
    for line, ratio in zip(second[2:4], (16, 8), strict=True):
        assert f"convert_to_swift.py toyvl-round1 {ratio} --dataset mine --iter 1" in line
        assert f"{tmp_path}/rows/toyvl-round1_i1_r{ratio}.json" in line
    (_, first), (_, environment) = [entry for entry in stubs.commands if entry[0][0] == "bash"]
    assert "MODEL" not in first  # train_scripts/settings.sh knows toyvl
    assert environment.items() >= {
        ("MODEL", trained),
        ("DATA_MODEL", "toyvl-round1"),
        ("DATA_ITER", "1"),
        ("GROUP", "round1"),
    }
    # What training looks for is what was made.
    stage = parse(RECIPE).stages[1]
    assert stage.data_file("toyvl-round1", 1) == "toyvl-round1_i1_r8.json"


def test_the_rounds_end_where_the_order_does_not_improve(stubs, tmp_path, capsys):
    summary = start(tmp_path, "--rounds", "5")
    assert [entry["ordered"]["value"] for entry in summary["rounds"]] == [0.4, 0.6, 0.6]
    assert [bool(entry["gain"] and entry["gain"]["low"] > 0) for entry in summary["rounds"]] == [
        *(False, True, False)
    ]
    assert summary["best"] == summary["rounds"][1]["model"]
    assert "has not improved: the rounds end here" in capsys.readouterr().out


def test_what_is_scored_is_not_scored_again(stubs, tmp_path):
    start(tmp_path, "--rounds", "1")
    stubs.commands.clear()
    start(tmp_path, "--rounds", "1")
    assert not [command for command, _ in stubs.commands if "evaluate_model.py" in command[1]]


def test_a_stage_that_fails_ends_the_rounds(stubs, tmp_path):
    stubs.failing = "generate_dpo_data.py"
    with pytest.raises(UserError, match="the command above ended with status 1"):
        start(tmp_path)
    assert not [command for command, _ in stubs.commands if command[0] == "bash"]


def test_scores_of_other_stories_or_of_older_ones_do_not_count(stubs, tmp_path):
    start(tmp_path, "--rounds", "1")
    truth = tmp_path / "data" / "toytest" / "truth.jsonl"
    truth.parent.mkdir(parents=True)
    for change, scored in ((lambda: None, 0), (truth.touch, 2), (lambda: None, 0)):
        change()
        stubs.commands.clear()
        start(tmp_path, "--rounds", "1")
        runs = [command for command, _ in stubs.commands if "evaluate_model.py" in command[1]]
        assert len(runs) == scored


def test_what_training_refuses_is_said_before_anything_is_made(stubs, tmp_path):
    stubs.refuses = 2
    with pytest.raises(UserError, match=r"^no GPU$"):
        start(tmp_path)
    [(_, environment)] = stubs.checks
    assert environment["DRY_RUN"] == "1" and environment["GROUP"] == "round0"
    assert stubs.commands == []


def test_a_wrong_dataset_is_said_before_anything_is_made(stubs, tmp_path):
    with pytest.raises(UserError, match=r"no dataset 'mind' in .*; did you mean 'mine'"):
        start(tmp_path, dataset="mind")
    assert stubs.commands == stubs.checks == []


def test_data_that_no_round_makes(stubs, tmp_path):
    with pytest.raises(UserError, match=r"'sft60k' is no data that a round makes; levels such as"):
        start(tmp_path, phase="lr1e-3_r8_a16_bs4_sft60k")
    assert stubs.commands == []
