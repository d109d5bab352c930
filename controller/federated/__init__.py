"""Federated learning: runs, rounds, cohorts, updates."""
