"""Speed, measured against others in one run: `python -m benchmarks.networks --help`.

See docs/benchmark.md for what is measured and how to read it.
"""
