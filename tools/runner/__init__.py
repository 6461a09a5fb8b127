"""How steps run: workers, resuming, counts and fingerprints."""
