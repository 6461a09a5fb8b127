"""Rooms to look at data from."""
