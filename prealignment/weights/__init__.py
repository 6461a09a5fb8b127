"""Trained alignments as files, and language models in the format of Meta."""
