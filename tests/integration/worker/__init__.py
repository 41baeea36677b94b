"""Workers on both brokers, and workers that die."""
