"""Webhooks: chosen events are posted to URLs, signed, at least once.

What is to be posted is written in the transaction that records the event (`queueing`), so that each event has exactly
one delivery for each webhook, and a kill loses none. `poster` posts them from the process that leads. May import
`events` and what is below.
"""

from controller.webhooks import queueing as queueing
