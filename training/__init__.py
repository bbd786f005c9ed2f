"""Training, evaluation and data: scripts for people with data, run from a checkout."""
