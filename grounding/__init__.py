"""VideoTGB and LSTP-Chat: choose the frames that answer a question."""

import tools as tools  # Ctrl-C is one line from here on
