"""Tables of numbers on a terminal: every cell is whole."""

import pytest
from rich.console import Console

from tools import screen
from tools.screen import empty_table, show

GROUPS = ("all", "n = 4", "n = 8", "n = 16")


@pytest.fixture
def scores():
    """A row of a long name and four intervals: 117 characters."""
    table = empty_table("scores", "")
    for name in GROUPS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("log p a token: over half dropped", *(f"0.{n}75 [0.37, 0.56]" for n in range(4)))
    return table


@pytest.mark.parametrize(
    ("terminal", "columns", "tables"), [(True, 80, 2), (True, 130, 1), (False, 80, 1)]
)
def test_a_narrow_terminal_gets_the_columns_in_parts(
    scores, monkeypatch, capsys, terminal, columns, tables
):
    class Screen(Console):
        def __init__(self, width=columns):
            super().__init__(width=width, force_terminal=terminal, color_system=None)

    monkeypatch.setattr(screen, "Console", Screen)
    show(scores)
    lines = capsys.readouterr().out.splitlines()
    assert sum("log p a token: over half dropped" in line for line in lines) == tables
    for name, value in zip(GROUPS, range(4), strict=True):
        assert any(name in line for line in lines)
        assert any(f"0.{value}75 [0.37, 0.56]" in line for line in lines)
    assert not terminal or all(len(line) <= columns for line in lines)
