"""The HTTP API: routes, their documents and their errors."""
