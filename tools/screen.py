"""Tables of numbers on a terminal."""

from rich.box import SIMPLE
from rich.console import Console
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
    """Print a table, as wide as it needs to be."""
    needed = Console(width=WIDEST).measure(screen).maximum
    Console(width=max(SCREEN_WIDTH, Console().width, needed)).print(screen)
