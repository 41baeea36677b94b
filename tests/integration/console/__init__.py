"""The SQL console: its copies, its children, its routes."""
