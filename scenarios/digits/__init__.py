"""Handwritten digits on six devices that each see different ones: the first voyage, `python -m scenarios.digits`."""
