"""Questions about videos whose answers are known: for training and for scoring alike."""

import tools as tools  # Ctrl-C is one line from here on
