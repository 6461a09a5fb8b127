"""What a model knows about time: the toy benchmark, and public ones."""

import tools as tools  # Ctrl-C is one line from here on
