"""Crashes, cuts and lies: real processes and a real nats-server, with faults made on purpose."""
