"""Does the node keep working for hours? `python -m benchmarks.soak --help`."""
