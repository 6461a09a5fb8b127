"""Synthetic videos of which everything is known."""

import tools as tools  # Ctrl-C is one line from here on
