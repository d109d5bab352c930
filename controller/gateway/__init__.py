"""The devices' door: MQTT, and HTTP `/device/v1` for what is shaped like a request.

May import every room's service; never `api` or the scheduler. It alone holds the CA's and the signing key.
"""
