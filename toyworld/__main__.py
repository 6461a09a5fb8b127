"""Render the toy world: `python -m toyworld --help`."""

from tools.cli import run_script
from toyworld.make import main

if __name__ == "__main__":
    run_script(main)
