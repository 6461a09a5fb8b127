"""Make the viewer's index: `python -m visualize.index --help`."""

from tools.cli import run_script
from visualize.index.index import main

if __name__ == "__main__":
    run_script(main)
