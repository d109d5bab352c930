"""Two small networks and every technique: smartwatch exercises and digits, `python -m scenarios.watch`."""
