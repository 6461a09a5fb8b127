"""Rooms with a model: prompts, and the ways to turn frames and captions into text."""
