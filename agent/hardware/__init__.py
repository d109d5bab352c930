"""Readers of this machine: each gives what the kernel, the firmware or a driver says, and nothing where none does.

A reader takes the root folder below which it looks, so that a test can hand it a folder with the documented files of a
board. It never raises for what it finds: a file that is missing, closed, empty or full of nonsense is absence, and
absence is never zero. What needs a heavy library or a foreign driver's code (`probe`, `benchmark`) runs in a short
child process, so that the agent stays small and outlives their crashes. Imports of the agent only settings and errors.
"""
