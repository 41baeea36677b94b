"""The live view: one upstream reading of the log for the process, fanned out in memory."""
