"""The whole system on one recording: `python -m demo`, or `make demo`."""
