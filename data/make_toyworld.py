"""The toy world's old place."""

import sys

sys.exit("error: data/make_toyworld.py is now: python -m toyworld, with the same flags")
