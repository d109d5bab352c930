"""The cloud side: keeps the device registry and schedules work to agents over MQTT.

Never imports `agent` or `dashboard`. Invariants: one request, one message batch, one tick is one transaction, opened
at the door (`api`, `gateway`, `scheduler`); services never commit. Decision modules are pure. The API process never
imports torch; only the gateway holds the signing key.
"""
