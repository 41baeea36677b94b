"""Tests of the pure side: no broker, no event loop, no clock."""
