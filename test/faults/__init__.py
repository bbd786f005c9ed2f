"""Faults and what is promised about them: each case in a process of its own, under limits."""
