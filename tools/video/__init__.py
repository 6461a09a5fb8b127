"""Videos as pixels: listing, decoding, one scan of each file, exact frames."""
