"""Language models: captions from frames, responses from captions, likelihoods of answers."""
