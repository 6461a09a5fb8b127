"""Scores of options and of captions."""
