"""How toyvl, the tiny video LLM of the demo, is built and trained."""

# What training writes last. Not a .json: a checkpoint's digest is taken over its .json files, and
# how many minutes training took is no part of what the checkpoint is.
TRAINED = "training.jsonl"
