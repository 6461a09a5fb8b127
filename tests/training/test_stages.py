"""A stage's folder: how far it has come, and what it was made with."""

import json

import pytest

from tools.errors import UserError
from tools.training.stages import State, check_made_with, find_state, note, note_run


@pytest.fixture
def stage(tmp_path):
    """A function that makes checkpoints of a stage of 3 steps: `<run> <step> <what it is>` each."""
    folder = tmp_path / "qwen2vl7b=lr1e-3_r8_a16_bs2_r16"

    def make(*things):
        for thing in things:
            run, step, what = thing.split()
            path = folder / f"{run}-20260101-000000" / f"checkpoint-{step}"
            if what == "merged":
                path.with_name(f"{path.name}-merged").mkdir(parents=True)
                continue
            path.mkdir(parents=True)
            state = json.dumps({"global_step": int(step), "max_steps": 3})
            if what == "torn":
                state = state[:9]
            if what != "bare":
                (path / "trainer_state.json").write_text(state)
        return folder

    return make


@pytest.mark.parametrize(
    ("things", "kind", "path"),
    [
        ([], "new", None),
        (["v0 1 torn"], "new", None),
        (["v0 1 bare"], "new", None),
        (["v0 1 whole", "v0 2 torn"], "partial", "v0 1"),
        (["v0 1 whole", "v0 2 whole"], "partial", "v0 2"),
        (["v0 2 whole", "v1 1 whole"], "partial", "v0 2"),
        (["v0 2 whole", "v1 2 whole"], "partial", "v1 2"),
        (["v9 2 whole", "v10 2 whole"], "partial", "v10 2"),
        (["v0 2 whole", "v1 3 whole"], "trained", "v1 3"),
        (["v0 3 whole", "v0 3 merged"], "merged", "v0 3-merged"),
        (["v0 3 merged"], "merged", "v0 3-merged"),  # its checkpoint was deleted
        (["v0 2 whole", "v0 2 merged"], "partial", "v0 2"),  # merged by hand, halfway
    ],
)
def test_how_far_a_stage_has_come(stage, things, kind, path):
    folder = stage(*things)
    if path:
        run, step = path.split()
        path = folder / f"{run}-20260101-000000" / f"checkpoint-{step}"
    assert find_state(folder) == State(kind, path)


def test_a_merge_that_was_cut_off_does_not_count(stage):
    folder = stage("v0 3 whole")
    (folder / "v0-20260101-000000" / "checkpoint-3-merging").mkdir()
    assert find_state(folder).kind == "trained"


def test_work_made_with_other_settings_is_refused(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text("[1]")
    folder = tmp_path / "stage"
    made_with = {"EPOCHS": "1", "BETA": "0.1"}
    note_run(folder, rows, made_with, {"torch": "2"}, ["swift", "rlhf"])
    check_made_with(folder, made_with, rows)
    with pytest.raises(UserError, match=r"was trained with BETA='0.1', now '0.2': name another GR"):
        check_made_with(folder, {**made_with, "BETA": "0.2"}, rows)
    with pytest.raises(UserError, match=r"was trained with NEW=None, now '1': name another"):
        check_made_with(folder, {**made_with, "NEW": "1"}, rows)
    rows.write_text("[2]")
    with pytest.raises(UserError, match=r"was trained with other content of .*rows.json"):
        check_made_with(folder, made_with, rows)
    with pytest.raises(UserError, match=r"was trained with rows rows.json, now others.json"):
        check_made_with(folder, made_with, tmp_path / "others.json")
    rows.unlink()  # A finished stage does not need its rows.
    check_made_with(folder, made_with, rows)


def test_a_folder_without_a_record_is_taken_as_it_is(tmp_path):
    check_made_with(tmp_path, {"EPOCHS": "1"}, tmp_path / "rows.json")


def test_every_run_is_noted(tmp_path):
    rows = tmp_path / "rows.json"
    rows.write_text("[1]")
    folder = tmp_path / "stage"
    note(folder, rows={"rows": 1, "kept": 1})
    note_run(folder, rows, {"EPOCHS": "1"}, {"WORKERS": "8", "torch": "2.14"}, ["swift", "rlhf"])
    note_run(folder, rows, {"EPOCHS": "1"}, {"WORKERS": "4", "torch": "2.15"}, ["swift", "again"])
    noted = json.loads((folder / "stage.json").read_text())
    assert noted["name"] == "stage" and noted["rows"] == {"rows": 1, "kept": 1}
    assert noted["made_with"] == {
        "settings": {"EPOCHS": "1"},
        "rows": "rows.json",
        "sha256": "080a9ed428559ef602668b4c00f114f1a11c3f6b02a435f0bdc154578e4d7f22",
    }
    assert [(run["with"]["WORKERS"], run["command"]) for run in noted["runs"]] == [
        ("8", ["swift", "rlhf"]),
        ("4", ["swift", "again"]),
    ]
