"""Proving an installation whole: chains, versions, commands, ends of the streams, projections."""
