"""Rooms that score models: the toy benchmark, statistics, real benchmarks by lmms-eval."""
