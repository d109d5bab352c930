"""What several sides of Shoal share: wire, runtimes, training, schemas, client, cli.

Imports none of `controller`, `agent`, `dashboard`. The agent's core imports only `shoal.wire` of it.
"""
