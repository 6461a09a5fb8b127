"""Tables of numbers on a terminal."""

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column
from rich.table import Table as Screen

SCREEN_WIDTH = 116  # columns, where the screen has fewer
WIDEST = 1000
BOOTSTRAP = "\\[ ]: 95 %, bootstrap over videos"


def empty_table(title: str, caption: str) -> Screen:
    """A table that has a column for the names of its rows alone."""
    screen = Screen(title=title, caption=caption, box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    screen.add_column("", no_wrap=True)
    return screen


def show(screen: Screen) -> None:
    """Print a table, as wide as it needs to be; on a narrower terminal a few columns at a time,
    after the names of the rows each time."""
    console = Console()
    width = console.width if console.is_terminal else WIDEST
    names, *columns = screen.columns
    while columns:
        first = len(columns)
        while first > 1 and _width(screen, [names, *columns[:first]]) > width:
            first -= 1
        screen.columns = [names, *columns[:first]]
        needed = _width(screen, screen.columns)
        Console(width=max(min(width, SCREEN_WIDTH), needed)).print(screen)
        columns = columns[first:]


def _width(screen: Screen, columns: list[Column]) -> int:
    """Characters that a table with these columns needs."""
    screen.columns = columns
    return Console(width=WIDEST).measure(screen).maximum
