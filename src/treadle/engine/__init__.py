"""Meaning: pure functions over a workflow's memory. No I/O, clock, randomness, threads or logging."""
