"""The operators' web pages, a process of their own: `python -m dashboard`.

Imports NiceGUI and, of the rest, `shoal.client` and `shoal.schemas` only: never the controller or the agent.
Invariants: every figure comes over the REST API as the person who is logged in; the browser holds a random cookie and
nothing else, the bearer token stays in this process' memory; blocking calls run off the event loop.
"""
