"""Speed, measured against others in one run: `python -m jointseg_core.benchmark --help`.

See docs/benchmark.md for what is measured and how to read it.
"""
