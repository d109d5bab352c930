"""Models that others made: another size, dynamic shapes, int8 inputs; `python -m scenarios.elsewhere`."""
