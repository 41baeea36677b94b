"""Backups: a folder of segments and a manifest, taken while everything runs."""
