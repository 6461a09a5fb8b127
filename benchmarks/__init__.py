"""Programs that print a ratio against a floor or a peer measured in the same run."""

import tools as tools  # Ctrl-C is one line from here on
