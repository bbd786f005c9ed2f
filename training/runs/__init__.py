"""A training run: its command line, its loop's parts, what it keeps, and how it goes on."""
