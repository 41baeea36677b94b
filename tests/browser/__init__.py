"""A real Chromium against a real `snorri dev`: what people see and do."""
