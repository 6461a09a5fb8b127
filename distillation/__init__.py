"""CaTeR: a small student on a frozen CLIP, taught by video language models."""

import tools as tools  # Ctrl-C is one line from here on
