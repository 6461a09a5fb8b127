"""Stage 1: shots, groups of shots and key frames."""
