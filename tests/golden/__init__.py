"""Histories of the samples as they were recorded once, and data of released versions."""
