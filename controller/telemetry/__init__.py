"""Unsigned figures of devices, for charts and alerts only."""
