"""Unit tests of ``jobs``."""
