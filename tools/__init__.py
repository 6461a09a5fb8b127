"""Rooms without a model: where data lives, how steps run, and what a video is made of."""
