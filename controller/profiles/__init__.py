"""Variants measured on devices, and what follows from it: which variant a device gets, and which board would serve.

Stands between the executions and the rollouts. `resolver`, `estimate` and `advisor` are pure.
"""
