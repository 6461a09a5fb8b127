"""An experiment's name is its recipe: what it says, and what is said of a wrong one."""

import pytest

from tools.errors import UserError
from tools.training.recipe import Stage, main, parse

PAPER = "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
DPO = "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_"


def test_the_papers_recipe():
    recipe = parse(PAPER)
    assert recipe.model == "qwen25vl7b"
    dpo = {"dataset": "", "lr": "5e-6", "rank": 32, "alpha": 64, "batch": 16, "freeze": True}
    assert recipe.stages == (
        Stage(f"{DPO}r16", (16,), **dpo),
        Stage(f"{DPO}r16-r8", (8,), **dpo),
        Stage(f"{DPO}r16-r8-r4", (4,), **dpo),
        Stage(f"{DPO}r16-r8-r4-r2", (2,), **dpo),
        Stage(PAPER, (), "sft60k", lr="1e-4", rank=32, alpha=32, batch=16, freeze=False),
    )
    assert [stage.kind for stage in recipe.stages] == ["dpo", "dpo", "dpo", "dpo", "sft"]


@pytest.mark.parametrize(
    ("phases", "stages"),
    [
        ("lr5e-6_r32_a64_bs16_r4", [("lr5e-6_r32_a64_bs16_r4", (4,))]),
        ("lr5e-6_r32_a64_bs16_r16+r8+r4+r2", [("lr5e-6_r32_a64_bs16_r16+r8+r4+r2", (16, 8, 4, 2))]),
        (
            "lr5e-6_r32_a64_bs16_r2-r16+r8",  # hard to easy, the last level mixed
            [("lr5e-6_r32_a64_bs16_r2", (2,)), ("lr5e-6_r32_a64_bs16_r2-r16+r8", (16, 8))],
        ),
        (
            "lr1e-4_r8_a16_bs4_sft60k=lr5e-6_r32_a64_bs16_freeze_r2",  # fine-tuning first
            [
                ("lr1e-4_r8_a16_bs4_sft60k", ()),
                ("lr1e-4_r8_a16_bs4_sft60k=lr5e-6_r32_a64_bs16_freeze_r2", (2,)),
            ],
        ),
    ],
)
def test_other_orders(phases, stages):
    found = parse(f"qwen2vl7b={phases}").stages
    assert [(stage.name, stage.levels) for stage in found] == [
        (f"qwen2vl7b={name}", levels) for name, levels in stages
    ]


def test_levels_behind_the_word_simpo_are_trained_by_it():
    stages = parse("q=lr5e-6_r32_a64_bs16_freeze_simpo_r16-r8=lr1e-4_r8_a9_bs4_mine").stages
    assert [stage.kind for stage in stages] == ["simpo", "simpo", "sft"]
    assert [stage.freeze for stage in stages] == [True, True, False]
    assert stages[1].name == "q=lr5e-6_r32_a64_bs16_freeze_simpo_r16-r8"
    assert stages[1].data_file("q") == "q_i0_r8.json"


def test_the_data_order_are_for_grpo():
    (stage,) = parse("q=lr1e-6_r32_a64_bs64_freeze_order").stages
    assert (stage.kind, stage.levels) == ("grpo", ())
    assert stage.data_file("qwen2vl7b", iteration=1) == "qwen2vl7b_i1_order.json"


def test_experiments_with_a_common_beginning_share_its_stages():
    def names(recipe):
        return {stage.name for stage in parse(recipe).stages}

    assert names(PAPER) & names(f"{DPO}r16-r8-r2") == {f"{DPO}r16", f"{DPO}r16-r8"}
    assert not names(PAPER) & names(PAPER.replace("a64", "a32"))


@pytest.mark.parametrize(
    ("data", "file"),
    [
        ("r16", "qwen2vl7b_i1_r16.json"),
        ("r8+r16", "qwen2vl7b_i1_r8-16.json"),
        ("sft60k", "llava-video-sft-60k.json"),
        ("sft500", "llava-video-sft-500.json"),
        ("sft-mine", "sft-mine.json"),
        ("videos.v2", "videos.v2.json"),
    ],
)
def test_what_a_stage_reads(data, file):
    (stage,) = parse(f"qwen25vl7b=lr5e-6_r32_a64_bs16_{data}").stages
    assert stage.data_file("qwen2vl7b", iteration=1) == file


