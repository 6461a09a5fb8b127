"""Stages 3 and 4: perturbations, preference pairs and their rows."""
