"""Where preferring overtakes imitating, and what a loss does to both likelihoods."""

import math

import pytest

from reproduction.temple.studies import (
    Crossing,
    above_from,
    crossing,
    crossing_rows,
    likelihood_rows,
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


def test_both_likelihoods_of_each_stage():
    def run(last):
        stages = [{"stage": "r16", "chosen": [-50.0, last], "rejected": [-60.0, -90.0]}]
        return {"phases": [{"log_p": stages}, {"log_p": []}]}

    arm = {"label": "DPO", "seeds": {"0": run(-54.0), "1": run(-56.0)}}
    assert list(likelihood_rows({"arms": {"dpo": arm}}))[1:] == [
        ["DPO", "r16", "-50.00", "-55.00", "-60.00", "-90.00"]
    ]
