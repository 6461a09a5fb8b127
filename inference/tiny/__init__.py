"""Checkpoints of real architectures that a CPU can run."""
