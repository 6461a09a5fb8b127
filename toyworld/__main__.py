"""Render the toy world: `python -m toyworld --help`."""

from toyworld.make import main

if __name__ == "__main__":
    main()
