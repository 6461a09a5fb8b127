"""README and the pages of docs/: their commands, links, pictures and paths are real."""

import re
from pathlib import Path

import pytest

from tools.training.recipe import parse

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
PAGES = [README, *REPOSITORY.glob("CONTRIBUTING.md"), *sorted((REPOSITORY / "docs").glob("*.md"))]
PAPERS = REPOSITORY / "docs" / "papers.md"  # holds commands of others too: test_papers.py
DEMO = ("DEMO_PAIRS", "DEMO_RECIPE")  # variables of the Makefile
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.mark.parametrize("page", [p for p in PAGES if p != PAPERS], ids=lambda page: page.name)
def test_every_command_is_one_that_its_script_takes(page, commands_in, check_command, capsys):
    wrong = []
    for words in commands_in(page.read_text()):
        try:
            check_command(words)
        except (Exception, SystemExit) as error:
            wrong.append((" ".join(words), capsys.readouterr().err or repr(error)))
    assert wrong == []


@each_page
def test_every_link_and_picture_leads_somewhere(page):
    links = LINK.findall(page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_can_be_read_in_one_sitting():
    assert len(README.read_bytes()) <= 9216


def test_every_path_of_the_file_tree_exists():
    folder = ""
    tree = README.read_text().partition("## Files")[2].split("```")[1]
    paths = []
    for line in tree.strip("\n").splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        paths += [f"{folder if line.startswith(' ') else ''}{name}" for name in names]
        folder = folder if line.startswith(" ") else names[0]
    assert len(paths) > 20
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_train_demo_trains_on_the_pairs_that_the_demo_writes():
    makefile = (REPOSITORY / "Makefile").read_text()
    pairs, recipe = (re.search(rf"^{name} := (.+)$", makefile, re.M)[1] for name in DEMO)
    [stage] = parse(recipe).stages
    assert pairs == f"swift_data/{stage.data_file('toyvl', 0)}"
    levels = " ".join(map(str, stage.levels))
    assert f"convert_to_swift.py $(DEMO_MODEL) {levels} --dataset toystories\n" in makefile


def test_make_clean_deletes_what_the_demos_render():
    makefile = (REPOSITORY / "Makefile").read_text()
    rendered = re.findall(r"-m toyworld .* --out (\S+)", makefile)
    assert rendered == ["data/toystories", "data/toydemo_test"]
    assert makefile.endswith(f"clean:\n\trm -rf {' '.join(rendered)}\n")
