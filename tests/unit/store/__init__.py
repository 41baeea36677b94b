"""Unit tests of the room that remembers."""
