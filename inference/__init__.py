"""Language models: captions from frames, responses from captions, likelihoods of answers."""

import tools as tools  # Ctrl-C is one line from here on
