"""The viewer, and pictures of videos and pairs."""

import tools as tools  # Ctrl-C is one line from here on
