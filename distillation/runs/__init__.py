"""Folders of trained students, what these answer, and the report of many."""
