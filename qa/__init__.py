"""Questions about videos whose answers are known: for training and for scoring alike."""
