"""Train toyvl: `python -m reproduction.toyvl --help`."""

from reproduction.toyvl.train import main
from tools.cli import run_script

if __name__ == "__main__":
    run_script(main)
