"""The mixed chaos run and the soak: one installation, many kinds of sagas, faults at random."""
