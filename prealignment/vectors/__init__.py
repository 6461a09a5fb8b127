"""Vectors of text videos and of real ones, and the memory that projects them."""
