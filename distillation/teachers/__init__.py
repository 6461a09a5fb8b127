"""The teachers, a kind a module."""
