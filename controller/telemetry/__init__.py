"""Unsigned figures of devices, for charts and alerts only: nothing else is decided on them.

The gateway keeps each message as it came (`intake`). The scheduler folds what is new, exactly once, into the newest
figures, into sums a quarter of an hour, and into alerts (`fold`). Charts are read from both (`history`). Devices are
named by their number, as there are many rows. May import `devices` and what is below.
"""
