"""Text videos: how they are read out of answers and checked, and those of the toy world."""
