"""Move a selector of devices to a version, a wave at a time."""
