"""Benchmarks, image lists, episodes, and how they are read, fetched and loaded (chapters 01 and 02)."""
