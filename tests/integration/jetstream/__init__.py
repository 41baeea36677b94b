"""The store on a real nats-server: what the conformance suite can't ask of any backend."""
