"""Unit tests of the room that shows."""
