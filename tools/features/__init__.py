"""Frames and texts as numbers."""
