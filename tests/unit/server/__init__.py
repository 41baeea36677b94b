"""Unit tests of the room that connects."""
