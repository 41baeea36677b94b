"""Tests of the pages: what they show runs, what they list is complete."""
