"""What a student reads: views, lines and texts of a data set, by a frozen CLIP, in batches."""
