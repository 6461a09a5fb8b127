"""Trainings of the grounding bridge and of the answerer, by the names of experiments."""
