"""Where preferring overtakes imitating, and what a loss does to both likelihoods."""

import json
import math

import pytest

from reproduction.temple.results import log_p_of
from reproduction.temple.studies import (
    Crossing,
    above_from,
    crossing,
    crossing_rows,
    likelihood_rows,
    narrative_rows,
)

VIDEOS = 30


@pytest.mark.parametrize(
    ("differences", "percent"),
    [
        ((-0.2, -0.1, 0.1, 0.2), 15.0),  # half-way between 10 and 20 %
        ((-0.3, -0.2, -0.1, 0.2), 25.0),  # a third of the way from 20 to 35 %
        ((0.1, -0.1, -0.1, -0.1), math.inf),  # better at first, worse from then on
        ((-0.2, 0.1, -0.1, 0.1), 27.5),  # of several crossings the last
        ((-0.3, -0.2, -0.1, -0.1), math.inf),
        ((0.0, 0.1, 0.2, 0.3), 0.0),
        ((0.1, 0.1, 0.2, 0.3), 0.0),
    ],
)
def test_a_line_through_the_differences(differences, percent):
    assert above_from(differences) == pytest.approx(percent)


def results(shares):
    """Results in which arms have a share of their pairs in order, from two bases."""

    def run(share):
        counts = {"ordered": [[10 * share] * VIDEOS, [10] * VIDEOS]}
        return {"phases": [{"counts": counts}]}

    return {
        "asked": {"videos": [str(n) for n in range(VIDEOS)], "events": [5] * VIDEOS},
        "arms": {
            arm: {"label": arm, "seeds": {seed: run(share) for seed in "01"}}
            for arm, share in shares.items()
        },
    }


NOISY = {
    **{"chosen_sft": 0.8, "noisy_chosen_sft_n10": 0.7},
    **{"noisy_chosen_sft_n20": 0.5, "noisy_chosen_sft_n35": 0.3},
    **{"temple": 0.6, "noisy_temple_n10": 0.6, "noisy_temple_n20": 0.6, "noisy_temple_n35": 0.6},
}


def test_preferring_overtakes_imitating():
    found = crossing(results(NOISY), "temple")
    assert found == Crossing(*(pytest.approx(15.0),) * 3, seeds=2)
    rows = list(crossing_rows(results(NOISY)))
    assert rows[1:] == [["temple", "15 %", "15 % to 15 %", "2"]]


def test_one_base_has_no_interval():
    one = results(NOISY)
    for arm in one["arms"].values():
        del arm["seeds"]["1"]
    assert list(crossing_rows(one))[1] == ["temple", "15 %", "", "1"]


def test_preferring_never_overtakes_imitating():
    worse = {arm: 0.1 if "temple" in arm else share for arm, share in NOISY.items()}
    assert list(crossing_rows(results(worse)))[1][1] == "more than 35 %"


def test_arms_that_were_not_run():
    del (some := dict(NOISY))["noisy_temple_n20"]
    assert crossing(results(some), "temple") is None
    assert len(list(crossing_rows(results(some)))) == 1


def test_a_stage_has_changed_both_likelihoods_by_its_rewards_over_beta(tmp_path):
    made = {"settings": {"BETA": "0.1", "LOSS_TYPE": "sigmoid"}}
    lines = [
        {
            **{"rewards/chosen": -0.1 * step, "rewards/rejected": -0.5 * step},
            # Of other pairs at each step: they rise while the model falls.
            **{"logps/chosen": -30.0 + step, "logps/rejected": -30.0},
            "global_step/max_steps": f"{step}/20",
        }
        for step in range(1, 21)
    ]

    def stage(name):
        folder = tmp_path / name
        (folder / "v0-now").mkdir(parents=True)
        (folder / "stage.json").write_text(json.dumps({"made_with": made}))
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder / "v0-now" / "logging.jsonl").write_text(text)
        return folder

    dpo = "toyvl=lr1e-3_r8_a16_bs8_freeze_r16"
    assert log_p_of(stage(dpo)) == {
        **{"stage": "r16", "loss": "sigmoid"},
        "chosen": pytest.approx(-19.5),
        "rejected": pytest.approx(-97.5),
    }
    assert log_p_of(stage(dpo.replace("freeze_", "freeze_simpo_"))) == {}
    assert log_p_of(stage("toyvl=lr1e-3_r8_a16_bs8_chosen")) == {}


def test_the_likelihood_of_test_stories_after_each_phase():
    def phase(recipe, true, moved):
        scores = {"log_p_true": {"all": true}, "log_p_moved": {"all": moved}}
        return {"recipe": recipe, "scores": scores}

    runs = {
        str(seed): {"phases": [phase("m=lr1_a", -0.2 - seed, -0.4), phase("m=lr1_a=lr2_b", -1, -2)]}
        for seed in (0, 2)
    }
    arms = {"simpo": {"label": "SimPO", "seeds": runs}}
    arms["old"] = {"label": "old", "seeds": {"0": {"phases": [{"recipe": "m=x", "scores": {}}]}}}
    bases = {"toyvl": phase("", -0.5, -0.5)}
    assert list(narrative_rows({"bases": bases, "arms": arms}))[1:] == [
        ["base", "", "-0.500", "-0.500"],
        ["SimPO", "`lr1_a`", "-1.200", "-0.400"],
        ["SimPO", "`lr2_b`", "-1.000", "-2.000"],
    ]


def test_both_likelihoods_of_each_stage():
    def run(last):
        stages = [{"stage": "r16", "loss": "sigmoid", "chosen": last, "rejected": -30.0}]
        return {"phases": [{"log_p": stages}, {"log_p": []}]}

    arm = {"label": "DPO", "seeds": {"0": run(-4.0), "1": run(-6.0)}}
    assert list(likelihood_rows({"arms": {"dpo": arm}}))[1:] == [
        ["DPO", "r16", "-5.00", "-30.00", "an answer"]
    ]
