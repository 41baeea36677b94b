"""Tests without I/O, in folders named like the rooms."""
