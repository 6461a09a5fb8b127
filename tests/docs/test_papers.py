"""docs/papers.md: every part of a method is in a file, every public command has its counterpart."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAPERS = (REPOSITORY / "docs" / "papers.md").read_text()


def rows_of(first):
    """The rows of all tables whose head begins with `first`, as lists of cells."""
    tables = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAPERS, re.M)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows_of("public command"), ids=lambda row: row[0][:60])
def test_a_public_command_has_a_counterpart_or_a_reason(row, commands_in, check_command):
    counterparts = list(commands_in(row[1]))
    assert counterparts or re.match(r"none: \w+", row[1])
    for words in counterparts:
        check_command(words)


@pytest.mark.parametrize("row", rows_of("part of the method"), ids=lambda row: row[0][:60])
def test_a_part_of_a_method_is_in_a_file(row):
    paths = re.findall(r"`([^`]+)`", row[2])
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_the_tables_are_read_at_all():
    assert len(rows_of("public command")) > 10
    assert len(rows_of("part of the method")) > 10


def test_a_flag_that_no_script_has_any_more_is_seen(commands_in, check_command, capsys):
    (words,) = commands_in("`python convert_to_swift.py qwen2vl7b 16 --per_stage`")
    with pytest.raises(SystemExit):
        check_command(words)
    assert "unrecognized arguments: --per_stage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "python -m tools.no_such_module",
        "python no_such_script.py",
        "bash train_scripts/no_such_script.sh",
        "make no_such_target",
        "streamlit run visualize/no_such_app.py",
    ],
)
def test_a_command_that_names_nothing_is_seen(command, commands_in, check_command):
    (words,) = commands_in(f"```\n{command}   # a remark\n```\n")
    with pytest.raises((AssertionError, ModuleNotFoundError)):
        check_command(words)
