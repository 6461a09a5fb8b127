"""CaTeR: a small student on a frozen CLIP, taught by video language models."""
