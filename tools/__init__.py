"""What every method stands on: data, steps, video, text, pairs and training; no language model."""
