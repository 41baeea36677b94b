"""Data directories and backups as released versions left them, and the app that made them.

Nothing here is changed once it is released: what a version has written, every later one must read.
"""
