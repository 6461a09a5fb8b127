"""Synthetic videos of which everything is known."""
