"""TOPA: its claims, on the toy world."""
