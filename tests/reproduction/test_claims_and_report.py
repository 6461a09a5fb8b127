"""Claims and their verdicts, and the report, all made from results."""

import orjson
import pytest

from reproduction.claims import effect_and_verdict, entries, verdict, write_claims
from reproduction.results import summaries, write_results
from reproduction.temple import report
from reproduction.temple.arms import arms
from reproduction.temple.report import CLAIMS, write_report
from tools.errors import UserError
from tools.statistics import Interval
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json

# Claims


@pytest.mark.parametrize(
    ("low", "high", "seeds", "told"),
    [
        (0.01, 0.05, 5, "supported"),
        (-0.05, -0.01, 5, "refuted"),
        (-0.01, 0.05, 5, "undecided"),
        (0.0, 0.05, 5, "undecided"),
        (0.01, 0.05, 1, "one base"),
    ],
)
def test_a_verdict(low, high, seeds, told):
    assert verdict(Interval((low + high) / 2, low, high), seeds) == told


def made_up(**told):
    """Results in which an arm's seeds have so many of ten pairs in order, in each of 12 videos, and
    recall nine pairs."""

    def kept(right):
        counts = {
            "ordered": [[right] * 12, [10] * 12],
            "order": [[right] * 12, [9] * 12],
            "recall": [[4] * 12, [4] * 12],
        }
        return {
            "recipe": "toyvl=x",
            "steps": [96],
            "planned": [96],
            "wall_s": 60.0,
            "cpu_s": 50.0,
            "scores": {"ordered": {"all": right / 10}, "recall": {"all": 1.0}},
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
                    str(seed): {"base": f"toyvl_{seed}", "phases": [kept(right)]}
                    for seed, right in enumerate(seeds)
                },
            }
            for arm, seeds in told.items()
        },
    }


def test_each_claim_gets_its_verdict():
    results = made_up(sft=[5, 6, 5], temple=[7, 8, 8], sft_x4=[9, 9, 9], mixed=[7, 9, 8])
    effects, verdicts = {}, {}
    for claim in CLAIMS:
        key = claim.better, claim.worse, claim.metric
        effects[key], verdicts[key] = effect_and_verdict(results, claim)
    assert verdicts["temple", "sft", "ordered"] == "supported"
    assert effects["temple", "sft", "ordered"].value == pytest.approx((0.2 + 0.2 + 0.3) / 3)
    assert verdicts["temple", "sft_x4", "ordered"] == "refuted"
    assert verdicts["temple", "mixed", "ordered"] == "undecided"
    assert verdicts["temple", "r16", "ordered"] == "not run"
    assert verdicts["temple", "sft", "exact"] == "not asked"
    assert len(verdicts) == len(CLAIMS)


def test_only_seeds_that_both_arms_have_are_compared():
    effect, _ = effect_and_verdict(made_up(sft=[5, 5], temple=[9, 9, 1, 1]), CLAIMS[0])
    assert effect.seeds == 2
    assert effect.value == pytest.approx(0.4)


def test_a_claim_about_order_counts_the_pairs_that_are_left_out():
    """Both arms order all that they recall; one recalls half of the pairs."""
    results = made_up(sft=[5, 5], temple=[9, 9])
    for run in results["arms"]["sft"]["seeds"].values():
        run["phases"][-1]["counts"]["order"] = [[5] * 12, [5] * 12]
    for run in results["arms"]["temple"]["seeds"].values():
        run["phases"][-1]["counts"]["order"] = [[9] * 12, [9] * 12]
    row = entries("temple", results, CLAIMS)[0]
    assert (row["claim"], row["metric"]) == ("DPO before SFT beats SFT alone", "ordered")
    assert (row["effect"], row["n"], row["verdict"]) == (0.4, 2, "supported")
    assert row["order"] == {"effect": 0.0, "low": 0.0, "high": 0.0}


def test_fine_order_is_claimed_on_all_of_its_measures():
    fine = {}
    for claim in CLAIMS:
        if claim.text.startswith("fine order:"):
            fine.setdefault(claim.text, []).append(claim.metric)
    assert len(fine) == 5
    assert set(map(tuple, fine.values())) == {("exact", "prefer_adjacent", "after", "before")}


