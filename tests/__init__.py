"""Snorri's tests; a package so that they can share helpers. Nothing outside of it imports it."""
