"""Programs: sagas written as a list of steps, as a function or as an entity with handlers.

Each compiles to an ordinary definition whose ``program`` says after every message what may start
next. Imports point from here to the kernel; the kernel knows of programs by their protocol only.
"""
