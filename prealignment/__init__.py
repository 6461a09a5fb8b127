"""TOPA: align a language model with video through text alone (docs/prealignment.md)."""