PHASE = "phase 1 of the recipe, "


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("qwen", "recipe 'qwen': no phase follows the model, such as =lr5e-6_r32_a64_bs16_freeze"),
        ("=lr5e-6_r32_a64_bs16_r16", "'' is no model's name, such as qwen25vl7b"),
        ("a/b=lr5e-6_r32_a64_bs16_r16", "'a/b' is no model's name"),
        ("q=", f"{PHASE}'': the learning rate is missing, such as lr5e-6, before ''"),
        ("q=r16-r8", f"{PHASE}'r16-r8': the learning rate is missing, such as lr5e-6, before 'r16"),
        ("q=lr5e-6_r32_a64_r16", "'lr5e-6_r32_a64_r16': the global batch size is missing, such as"),
        ("q=lr5e-6_a64_r32_bs16_r16", "expected the LoRA rank, such as r32, found 'a64'"),
        ("q=lr5e-6_r32_a64_b16_freeze_r16", "expected the global batch size, such as bs16, found"),
        ("q=lr5e-6_r32_a64_bs0_r16", "the global batch size, such as bs16, found 'bs0'"),
        ("q=lrx_r32_a64_bs16_r16", "expected the learning rate, such as lr5e-6, found 'lrx'"),
        ("q=lr5e6_r32_a64_bs16_r16", "a learning rate of 5e6 is not between 0 and 1, such as 5e-6"),
        ("q=lr0_r32_a64_bs16_r16", "a learning rate of 0 is not between 0 and 1"),
        ("q=lr5e-6_r32_a64_bs16_frozen_r16", "'frozen' stands between the batch size and the data"),
        (
            "q=lr5e-6_r32_a64_bs16_freeze_freeze_r16",
            "'freeze_freeze' stands between the batch",
        ),
        ("q=lr5e-6_r32_a64_bs16_simpo_freeze_r16", "each once and in this order"),
        ("q=lr5e-6_r32_a64_bs16_simpo_mine", "simpo learns from levels, such as r16-r8-r4-r2, not"),
        ("q=lr5e-6_r32_a64_bs16_r16-r7", "'r7' is no level: r16 r8 r4 r2 r1"),
        ("q=lr5e-6_r32_a64_bs16_r16-8", "'8' is no level"),
        ("q=lr5e-6_r32_a64_bs16_r16+", "'' is no level"),
        ("q=lr5e-6_r32_a64_bs16_r16+r16", "the mixed level 'r16+r16' names a level twice"),
        ("q=lr5e-6_r32_a64_bs16_", "'' is neither levels, such as r16-r8-r4-r2, nor the name of a"),
        ("q=lr5e-6_r32_a64_bs16_x/y", "'x/y' is neither levels"),
        ("q=lr5e-6_r32_a64_bs16_r16=lr1_r1_a1_bs1_x", "phase 2 of the recipe, 'lr1_r1_a1_bs1_x'"),
        ("q=lr5e-6_r32_a64_bs16_r16.sh", "leave out the .sh at its end"),
        (f"{PAPER}{'x' * 200}", "277 bytes, and a folder's name may have 255"),
    ],
)
def test_a_wrong_name_gets_one_line_that_points_at_the_wrong_part(name, line):
    with pytest.raises(UserError) as error:
        parse(name)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_the_stages_are_listed(capsys):
    main([f"{DPO}r16=lr1e-4_r8_a9_bs4_sft60k"])
    assert capsys.readouterr().out.splitlines() == [
        f"{DPO}r16",
        "  DPO on qwen25vl7b_i0_r16.json: learning rate 5e-6, LoRA rank 32, alpha 64, batch 16,"
        " vision tower unchanged",
        f"{DPO}r16=lr1e-4_r8_a9_bs4_sft60k",
        "  SFT on llava-video-sft-60k.json: learning rate 1e-4, LoRA rank 8, alpha 9, batch 4",
    ]


def test_a_wrong_name_on_the_command_line(run_script):
    done = run_script("-m", "tools.training.recipe", "qwen25vl7b")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_finest_level_stands_behind_the_papers():
    stages = parse("toyvl=lr1e-3_r8_a16_bs8_freeze_r2-r1").stages
    assert [stage.levels for stage in stages] == [(2,), (1,)]
    assert stages[1].data_file("toyvl", 0) == "toyvl_i0_r1.json"
