"""Benchmarks against the raw broker in the same run; ``make bench`` prints figures and ratios."""
