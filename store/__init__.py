"""The store: it remembers. Ports, records and subjects here, one package for each broker below."""
