"""Tests of the archive over the memory broker."""