def test_claims_json_holds_those_of_every_method(tmp_path):
    path = tmp_path / "claims.json"
    row = {"method": "temple", "claim": "a", "metric": "ordered", "verdict": "undecided"}
    write_claims(path, "temple", [row, {**row, "claim": "b"}])
    write_claims(path, "grounding", [{**row, "method": "grounding"}])
    write_claims(path, "temple", [{**row, "verdict": "refuted"}])
    assert orjson.loads(path.read_bytes()) == [
        {**row, "method": "grounding"},
        {**row, "verdict": "refuted"},
    ]


def test_every_claim_is_about_arms_that_there_are():
    assert {arm for claim in CLAIMS for arm in (claim.better, claim.worse)} <= set(arms())


# The report


def test_the_report_of_one_base_says_what_that_is_worth(tmp_path):
    write_results(tmp_path / "reproduction.json", made_up(sft=[5], temple=[8]))
    write_report(tmp_path)
    lines = (tmp_path / "reproduction.md").read_text().splitlines()
    assert "**One base proves nothing.**" in lines
    claim = "| DPO before SFT beats SFT alone | paper | ordered | 1 | +0.300 [+0.300, +0.300] |"
    assert f"{claim} **one base** | +0.333 [+0.333, +0.333] |" in lines
    assert "| sft | `x` | 96 | 96 | 60 s | 50 s |" in lines


def test_the_report_is_made_of_the_results_alone(tmp_path):
    write_results(tmp_path / "reproduction.json", made_up(sft=[5, 6], temple=[8, 9]))
    write_report(tmp_path)
    lines = (tmp_path / "reproduction.md").read_text().splitlines()
    assert "**One base proves nothing.**" not in lines
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


@pytest.fixture(scope="module")
def results():
    """What stands in the repository."""
    return read_json(report.RESULTS / "reproduction.json")


@pytest.fixture(scope="module")
def tables(results):
    claims = read_json(report.RESULTS / "claims.json")
    temple = [row for row in claims if row["method"] == "temple"]
    assert temple == entries("temple", results, CLAIMS)
    return report.make_tables(results, list(summaries(results)), temple)


@pytest.fixture(scope="module")
def made(results, tables):
    return report.markdown(results, tables)


def test_the_tables_that_stand_are_those_of_the_results(made):
    assert (report.RESULTS / "reproduction.md").read_text() == made


def test_the_page_has_the_tables_of_the_results(tables, results):
    page = report.PAGE.read_text()
    assert report.with_tables(page, tables) == page
    assert len(rows_of_table(page, "arm", ["arm", "exact"])) == 1 + len(results["arms"])
    assert len(rows_of_table(page, "claim", ["claim", "verdict"])) == len(CLAIMS)


def test_the_readme_has_the_main_arms_as_the_results_have_them(made):
    """Its first table of arms, wherever it stands; more arms and columns may be in it."""
    readme = rows_of_table(
        (REPOSITORY / "README.md").read_text(),
        "arm",
        ["arm", "pairs in order", "all in order", "recall"],
    )
    rows = rows_of_table(made, "arm", ["arm", "ordered", "exact", "recall"])
    assert [row for row in readme if row not in rows] == []
    main = {arm.label for arm in arms().values() if arm.main}
    assert main <= {row[0] for row in readme}


def test_a_report_without_results(tmp_path):
    with pytest.raises(UserError) as error:
        report.main([str(tmp_path)])
    assert str(error.value) == (
        f"{tmp_path} holds no reproduction.json: python -m reproduction.temple.run makes it"
    )


def test_a_column_of_counts_takes_one_line(tmp_path):
    write_results(tmp_path / "r.json", made_up(sft=[5]))
    text = (tmp_path / "r.json").read_text()
    assert "[5,5,5,5,5,5,5,5,5,5,5,5]" in text
    assert orjson.loads(text) == made_up(sft=[5])
