"""Unit tests of server/access: who may do what."""
