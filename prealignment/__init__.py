"""TOPA: align a language model with video through text alone (docs/prealignment.md)."""

import tools as tools  # Ctrl-C is one line from here on
